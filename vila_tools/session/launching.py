"""What the launch files of the simulators share; on a robot none of it is needed. Only launch files import it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from vila_core.errors import ConfigError
from vila_ros.common.launching import GRAPH_ARGUMENTS, RUN_ARGUMENTS, SHARE, Argument
from vila_ros.common.recipes import GENERIC


def usual_arguments(parameters: str) -> tuple[Argument, ...]:
    """Return the arguments that are handed on to navigation.launch.py.

    parameters: the file's name in config/.
    """
    return (
        ("namespace", "", "namespace of the nodes"),
        ("use_sim_time", "true", "take the time from the simulator"),
        ("params_file", str(SHARE / "config" / parameters), "parameters of the nodes"),
        *GRAPH_ARGUMENTS,
        *RUN_ARGUMENTS,
        ("image", "camera/image_raw", "topic of the images"),
        ("odom", "odom", "topic of the odometry"),
        ("cmd_vel", "cmd_vel", "topic of the velocity commands"),
    )


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
