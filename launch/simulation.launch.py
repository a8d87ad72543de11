"""The simulator, with all that navigates: `ros2 launch vila_nav simulation.launch.py seed:=3`.

With `scripted_events:=patrol` there are doors, and a patrol on which things happen once /simulator/begin is called.
"""

from __future__ import annotations

from launch import LaunchDescription
from launch.actions import SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from vila_ros.common.launching import TF, declared
from vila_tools.session.launching import navigation, remappings, usual_arguments

INSTRUCTION = PythonExpression(["'' if '", LaunchConfiguration("scripted_events"), "' else 'go to the red chair'"])
USUAL = usual_arguments("simulation.yaml")
ARGUMENTS = (
    ("seed", "0", "which flat, where the robot starts, and what happens"),
    ("scripted_events", "", "patrol: once ~/begin of the simulator is called, the robot patrols and things happen"),
    (
        "instruction",
        INSTRUCTION,
        "the flat will hold what this names; nobody is told it yet; none with a patrol",
    ),
    ("publish_clock", "true", "false: the simulator follows the /clock of another one, see fleet.launch.py"),
)


def generate_launch_description() -> LaunchDescription:
    """Describe what to start; called by `ros2 launch`."""
    return LaunchDescription(
        [
            *declared((*USUAL, *ARGUMENTS), {}),
            SetEnvironmentVariable("MUJOCO_GL", "egl"),
            SetEnvironmentVariable("OMP_NUM_THREADS", "1"),  # a small model beside a renderer on few cores
            navigation(USUAL),
            _simulator(),  # behind what limits the network
        ]
    )


def _simulator() -> Node:
    return Node(
        package="vila_nav",
        executable="simulator_node",
        name="simulator",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        respawn=LaunchConfiguration("use_respawn"),
        parameters=[
            LaunchConfiguration("params_file"),
            {
                "use_sim_time": False,
                "seed": ParameterValue(LaunchConfiguration("seed"), value_type=int),
                "scripted_events": ParameterValue(LaunchConfiguration("scripted_events"), value_type=str),
                "instruction": ParameterValue(LaunchConfiguration("instruction"), value_type=str),
                "publish_clock": ParameterValue(LaunchConfiguration("publish_clock"), value_type=bool),
            },
        ],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level"), "--enclave", "/vila_nav/simulator"],
        remappings=[*remappings(), *TF],
    )
