"""A flat in Gazebo, with all that navigates: `ros2 launch vila_nav gazebo.launch.py seed:=3 headless:=true`."""

from __future__ import annotations

import os
from typing import Any

from launch import LaunchDescription
from launch.actions import ExecuteProcess, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from vila_core.machine.cache import cache_folder
from vila_ros.common.launching import declared
from vila_sim.episodes.scenario import live_world
from vila_sim.gazebo.versions import BY_ROS, DEFAULT, VERSIONS, gazebo_version
from vila_sim.gazebo.world import BRIDGE_FILE, write_gazebo_world
from vila_tools.session.launching import (
    given,
    given_seed,
    navigation,
    remappings,
    usual_arguments,
)

USUAL = usual_arguments("gazebo.yaml")
ARGUMENTS = (
    ("seed", "0", "which flat, and where the robot starts"),
    ("instruction", "go to the red chair", "the flat will hold what this names; nobody is told it yet"),
    ("gz", BY_ROS.get(os.environ.get("ROS_DISTRO", ""), DEFAULT), "version of Gazebo"),
    ("headless", "false", "without a window"),
)
CHOICES = {"gz": list(VERSIONS), "headless": ["true", "false"]}


def generate_launch_description() -> LaunchDescription:
    """Describe what to start; called by `ros2 launch`."""
    return LaunchDescription(
        [
            *declared((*USUAL, *ARGUMENTS), CHOICES),
            *(SetEnvironmentVariable(name, "127.0.0.1") for name in ("GZ_IP", "IGN_IP")),  # closed, as ROS is
            navigation(USUAL),
            OpaqueFunction(function=_gazebo),  # behind what limits the network
        ]
    )


def _gazebo(context: Any) -> list[Any]:
    """Write the world, then run it, and the bridge between its topics and those of ROS."""
    seed, version = given_seed(context), gazebo_version(given(context, "gz"))
    flat, start = live_world(seed, given(context, "instruction"))
    world = write_gazebo_world(cache_folder() / "gazebo" / f"{version.name}_{seed}", flat, start, gz=version.name)
    options = ["-r", "-s", "--headless-rendering"] if given(context, "headless") == "true" else ["-r"]
    return [
        ExecuteProcess(
            cmd=[*version.command, *options, str(world)],
            output="screen",
            on_exit=Shutdown(reason="Gazebo has ended"),
        ),
        Node(
            package="ros_gz_bridge",
            executable="parameter_bridge",
            name="gazebo_bridge",
            namespace=LaunchConfiguration("namespace"),
            output="screen",
            respawn=LaunchConfiguration("use_respawn"),
            respawn_delay=2.0,
            parameters=[{"config_file": str(world.parent / BRIDGE_FILE)}],
            arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            remappings=remappings(),
        ),
    ]
