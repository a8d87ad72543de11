"""Keep what a robot that runs already sees, decides and does: `ros2 launch vila_nav recorder.launch.py`.

Where all is started together, `record:=true` of navigation.launch.py and of the simulators does the same.
"""

from __future__ import annotations

from functools import partial

from launch import LaunchDescription
from launch.actions import OpaqueFunction

from vila_ros.common.launching import CHOICES, ROBOT_ARGUMENTS, choose_robot, declared, network, robot_node, word

ARGUMENTS = (*ROBOT_ARGUMENTS, ("folder", "", "where runs are kept, a folder each; empty: ~/.ros/vila_nav"))


def generate_launch_description() -> LaunchDescription:
    """Describe what to start; called by `ros2 launch`."""
    return LaunchDescription(
        [
            *declared(ARGUMENTS, CHOICES),
            *network(),
            OpaqueFunction(function=partial(choose_robot, drives=False)),
            robot_node("recorder", folder=word("folder")),
        ]
    )
