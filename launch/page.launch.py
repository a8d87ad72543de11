"""Serve the page for a robot that runs already: `ros2 launch vila_nav page.launch.py`.

Where all is started together, `page:=true` of navigation.launch.py and of the simulators does the same. Other addresses
than this machine's need a token: parameters of the page in `params_file`.
"""

from __future__ import annotations

from functools import partial

from launch import LaunchDescription
from launch.actions import OpaqueFunction

from vila_ros.common.launching import CHOICES, ROBOT_ARGUMENTS, choose_robot, declared, network, number, robot_node

ARGUMENTS = (*ROBOT_ARGUMENTS, ("page_port", "8088", "port of the page"))


def generate_launch_description() -> LaunchDescription:
    """Describe what to start; called by `ros2 launch`."""
    return LaunchDescription(
        [
            *declared(ARGUMENTS, CHOICES),
            *network(),
            OpaqueFunction(function=partial(choose_robot, drives=False)),
            robot_node("page", port=number("page_port")),
        ]
    )
