"""What the launch files of the simulators share; on a robot none of it is needed. Only launch files import it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import EnvironmentVariable, LaunchConfiguration

from vila_core.errors import ConfigError
from vila_ros.common.recipes import GENERIC

TF = (("/tf", "tf"), ("/tf_static", "tf_static"))  # robots in namespaces have frames of the same names
SHARE = Path(get_package_share_directory("vila_nav"))

Argument = tuple[str, Any, str]  # name, default, what it is


def usual_arguments(parameters: str) -> tuple[Argument, ...]:
    """Return the arguments that are handed on to navigation.launch.py.

    parameters: the file's name in config/.
    """
    domain = EnvironmentVariable("ROS_DOMAIN_ID", default_value="0")
    security = EnvironmentVariable("ROS_SECURITY_ENABLE", default_value="false")
    return (
        ("namespace", "", "namespace of the nodes"),
        ("use_sim_time", "true", "take the time from the simulator"),
        ("params_file", str(SHARE / "config" / parameters), "parameters of the nodes"),
        ("autostart", "true", "bring the navigator up; false leaves that to a lifecycle manager"),
        ("log_level", "info", "debug, info, warn or error"),
        ("discovery", "LOCALHOST", "who finds the nodes: LOCALHOST, this machine; SUBNET, the network; OFF"),
        ("domain_id", domain, "ROS domain; on a network one a robot"),
        ("security", security, "only nodes with keys of SROS2"),
        ("use_respawn", "true", "start a node again that has ended"),
        ("record", "false", "true: keep what was seen, decided and done, in bags in ~/.ros/vila_nav"),
        ("page", "false", "serve the page, a view of the robot for browsers, on this machine"),
        ("page_port", "8088", "port of the page"),
        ("image", "camera/image_raw", "topic of the images"),
        ("odom", "odom", "topic of the odometry"),
        ("cmd_vel", "cmd_vel", "topic of the velocity commands"),
    )


def declared(
    arguments: Sequence[Argument], choices: Mapping[str, Sequence[str]] | None = None
) -> list[DeclareLaunchArgument]:
    """Declare the arguments; choices: the values that one of them may have."""
    known = choices or {}
    return [DeclareLaunchArgument(n, default_value=v, description=d, choices=known.get(n)) for n, v, d in arguments]


def navigation(arguments: Sequence[Argument]) -> IncludeLaunchDescription:
    """Include all that navigates, and what limits the network and carries images: put the simulator behind it."""
    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "navigation.launch.py")),
        launch_arguments=[("robot", GENERIC), *((name, LaunchConfiguration(name)) for name, _, _ in arguments)],
    )


def remappings() -> list[tuple[str, LaunchConfiguration]]:
    """Give the simulator's topics the names that were asked for."""
    names = {"camera/image_raw": "image", "odom": "odom", "cmd_vel": "cmd_vel"}
    return [(topic, LaunchConfiguration(argument)) for topic, argument in names.items()]


def given(context: Any, name: str) -> str:
    """Return the value of an argument, in an OpaqueFunction."""
    return LaunchConfiguration(name).perform(context)


def given_seed(context: Any) -> int:
    """Return the argument `seed`. Raises ConfigError if it is no whole number."""
    try:
        return int(given(context, "seed"))
    except ValueError as err:
        raise ConfigError(f"seed:={given(context, 'seed')}: must be a whole number") from err
