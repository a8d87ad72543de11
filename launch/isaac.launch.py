"""A flat in Isaac Sim, with all that navigates: `ros2 launch vila_nav isaac.launch.py seed:=3 isaac:=~/isaacsim`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launch import LaunchDescription
from launch.actions import ExecuteProcess, OpaqueFunction, Shutdown
from launch.substitutions import EnvironmentVariable

from vila_core.errors import ConfigError
from vila_core.machine.cache import cache_folder
from vila_ros.common.launching import SHARE, declared
from vila_sim.episodes.scenario import live_world
from vila_sim.isaac.graph import TopicNames
from vila_tools.session.launching import given, given_seed, navigation, usual_arguments

USUAL = usual_arguments("isaac.yaml")
ARGUMENTS = (
    ("seed", "0", "which flat, and where the robot starts"),
    ("instruction", "go to the red chair", "the flat will hold what this names; nobody is told it yet"),
    ("isaac", EnvironmentVariable("ISAAC_PATH", default_value="~/isaacsim"), "Isaac Sim's folder, with python.sh"),
    ("headless", "false", "without a window"),
)
CHOICES = {"headless": ["true", "false"]}


def generate_launch_description() -> LaunchDescription:
    """Describe what to start; called by `ros2 launch`."""
    return LaunchDescription(
        [
            *declared((*USUAL, *ARGUMENTS), CHOICES),
            navigation(USUAL),
            OpaqueFunction(function=_isaac),  # behind what limits the network
        ]
    )


def _isaac(context: Any) -> list[Any]:
    """Write the stage, then run it with Isaac Sim's own Python, which serves its topics by itself."""
    from vila_sim.isaac.world import write_isaac_world  # the arguments are told without usd-core, too

    seed, isaac = given_seed(context), given(context, "isaac")
    python = Path(isaac).expanduser() / "python.sh"
    if not python.is_file():
        raise ConfigError(f"isaac:={isaac}: there is no {python}; name the folder that Isaac Sim is installed in")
    folder = cache_folder() / "isaac" / str(seed)
    topics = TopicNames(*(given(context, name) for name in ("namespace", "image", "odom", "cmd_vel")))
    write_isaac_world(folder, *live_world(seed, given(context, "instruction")), topics=topics)
    options = ["--headless"] if given(context, "headless") == "true" else []
    return [
        ExecuteProcess(
            cmd=[str(python), str(SHARE / "sim/isaac/run.py"), "--world", str(folder), *options],
            output="screen",
            additional_env={"PYTHONPATH": ""},  # ROS's packages are of another Python
            on_exit=Shutdown(reason="Isaac Sim has ended"),
        )
    ]
