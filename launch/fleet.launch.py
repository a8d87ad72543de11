"""Several simulated robots, all that navigates with each: `ros2 launch vila_nav fleet.launch.py robots:=3`.

Robot i is in the namespace robot_i, alone in a flat of its own (the seed's, then that of the next seed); robots do not
meet. All keep one time: the first robot's simulator publishes /clock, the others follow it.
"""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from vila_ros.common.launching import CHOICES, SHARE, declared
from vila_tools.session.launching import usual_arguments

MOST_ROBOTS = 32
OF_EACH = ("namespace", "seed", "page_port", "publish_clock")  # in each robot's own way
USUAL = tuple(argument for argument in usual_arguments("simulation.yaml") if argument[0] not in OF_EACH)
ARGUMENTS = (
    ("robots", "2", "how many"),
    ("namespace", "robot_", "what the namespace of each begins with; its number is put behind"),
    ("seed", "0", "flat and start of the first robot; the next robot has the next seed"),
    ("instruction", "go to the red chair", "the flats will hold what this names; nobody is told it yet"),
    ("page_port", "8088", "port of the first robot's page; the next robot has the next port"),
    *USUAL,
)
OF_ALL_ROBOTS = ("instruction", *(name for name, _, _ in USUAL))


def generate_launch_description() -> LaunchDescription:
    """Describe what to start; called by `ros2 launch`."""
    return LaunchDescription([*declared(ARGUMENTS, CHOICES), OpaqueFunction(function=robots)])


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
