"""The simulator, with all that navigates: `ros2 launch vila_nav simulation.launch.py seed:=3`.

With `scripted_events:=patrol` there are doors, and a patrol on which things happen once /simulator/begin is called.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, SetEnvironmentVariable
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

SHARE = Path(get_package_share_directory("vila_nav"))

INSTRUCTION = PythonExpression(["'' if '", LaunchConfiguration("scripted_events"), "' else 'go to the red chair'"])
ARGUMENTS = (
    ("namespace", "", "namespace of the nodes"),
    ("use_sim_time", "true", "take the time from the simulator"),
    ("params_file", str(SHARE / "config" / "simulation.yaml"), "parameters of the nodes"),
    ("autostart", "true", "bring the navigator up; false leaves that to a lifecycle manager"),
    ("log_level", "info", "debug, info, warn or error"),
    ("discovery", "LOCALHOST", "who finds the nodes: LOCALHOST, this machine; SUBNET, the network; OFF"),
    ("domain_id", EnvironmentVariable("ROS_DOMAIN_ID", default_value="0"), "ROS domain; on a network one a robot"),
    ("security", EnvironmentVariable("ROS_SECURITY_ENABLE", default_value="false"), "only nodes with keys of SROS2"),
    ("use_respawn", "true", "start a node again that has ended"),
    ("seed", "0", "which flat, where the robot starts, and what happens"),
    ("scripted_events", "", "patrol: once ~/begin of the simulator is called, the robot patrols and things happen"),
    (
        "instruction",
        INSTRUCTION,
        "the flat will hold what this names; nobody is told it yet; none with a patrol",
    ),
    ("publish_clock", "true", "false: the simulator follows the /clock of another one, see fleet.launch.py"),
    ("image", "camera/image_raw", "topic of the images"),
    ("odom", "odom", "topic of the odometry"),
    ("cmd_vel", "cmd_vel", "topic of the velocity commands"),
)
PASSED_ON = (
    "namespace",
    "use_sim_time",
    "params_file",
    "autostart",
    "log_level",
    "use_respawn",
    "discovery",
    "domain_id",
    "security",
    "image",
    "odom",
    "cmd_vel",
)


def generate_launch_description() -> LaunchDescription:
    """Describe what to start; called by `ros2 launch`."""
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, default_value=value, description=text) for name, value, text in ARGUMENTS),
            SetEnvironmentVariable("MUJOCO_GL", "egl"),
            SetEnvironmentVariable("OMP_NUM_THREADS", "1"),  # a small model beside a renderer on few cores
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(SHARE / "launch" / "navigation.launch.py")),
                launch_arguments=[("robot", "generic"), *((name, LaunchConfiguration(name)) for name in PASSED_ON)],
            ),
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
        remappings=[
            ("camera/image_raw", LaunchConfiguration("image")),
            ("odom", LaunchConfiguration("odom")),
            ("cmd_vel", LaunchConfiguration("cmd_vel")),
            ("/tf", "tf"),  # robots in namespaces have frames of the same names
            ("/tf_static", "tf_static"),
        ],
    )
