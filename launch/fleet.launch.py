"""Several simulated robots, all that navigates with each: `ros2 launch vila_nav fleet.launch.py robots:=3`.

Robot i is in the namespace robot_i, alone in a flat of its own (the seed's, then that of the next seed); robots do not
meet. All keep one time: the first robot's simulator publishes /clock, the others follow it.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import EnvironmentVariable, LaunchConfiguration

SHARE = Path(get_package_share_directory("vila_nav"))
MOST_ROBOTS = 32

ARGUMENTS = (
    ("robots", "2", "how many"),
    ("namespace", "robot_", "what the namespace of each begins with; its number is put behind"),
    ("seed", "0", "flat and start of the first robot; the next robot has the next seed"),
    ("instruction", "go to the red chair", "the flats will hold what this names; nobody is told it yet"),
    ("use_sim_time", "true", "take the time from the simulator"),
    ("params_file", str(SHARE / "config" / "simulation.yaml"), "parameters of the nodes"),
    ("autostart", "true", "bring the navigators up; false leaves that to a lifecycle manager"),
    ("log_level", "info", "debug, info, warn or error"),
    ("discovery", "LOCALHOST", "who finds the nodes: LOCALHOST, this machine; SUBNET, the network; OFF"),
    ("domain_id", EnvironmentVariable("ROS_DOMAIN_ID", default_value="0"), "ROS domain of all robots"),
    ("security", EnvironmentVariable("ROS_SECURITY_ENABLE", default_value="false"), "only nodes with keys of SROS2"),
    ("use_respawn", "true", "start a node again that has ended"),
    ("page", "false", "serve a page for each robot, a view of it for browsers, on this machine"),
    ("page_port", "8088", "port of the first robot's page; the next robot has the next port"),
    ("image", "camera/image_raw", "topic of the images, in each namespace"),
    ("odom", "odom", "topic of the odometry, in each namespace"),
    ("cmd_vel", "cmd_vel", "topic of the velocity commands, in each namespace"),
)
OF_ALL_ROBOTS = tuple(name for name, _, _ in ARGUMENTS if name not in ("robots", "namespace", "seed"))


def generate_launch_description() -> LaunchDescription:
    """Describe what to start; called by `ros2 launch`."""
    arguments = (DeclareLaunchArgument(name, default_value=value, description=text) for name, value, text in ARGUMENTS)
    return LaunchDescription([*arguments, OpaqueFunction(function=robots)])


def robots(context: LaunchContext) -> list[GroupAction]:
    """Describe each robot, once it is known how many there are. Raises RuntimeError for a number that cannot be."""
    count, first_seed = (int(LaunchConfiguration(name).perform(context)) for name in ("robots", "seed"))
    if not 1 <= count <= MOST_ROBOTS:
        raise RuntimeError(f"robots:={count}: must be 1 to {MOST_ROBOTS}")
    first_port = int(LaunchConfiguration("page_port").perform(context))
    beginning = LaunchConfiguration("namespace").perform(context)
    return [_robot(f"{beginning}{i}", first_seed + i, first_port + i, is_first=i == 0) for i in range(count)]


def _robot(namespace: str, seed: int, port: int, *, is_first: bool) -> GroupAction:
    own = {"namespace": namespace, "seed": str(seed), "page_port": str(port)}
    own |= {"publish_clock": str(is_first).lower()}
    given = {name: LaunchConfiguration(name) for name in OF_ALL_ROBOTS}
    source = PythonLaunchDescriptionSource(str(SHARE / "launch" / "simulation.launch.py"))
    return GroupAction([IncludeLaunchDescription(source, launch_arguments=list({**given, **own}.items()))])
