"""All that drives a robot: `ros2 launch vila_nav navigation.launch.py image:=/camera/image_raw`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

SHARE = Path(get_package_share_directory("vila_nav"))


def if_ours(ours: str, otherwise: str) -> PythonExpression:
    """One word if our controller drives, another if somebody else does."""
    return PythonExpression([f"'{ours}' if '", LaunchConfiguration("output"), f"' == 'velocity' else '{otherwise}'"])


ARGUMENTS = (
    ("namespace", "", "namespace of the nodes"),
    ("use_sim_time", "false", "take the time from /clock"),
    ("params_file", str(SHARE / "config" / "robot.yaml"), "parameters of the nodes"),
    ("autostart", "true", "bring the navigator up; false leaves that to a lifecycle manager"),
    ("log_level", "info", "debug, info, warn or error"),
    ("discovery", "LOCALHOST", "who finds the nodes: LOCALHOST, this machine; SUBNET, the network; OFF"),
    ("domain_id", EnvironmentVariable("ROS_DOMAIN_ID", default_value="0"), "ROS domain; on a network one a robot"),
    ("security", EnvironmentVariable("ROS_SECURITY_ENABLE", default_value="false"), "only nodes with keys of SROS2"),
    ("use_respawn", "true", "start a node again that has ended"),
    ("output", "velocity", "who drives: velocity, our controller; goal_pose, who follows that topic; nav2, Nav2"),
    ("goal_frame", "", "frame of goal poses, by tf, such as map; empty: odometry's"),
    ("image", "camera/image_raw", "topic of the images"),
    ("odom", "odom", "topic of the odometry"),
    ("scan", "scan", "topic of the laser scan"),
    ("cmd_vel", if_ours("cmd_vel", "cmd_vel_governor"), "topic of the governor's velocity commands"),
    ("cmd_vel_out", LaunchConfiguration("cmd_vel"), "what reaches the base, if something below it changes that"),
    ("cmd_vel_nav", if_ours("cmd_vel_nav", "cmd_vel_controller"), "from our controller to it; Nav2 uses that name too"),
)
CHOICES = {
    "discovery": ["LOCALHOST", "SUBNET", "OFF"],  # others would open the door
    "security": ["true", "false"],
    "output": ["velocity", "goal_pose", "nav2"],
}


def generate_launch_description() -> LaunchDescription:
    """Describe what to start; called by `ros2 launch`."""
    profile = str(SHARE / "config" / "fastdds.xml")
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(n, default_value=v, description=d, choices=CHOICES.get(n))
                for n, v, d in ARGUMENTS
            ),
            SetEnvironmentVariable("FASTDDS_DEFAULT_PROFILES_FILE", profile),
            SetEnvironmentVariable("FASTRTPS_DEFAULT_PROFILES_FILE", profile),  # its name on Humble
            *_network(),
            _node(
                "controller",
                {"odom": "odom", "cmd_vel": "cmd_vel_out", "cmd_vel_nav": "cmd_vel_nav"},
                condition=IfCondition(if_ours("true", "false")),
            ),
            _node("governor", {"cmd_vel": "cmd_vel", "cmd_vel_nav": "cmd_vel_nav", "scan": "scan"}),
            _node("watchdog", {"cmd_vel": "cmd_vel"}),
            _node(
                "navigator",
                {"odom": "odom", "image_raw": "image"},
                parameters={
                    "autostart": _flag("autostart"),
                    "output": _word("output"),
                    "goal_frame": _word("goal_frame"),
                },
            ),
        ]
    )


def _network() -> list[SetEnvironmentVariable]:
    """Limit who may find the nodes, and who may speak to them."""
    on_this_machine = PythonExpression(["int('", LaunchConfiguration("discovery"), "' != 'SUBNET')"])
    discovery = ("ROS_AUTOMATIC_DISCOVERY_RANGE", LaunchConfiguration("discovery"))
    if os.environ.get("ROS_DISTRO") == "humble":
        discovery = ("ROS_LOCALHOST_ONLY", on_this_machine)
    return [
        SetEnvironmentVariable(*discovery),
        SetEnvironmentVariable("ROS_DOMAIN_ID", LaunchConfiguration("domain_id")),
        SetEnvironmentVariable("ROS_SECURITY_ENABLE", LaunchConfiguration("security")),
        SetEnvironmentVariable("ROS_SECURITY_STRATEGY", "Enforce"),  # a node without keys does not start
    ]


def _node(
    name: str,
    topics: Mapping[str, str],
    *,
    parameters: Mapping[str, ParameterValue] = MappingProxyType({}),
    condition: IfCondition | None = None,
) -> Node:
    """A node of ours; topics: the argument that each of its topics is named by."""
    return Node(
        package="vila_nav",
        executable=f"{name}_node",
        name=name,
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        respawn=LaunchConfiguration("use_respawn"),
        respawn_delay=2.0,
        parameters=[LaunchConfiguration("params_file"), {"use_sim_time": _flag("use_sim_time"), **parameters}],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level"), "--enclave", f"/vila_nav/{name}"],
        remappings=[(topic, LaunchConfiguration(argument)) for topic, argument in topics.items()],
        condition=condition,
    )


def _flag(name: str) -> ParameterValue:
    return ParameterValue(LaunchConfiguration(name), value_type=bool)


def _word(name: str) -> ParameterValue:
    return ParameterValue(LaunchConfiguration(name), value_type=str)
