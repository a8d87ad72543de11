"""Launch and parameter files, checked without `launch`: they load, and all that they name exists."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import runpy
import sys
import types
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from rclpy.parameter import Parameter

from vila_core.errors import ConfigError
from vila_ros.common.resources import share_file
from vila_ros.common.topics import TRANSPORTS
from vila_ros.controller.node import ControllerNode
from vila_ros.governor.node import GovernorNode
from vila_ros.navigator.config import OUTPUTS, NavigatorNodeConfig
from vila_ros.navigator.node import NavigatorNode
from vila_ros.page.config import PageConfig
from vila_ros.page.node import PageNode
from vila_ros.recorder.node import RecorderNode
from vila_ros.voice.node import VoiceNode
from vila_ros.watchdog.node import WatchdogNode
from vila_tools.demo.run import DemoOptions, node_specs

NODES = {
    "navigator": NavigatorNode,
    "controller": ControllerNode,
    "governor": GovernorNode,
    "page": PageNode,
    "voice": VoiceNode,
    "watchdog": WatchdogNode,
    "recorder": RecorderNode,
}
ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
USUAL_ARGUMENTS = {"namespace", "use_sim_time", "params_file", "log_level", "use_respawn"}
USUAL_ARGUMENTS |= {"image", "odom", "cmd_vel", "discovery", "domain_id", "security"}
ACTIONS = ("DeclareLaunchArgument", "ExecuteProcess", "GroupAction", "IncludeLaunchDescription", "OpaqueFunction")
ACTIONS += ("LogInfo", "SetEnvironmentVariable", "SetLaunchConfiguration", "Shutdown")
SIMULATORS = ("simulation", "gazebo", "isaac")
NETWORK = {"ROS_DOMAIN_ID", "ROS_SECURITY_ENABLE", "ROS_SECURITY_STRATEGY"}


class Call:
    """A stand-in for a class of `launch`: remembers how it was made."""

    def __init__(self, name: str, args: tuple, kwargs: dict[str, Any]) -> None:
        self.name, self.args, self.kwargs = name, args, kwargs

    def perform(self, context: dict[str, str]) -> str:
        """What a LaunchConfiguration is in a context of ours."""
        return context[self.args[0]]


def stand_in(module: str, *names: str) -> types.ModuleType:
    fake = types.ModuleType(module)
    for name in names:
        setattr(fake, name, lambda *args, _name=name, **kwargs: Call(_name, args, kwargs))
    return fake


@pytest.fixture(params=LAUNCH_FILES, ids=lambda p: p.name)
def description(request, monkeypatch) -> list[Call]:
    return described(request.param, monkeypatch)


def described(path: Path, monkeypatch: pytest.MonkeyPatch, share: Path = ROOT) -> list[Call]:
    """What a launch file describes, by the stand-ins."""
    fakes = [
        stand_in("launch", "LaunchContext", "LaunchDescription"),
        stand_in("launch.actions", *ACTIONS),
        stand_in("launch.conditions", "IfCondition"),
        stand_in("launch.launch_description_sources", "PythonLaunchDescriptionSource"),
        stand_in("launch.substitutions", "EnvironmentVariable", "LaunchConfiguration", "PythonExpression"),
        stand_in("launch_ros", "_"),
        stand_in("launch_ros.actions", "Node"),
        stand_in("launch_ros.parameter_descriptions", "ParameterValue"),
        stand_in("ament_index_python", "_"),
        stand_in("ament_index_python.packages", "_"),
    ]
    fakes[-1].get_package_share_directory = lambda package: str({"vila_nav": share}[package])
    for module in ("vila_tools.session.launching", "vila_ros.common.launching"):
        monkeypatch.delitem(sys.modules, module, raising=False)  # of the stand-ins before
    for fake in fakes:
        monkeypatch.setitem(sys.modules, fake.__name__, fake)
    return runpy.run_path(str(path))["generate_launch_description"]().args[0]


def of(description: list[Call], name: str) -> list[Call]:
    return [call for call in description if call.name == name]


def chosen(description: list[Call], action: Call, **given: str) -> list[Call]:
    """What an OpaqueFunction does if these arguments are given, and the others are at their defaults."""
    defaults = {call.args[0]: call.kwargs["default_value"] for call in of(description, "DeclareLaunchArgument")}
    return action.kwargs["function"](defaults | given)


def test_they_are_all_here() -> None:
    names = [path.name.removesuffix(".launch.py") for path in LAUNCH_FILES]
    assert names == sorted(("fleet", "navigation", "page", "recorder", *SIMULATORS))


def test_the_usual_arguments_are_there_and_every_used_one_is_declared(description) -> None:
    declared = {call.args[0] for call in of(description, "DeclareLaunchArgument")}
    assert declared >= USUAL_ARGUMENTS
    is_of_simulator = of(description, "IncludeLaunchDescription")  # whose functions write a world and start programs
    for action in [] if is_of_simulator else of(description, "OpaqueFunction"):
        declared |= {call.args[0] for call in of(chosen(description, action), "SetLaunchConfiguration")}

    def used(value: Any) -> set[str]:
        if isinstance(value, Call):
            own = {value.args[0]} if value.name == "LaunchConfiguration" else set()
            return own | used(list(value.args)) | used(list(value.kwargs.values()))
        if isinstance(value, dict):
            return used(list(value.values()))
        if isinstance(value, list | tuple):
            return {name for item in value for name in used(item)}
        return set()

    assert used(description) <= declared


def test_executables_exist(description) -> None:
    for node in of(description, "Node"):
        executable = node.kwargs["executable"]
        assert node.kwargs["package"] == "vila_nav" and executable == node.kwargs["name"] + "_node"
        assert (ROOT / "vila_ros" / node.kwargs["name"] / "node.py").is_file()
        assert executable in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("distro", "name"),
    [("humble", "FASTRTPS"), ("jazzy", "FASTRTPS"), ("kilted", "FASTDDS"), ("lyrical", "FASTDDS"), (None, "FASTDDS")],
)
def test_the_dds_profile_is_set_once_under_the_name_that_the_distro_knows(monkeypatch, tmp_path, distro, name) -> None:
    for variable in ("ROS_DISTRO", "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(variable, raising=False)
    if distro:
        monkeypatch.setenv("ROS_DISTRO", distro)
    (tmp_path / "config").symlink_to(ROOT / "config")  # as after `make setup`
    (path,) = (path for path in LAUNCH_FILES if path.name == "navigation.launch.py")
    description = described(path, monkeypatch, share=tmp_path)
    values = {
        call.args[0]: call.args[1] for call in of(description, "SetEnvironmentVariable") if "FAST" in call.args[0]
    }
    assert values == {f"{name}_DEFAULT_PROFILES_FILE": str(ROOT / "config" / "fastdds.xml")}
    monkeypatch.setenv(f"{name}_DEFAULT_PROFILES_FILE", "/etc/ros/dds.xml")  # the user's own stays
    description = described(path, monkeypatch, share=tmp_path)
    assert not [call for call in of(description, "SetEnvironmentVariable") if "FAST" in call.args[0]]


@pytest.mark.parametrize(
    ("distro", "limits"), [("jazzy", "ROS_AUTOMATIC_DISCOVERY_RANGE"), ("humble", "ROS_LOCALHOST_ONLY")]
)
def test_who_finds_the_nodes_and_who_may_speak_to_them_is_set_before_a_node_starts(monkeypatch, distro, limits) -> None:
    monkeypatch.setenv("ROS_DISTRO", distro)
    description = described(ROOT / "launch" / "navigation.launch.py", monkeypatch)
    first = next(number for number, call in enumerate(description) if call.name == "Node")
    of_environment = {call.args[0]: call.args[1] for call in of(description[:first], "SetEnvironmentVariable")}
    assert {name for name in of_environment if name.startswith("ROS_")} == NETWORK | {limits}
    assert of_environment["ROS_SECURITY_STRATEGY"] == "Enforce"
    assert of_environment["ROS_DOMAIN_ID"].args == ("domain_id",)
    if distro == "humble":  # which only knows yes and no
        for chosen, value in (("LOCALHOST", 1), ("OFF", 1), ("SUBNET", 0)):
            pieces = [chosen if isinstance(piece, Call) else piece for piece in of_environment[limits].args[0]]
            assert eval("".join(pieces)) == value  # as PythonExpression does


def test_the_network_is_closed_by_default_and_other_words_are_refused(monkeypatch) -> None:
    declared = of(described(ROOT / "launch" / "navigation.launch.py", monkeypatch), "DeclareLaunchArgument")
    arguments = {call.args[0]: call.kwargs for call in declared}
    assert arguments["discovery"]["default_value"] == "LOCALHOST" == arguments["discovery"]["choices"][0]
    assert arguments["security"]["choices"] == ["true", "false"]  # "True" would be no to ROS
    assert arguments["security"]["default_value"].args == ("ROS_SECURITY_ENABLE",)  # it never undoes the environment's


def test_nodes_that_move_the_robot_are_started_again(monkeypatch) -> None:
    description = described(ROOT / "launch" / "navigation.launch.py", monkeypatch)
    arguments = {call.args[0]: call.kwargs for call in of(description, "DeclareLaunchArgument")}
    assert arguments["use_respawn"]["default_value"] == "true"
    again = {node.kwargs["name"] for node in of(description, "Node") if _respawns(node)}
    assert {"navigator", "controller", "governor", "watchdog"} <= again


def _respawns(node: Call) -> bool:
    respawn = node.kwargs.get("respawn")
    return isinstance(respawn, Call) and respawn.args == ("use_respawn",)


def test_the_page_is_served_only_if_it_is_asked_for(monkeypatch) -> None:
    description = described(ROOT / "launch" / "navigation.launch.py", monkeypatch)
    arguments = {call.args[0]: call.kwargs for call in of(description, "DeclareLaunchArgument")}
    assert arguments["page"]["default_value"] == "false" and arguments["page"]["choices"] == ["true", "false"]
    assert arguments["page_port"]["default_value"] == str(PageConfig().port)
    page = next(node for node in of(description, "Node") if node.kwargs["name"] == "page")
    assert page.kwargs["condition"].args[0].args == ("page",)
    assert page.kwargs["parameters"][2]["port"].args[0].args == ("page_port",)


def test_how_images_are_taken_is_an_argument(monkeypatch) -> None:
    description = described(ROOT / "launch" / "navigation.launch.py", monkeypatch)
    arguments = {call.args[0]: call.kwargs for call in of(description, "DeclareLaunchArgument")}
    assert tuple(arguments["image_transport"]["choices"]) == TRANSPORTS
    assert arguments["image_transport"]["default_value"] == NavigatorNodeConfig().image_transport
    navigator = next(node for node in of(description, "Node") if node.kwargs["name"] == "navigator")
    given = navigator.kwargs["parameters"][-1]["image_transport"]
    assert given.args[0].args == ("image_transport",) and given.kwargs == {"value_type": str}


@pytest.mark.parametrize(
    ("output", "is_driven", "topics"),
    [
        ("velocity", "true", ("cmd_vel", "cmd_vel_nav")),
        ("goal_pose", "false", ("cmd_vel_governor", "cmd_vel_controller")),  # the others are Nav2's own
        ("nav2", "false", ("cmd_vel_governor", "cmd_vel_controller")),
    ],
)
def test_our_controller_drives_only_where_nobody_else_does(monkeypatch, output: str, is_driven: str, topics) -> None:
    set_to, nodes = navigation(monkeypatch, output=output)
    kwargs = {node.kwargs["name"]: node.kwargs for node in nodes}

    def said(expression: Call) -> object:  # as PythonExpression does
        return eval("".join(output if isinstance(piece, Call) else piece for piece in expression.args[0]))

    assert output in OUTPUTS and said(kwargs["controller"]["condition"].args[0]) == is_driven
    assert [kwargs[name]["condition"] for name in ("governor", "watchdog", "navigator")] == [None] * 3
    assert kwargs["navigator"]["parameters"][-1]["output"].args[0].args == ("output",)
    assert (set_to["cmd_vel"], set_to["cmd_vel_nav"]) == topics
    remapped = {node for node, its in kwargs.items() if "cmd_vel_nav" in dict(its["remappings"])}
    assert remapped == {"controller", "governor", "recorder"}


def test_the_controller_hears_what_reaches_the_base(monkeypatch) -> None:
    set_to, nodes = navigation(monkeypatch, cmd_vel="below", cmd_vel_out="base/cmd_vel")
    topics = {node.kwargs["name"]: dict(node.kwargs["remappings"]).get("cmd_vel") for node in nodes}
    named = {name: topic.args[0] for name, topic in topics.items() if topic is not None}
    assert named == dict.fromkeys(("controller", "recorder"), "cmd_vel_out") | dict.fromkeys(
        ("governor", "watchdog"), "cmd_vel"
    )
    assert (set_to["cmd_vel"], set_to["cmd_vel_out"]) == ("below", "base/cmd_vel")
    set_to, _ = navigation(monkeypatch, cmd_vel="below")
    assert set_to["cmd_vel_out"] == "below"


def test_the_launch_file_of_the_document_names_arguments_that_are_there(monkeypatch) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "nav2.md").read_text(), re.DOTALL)
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    ours = [call for call in calls if getattr(call.func, "id", "") == "included" and call.args[0].value == "vila_nav"]
    (call,) = ours
    assert (ROOT / "launch" / call.args[1].value).is_file()
    description = described(ROOT / "launch" / call.args[1].value, monkeypatch)
    declared = {call.args[0] for call in of(description, "DeclareLaunchArgument")}
    assert {word.arg for word in call.keywords} <= declared


def robots_of_a_fleet(monkeypatch, **arguments: str) -> list[dict[str, Any]]:
    """The launch arguments of each robot."""
    description = described(ROOT / "launch" / "fleet.launch.py", monkeypatch)
    groups = of(description, "OpaqueFunction")[0].kwargs["function"](arguments)
    includes = [include for group in groups for include in group.args[0]]
    assert all(Path(include.args[0].args[0]) == ROOT / "launch" / "simulation.launch.py" for include in includes)
    return [dict(include.kwargs["launch_arguments"]) for include in includes]


def test_the_robots_of_a_fleet_have_namespaces_flats_and_one_clock(monkeypatch) -> None:
    robots = robots_of_a_fleet(monkeypatch, robots="3", seed="5", namespace="bot", page_port="9000")
    assert [robot["page_port"] for robot in robots] == ["9000", "9001", "9002"]  # a page each
    told = [(robot["namespace"], robot["seed"], robot["publish_clock"]) for robot in robots]
    assert told == [("bot0", "5", "true"), ("bot1", "6", "false"), ("bot2", "7", "false")]
    declared = of(described(ROOT / "launch" / "simulation.launch.py", monkeypatch), "DeclareLaunchArgument")
    assert set(robots[0]) <= {call.args[0] for call in declared}


@pytest.mark.parametrize("count", ["0", "33", "-1"])
def test_a_fleet_of_no_robots_or_of_too_many_is_refused(monkeypatch, count: str) -> None:
    with pytest.raises(RuntimeError, match=f"robots:={count}"):
        robots_of_a_fleet(monkeypatch, robots=count, seed="0", namespace="robot_", page_port="8088")


@pytest.mark.parametrize("name", SIMULATORS)
def test_the_simulator_starts_in_the_network_of_the_nodes(monkeypatch, name) -> None:
    description = described(ROOT / "launch" / f"{name}.launch.py", monkeypatch)
    names = [call.name for call in description][-2:]
    assert names in (["IncludeLaunchDescription", "Node"], ["IncludeLaunchDescription", "OpaqueFunction"])
    passed = dict(description[-2].kwargs["launch_arguments"])
    assert set(passed) >= USUAL_ARGUMENTS
    assert passed["robot"] == "generic"  # whatever robot was asked for on the command line


def test_each_node_starts_in_its_enclave(description) -> None:
    policy = ElementTree.parse(ROOT / "config" / "security" / "policy.xml")
    enclaves = {enclave.get("path") for enclave in policy.iter("enclave")}
    for node in of(description, "Node"):
        arguments = node.kwargs["arguments"]
        assert arguments[arguments.index("--enclave") + 1] == f"/vila_nav/{node.kwargs['name']}"
        assert f"/vila_nav/{node.kwargs['name']}" in enclaves


def test_files_that_are_named_exist(description) -> None:
    for call in of(description, "DeclareLaunchArgument"):
        if call.args[0] == "params_file" and call.kwargs["default_value"]:
            assert Path(call.kwargs["default_value"]).is_file()
    for call in of(description, "IncludeLaunchDescription"):
        assert Path(call.args[0].args[0]).is_file()


def test_parameters_given_in_launch_files_are_declared(description, ros) -> None:
    for node in of(description, "Node"):
        given = set(node.kwargs["parameters"][-1]) - {"use_sim_time"}
        assert given <= declared_names(node.kwargs["name"])


def declared_names(name: str) -> set[str]:
    if name == "simulator":
        pytest.importorskip("vila_sim.mujoco.simulator")
        from vila_ros.simulator.node import SimulatorNodeConfig
        from vila_sim.mujoco.simulator import CameraConfig, RobotConfig

        kinds = (("", SimulatorNodeConfig), ("camera.", CameraConfig), ("robot.", RobotConfig))
        return {prefix + field.name for prefix, kind in kinds for field in dataclasses.fields(kind)}
    node = NODES[name]()
    names = set(node._parameters)
    node.destroy_node()
    return names


def asked(description: list[Call], **given: str) -> dict[str, str]:
    """The values of all arguments, those that are given and the defaults."""
    defaults = {call.args[0]: call.kwargs["default_value"] for call in of(description, "DeclareLaunchArgument")}
    return {name: value for name, value in defaults.items() if isinstance(value, str)} | given


def started(name: str, monkeypatch: pytest.MonkeyPatch, **given: str) -> list[Call]:
    """What the launch file starts once its arguments are known."""
    description = described(ROOT / "launch" / f"{name}.launch.py", monkeypatch)
    (late,) = of(description, "OpaqueFunction")
    return late.kwargs["function"](asked(description, **given))


@pytest.mark.parametrize(("distro", "gz"), [("humble", "fortress"), ("jazzy", "harmonic"), ("", "harmonic")])
def test_gazebo_is_of_the_version_that_goes_with_ros(monkeypatch, distro, gz) -> None:
    monkeypatch.setenv("ROS_DISTRO", distro)
    description = described(ROOT / "launch" / "gazebo.launch.py", monkeypatch)
    assert asked(description)["gz"] == gz


@pytest.mark.parametrize(
    ("gz", "headless", "command"),
    [
        ("fortress", "false", ["ign", "gazebo", "-r"]),
        ("jetty", "true", ["gz", "sim", "-r", "-s", "--headless-rendering"]),
    ],
)
def test_gazebo_runs_the_world_that_is_written_and_the_bridge_to_it(
    monkeypatch, tmp_path, gz, headless, command
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    process, bridge = started("gazebo", monkeypatch, gz=gz, headless=headless, seed="3")
    world = Path(process.kwargs["cmd"][-1])
    assert process.kwargs["cmd"][:-1] == command and world.is_relative_to(tmp_path)
    assert "red_chair" in world.read_text()
    assert process.kwargs["on_exit"].name == "Shutdown"
    (parameters,) = bridge.kwargs["parameters"]
    rows = yaml.safe_load(Path(parameters["config_file"]).read_text())
    assert bridge.kwargs["package"] == "ros_gz_bridge" and bridge.kwargs["executable"] == "parameter_bridge"
    renamed = {topic for topic, _ in bridge.kwargs["remappings"]}
    assert renamed <= {row["ros_topic_name"] for row in rows}


def test_isaac_sim_runs_the_stage_that_is_written(monkeypatch, tmp_path) -> None:
    pytest.importorskip("pxr")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "python.sh").touch()
    given = {"isaac": str(tmp_path), "headless": "true", "seed": "3", "namespace": "r1", "image": "front/image"}
    (process,) = started("isaac", monkeypatch, **given)
    python, runner, option, folder, *rest = process.kwargs["cmd"]
    assert (python, option, rest) == (str(tmp_path / "python.sh"), "--world", ["--headless"])
    assert Path(runner).is_file() and (Path(folder) / "world.usda").is_file()
    values = dict(json.loads((Path(folder) / "ros_graph.json").read_text())["values"])
    assert values["images.inputs:topicName"] == "front/image"
    assert values["intrinsics.inputs:topicName"] == "front/camera_info"
    assert {values[f"{node}.inputs:nodeNamespace"] for node in ("twist", "odometry", "images", "scan")} == {"r1"}


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("gazebo", {"gz": "garden"}, "known: fortress, harmonic, ionic, jetty"),
        ("gazebo", {"seed": "three"}, "seed:=three"),
        ("isaac", {"isaac": "nowhere"}, "isaac:=nowhere"),
    ],
)
def test_what_cannot_be_started_is_told(monkeypatch, tmp_path, name, given, words) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if name == "isaac":
        pytest.importorskip("pxr")
    with pytest.raises(ConfigError, match=words):
        started(name, monkeypatch, **given)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("gazebo", {"obstacles.ignore_radius_m"}),
        ("isaac", {"obstacles.sources", "obstacles.cloud_mount"}),
    ],
)
def test_parameters_are_those_of_the_simulator_but_for_what_differs(name, own) -> None:
    ours, theirs = (
        yaml.safe_load((ROOT / "config" / f"{file}.yaml").read_text())["/**"] for file in ("simulation", name)
    )
    del ours["simulator"]
    assert set(ours) == set(theirs)
    for node, content in theirs.items():
        mine, other = ours[node]["ros__parameters"], content["ros__parameters"]
        differing = {key for key in mine.keys() | other.keys() if mine.get(key) != other.get(key)}
        assert differing <= own | {"velocity_type"}
        assert node in ("navigator", "page") or other["velocity_type"] == "plain"  # what Gazebo and Isaac Sim take


@pytest.mark.parametrize(("scripted_events", "instruction"), [("", "go to the red chair"), ("patrol", "")])
def test_scripted_events_need_no_other_argument(monkeypatch, scripted_events: str, instruction: str) -> None:
    declared = of(described(ROOT / "launch" / "simulation.launch.py", monkeypatch), "DeclareLaunchArgument")
    defaults = {call.args[0]: call.kwargs["default_value"] for call in declared}
    assert list(defaults).index("scripted_events") < list(defaults).index("instruction")  # which depends on it
    pieces = [scripted_events if isinstance(piece, Call) else piece for piece in defaults["instruction"].args[0]]
    assert eval("".join(pieces)) == instruction  # as PythonExpression does
    pytest.importorskip("vila_sim.mujoco.simulator")
    from vila_ros.simulator.world import SimulatorNodeConfig

    SimulatorNodeConfig(scripted_events=scripted_events, instruction=instruction)


PARAMETER_FILES = sorted((ROOT / "config").glob("**/*.yaml"))


@pytest.mark.parametrize("path", PARAMETER_FILES, ids=lambda p: p.name)
def test_parameter_files_hold_declared_parameters_with_good_values(path: Path, ros) -> None:
    sections = yaml.safe_load(path.read_text())["/**"]
    assert ("robot" in sections) == (path.parent.name == "robots")
    for name, content in sections.items():
        if name == "robot":  # which is no node
            continue
        given = content["ros__parameters"]
        assert set(given) <= declared_names(name) | {"use_sim_time"}
        overrides = [Parameter(key, value=value) for key, value in given.items() if key != "use_sim_time"]
        if name != "simulator":
            node = NODES[name](overrides)
            node.destroy_node()


def navigation(monkeypatch: pytest.MonkeyPatch, **given: str) -> tuple[dict[str, str], list[Call]]:
    """The configurations that navigation.launch.py sets for a robot, and its nodes."""
    description = described(ROOT / "launch" / "navigation.launch.py", monkeypatch)
    (action,) = of(description, "OpaqueFunction")
    first = next(number for number, call in enumerate(description) if call.name == "Node")
    assert description.index(action) < first
    set_ = of(chosen(description, action, **given), "SetLaunchConfiguration")
    return {call.args[0]: call.args[1] for call in set_}, of(description, "Node")


def test_a_robot_is_a_file_of_parameters_and_the_topics_that_it_names(monkeypatch) -> None:
    chosen, nodes = navigation(monkeypatch, robot="turtlebot4")
    recipe = ROOT / "config" / "robots" / "turtlebot4.yaml"
    assert chosen["robot_file"] == chosen["params_file"] == str(recipe)
    assert chosen["image"] == "oakd/rgb/preview/image_raw" and chosen["teleop"] == "teleop/cmd_vel"
    for node in nodes:
        files = [value.args[0] for value in node.kwargs["parameters"][:2]]
        assert files == ["robot_file", "params_file"]  # ROS takes the last that says something


def test_each_topic_is_remapped_where_it_is_used(monkeypatch) -> None:
    _, nodes = navigation(monkeypatch)
    remaps = {
        node.kwargs["name"]: {own: to.args[0] for own, to in node.kwargs["remappings"] if isinstance(to, Call)}
        for node in nodes
    }
    assert remaps["page"] == {"image_raw": "image", "odom": "odom"}
    assert remaps["navigator"] == {"image_raw": "image", "odom": "odom"}
    assert remaps["controller"] == {"odom": "odom", "cmd_vel": "cmd_vel_out", "cmd_vel_nav": "cmd_vel_nav"}
    assert remaps["watchdog"] == {"cmd_vel": "cmd_vel"}
    assert set(remaps["governor"]) == {
        *("cmd_vel", "cmd_vel_nav", "scan", "points", "depth", "depth/camera_info"),
        *("teleop/cmd_vel", "joy", "emergency_stop"),
    }


def test_arguments_count_more_than_the_recipe(monkeypatch, tmp_path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("governor:\n  ros__parameters:\n    limits.max_linear_mps: 0.2\n")
    chosen, _ = navigation(monkeypatch, robot="turtlebot4", image="/mine", params_file=str(mine))
    assert chosen["image"] == "/mine" and chosen["params_file"] == str(mine)
    assert chosen["scan"] == "scan" and chosen["robot_file"].endswith("turtlebot4.yaml")


@pytest.mark.parametrize(
    ("given", "width"),
    [
        ({}, "nan"),
        ({"robot": "turtlebot4"}, "40"),
        ({"robot": "turtlebot4", "image": "/oakd/rgb/preview/image_raw"}, "40"),
        ({"robot": "turtlebot4", "image": "/mine"}, "nan"),  # another camera
        ({"robot": "turtlebot4", "image": "/mine", "params_file": "of {navigator}"}, "66.5"),
        ({"robot": "turtlebot4", "params_file": "of {/**}"}, "66.5"),
        ({"robot": "turtlebot4", "params_file": "of {governor}"}, "40"),
        ({"robot": "turtlebot4", "params_file": "of {/two/navigator}"}, "40"),  # another robot's
        ({"robot": "turtlebot4", "params_file": "of {/two/navigator}", "namespace": "two"}, "66.5"),
        ({"robot": "turtlebot4", "params_file": "of {/*/navigator}", "namespace": "/two"}, "66.5"),
        ({"robot": "turtlebot4", "params_file": "of {/**/navigator}", "namespace": "/two"}, "66.5"),
    ],
)
def test_how_wide_the_camera_sees_is_known_of_the_recipes_own_camera(monkeypatch, tmp_path, given, width) -> None:
    if node := given.get("params_file", "").removeprefix("of {").rstrip("}"):
        mine = tmp_path / "mine.yaml"
        mine.write_text(f"{node}:\n  ros__parameters:\n    image_hfov_deg: 66.5\n")
        given = given | {"params_file": str(mine)}
    chosen, nodes = navigation(monkeypatch, **given)
    assert chosen["image_hfov_deg"] == width
    (navigator,) = (node for node in nodes if node.kwargs["name"] == "navigator")
    assert navigator.kwargs["parameters"][-1]["image_hfov_deg"].args[0].args == ("image_hfov_deg",)
    assert "image_hfov_deg" not in navigation(monkeypatch, **given, image_hfov_deg="69")[0]  # the argument stays


def test_a_width_that_is_no_number_is_refused(monkeypatch, tmp_path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("navigator:\n  ros__parameters:\n    image_hfov_deg: wide\n")
    with pytest.raises(ConfigError, match="navigator image_hfov_deg = 'wide': must be a number"):
        navigation(monkeypatch, params_file=str(mine))


def test_an_own_file_is_taken_and_a_wrong_name_refused_with_those_that_there_are(monkeypatch, tmp_path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text((ROOT / "config" / "robots" / "jackal.yaml").read_text())
    chosen, _ = navigation(monkeypatch, robot=str(own))
    assert chosen["robot_file"] == str(own) and chosen["odom"] == "platform/odom/filtered"
    with pytest.raises(ConfigError, match="unknown robot 'turtlebot'; did you mean 'turtlebot4'"):
        navigation(monkeypatch, robot="turtlebot")


def test_a_robot_without_eyes_for_obstacles_needs_a_word_more(monkeypatch, tmp_path) -> None:
    with pytest.raises(ConfigError, match="blind:=true"):
        navigation(monkeypatch, robot="hoverboard")
    mine = tmp_path / "mine.yaml"
    mine.write_text("/**:\n  governor:\n    ros__parameters:\n      obstacles.sources: ''\n")
    with pytest.raises(ConfigError, match="blind:=true"):
        navigation(monkeypatch, params_file=str(mine))
    chosen, _ = navigation(monkeypatch, robot="hoverboard", blind="true")
    assert chosen["cmd_vel"] == "hoverboard_base_controller/cmd_vel_unstamped"


def test_the_demo_uses_the_same_files_and_executables() -> None:
    for spec in node_specs(DemoOptions()):
        assert spec.params_file == share_file("config/simulation.yaml")
        assert spec.module == f"vila_ros.{spec.name}.node"
        assert spec.name in yaml.safe_load(spec.params_file.read_text())["/**"]


def test_the_dds_profile_is_as_measured() -> None:
    root = ElementTree.parse(ROOT / "config" / "fastdds.xml").getroot()
    text = {element.tag.split("}")[-1]: (element.text or "").strip() for element in root.iter()}
    assert text["segment_size"] == str(16 * 2**20) and text["maxMessageSize"] == str(4 * 2**20)
    assert text["useBuiltinTransports"] == "false"
    kinds = {element.text for element in root.iter() if element.tag.endswith("}type")}
    assert kinds == {"SHM", "UDPv4"}


def test_the_voice_listens_only_if_it_is_asked_to(monkeypatch) -> None:
    description = described(ROOT / "launch" / "navigation.launch.py", monkeypatch)
    arguments = {call.args[0]: call.kwargs for call in of(description, "DeclareLaunchArgument")}
    assert arguments["voice"]["default_value"] == "false" and arguments["voice"]["choices"] == ["true", "false"]
    voice = next(node for node in of(description, "Node") if node.kwargs["name"] == "voice")
    assert voice.kwargs["condition"].args[0].args == ("voice",)
