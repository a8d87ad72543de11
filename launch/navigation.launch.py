"""All that drives a robot: `ros2 launch vila_nav navigation.launch.py robot:=turtlebot4`.

The robot's recipe, config/robots/turtlebot4.yaml, says topics and parameters; arguments that are given count more.
"""

from __future__ import annotations

from launch import LaunchDescription
from launch.actions import OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PythonExpression

from vila_ros.common.launching import (
    CHOICES,
    ROBOT_ARGUMENTS,
    RUN_ARGUMENTS,
    WIDTH,
    choose_robot,
    decimal,
    declared,
    flag,
    network,
    number,
    robot_node,
    word,
)

ARGUMENTS = (
    *ROBOT_ARGUMENTS,
    ("blind", "false", "true: let a robot drive that has no sensor for obstacles"),
    *RUN_ARGUMENTS,
    (WIDTH, "", "degrees that the camera sees across; empty: as the recipe says of its own; nan: not known"),
    ("goal_frame", "", "frame of goal poses, by tf, such as map; empty: odometry's"),
    ("image_transport", "auto", "raw; compressed: from that topic with /compressed behind; auto: what is published"),
)
IS_OURS = PythonExpression(["'true' if '", LaunchConfiguration("output"), "' == 'velocity' else 'false'"])


def generate_launch_description() -> LaunchDescription:
    """Describe what to start; called by `ros2 launch`."""
    return LaunchDescription(
        [
            *declared(ARGUMENTS, CHOICES),
            *network(),
            OpaqueFunction(function=choose_robot),
            robot_node("controller", condition=IfCondition(IS_OURS)),
            robot_node("governor"),
            robot_node("watchdog"),
            robot_node("recorder", condition=IfCondition(LaunchConfiguration("record"))),
            robot_node(
                "navigator",
                autostart=flag("autostart"),
                output=word("output"),
                goal_frame=word("goal_frame"),
                image_transport=word("image_transport"),
                image_hfov_deg=decimal(WIDTH),
            ),
            robot_node("voice", condition=IfCondition(LaunchConfiguration("voice"))),
            robot_node("page", condition=IfCondition(LaunchConfiguration("page")), port=number("page_port")),
        ]
    )
