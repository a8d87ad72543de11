"""Launch and parameter files, checked without `launch`: they load, and all that they name exists."""

from __future__ import annotations

import ast
import dataclasses
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

from vila_ros.controller.node import ControllerNode
from vila_ros.governor.node import GovernorNode
from vila_ros.navigator.config import OUTPUTS
from vila_ros.navigator.node import NavigatorNode
from vila_ros.watchdog.node import WatchdogNode
from vila_tools.demo.run import DemoOptions, node_specs
from vila_tools.session.resources import share_file

NODES = {
    "navigator": NavigatorNode,
    "controller": ControllerNode,
    "governor": GovernorNode,
    "watchdog": WatchdogNode,
}
ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
USUAL_ARGUMENTS = {"namespace", "use_sim_time", "params_file", "autostart", "log_level", "use_respawn"}
USUAL_ARGUMENTS |= {"image", "odom", "cmd_vel", "discovery", "domain_id", "security"}
NETWORK = {"ROS_DOMAIN_ID", "ROS_SECURITY_ENABLE", "ROS_SECURITY_STRATEGY"}


class Call:
    """A stand-in for a class of `launch`: remembers how it was made."""

    def __init__(self, name: str, args: tuple, kwargs: dict[str, Any]) -> None:
        self.name, self.args, self.kwargs = name, args, kwargs


def stand_in(module: str, *names: str) -> types.ModuleType:
    fake = types.ModuleType(module)
    for name in names:
        setattr(fake, name, lambda *args, _name=name, **kwargs: Call(_name, args, kwargs))
    return fake


@pytest.fixture(params=LAUNCH_FILES, ids=lambda p: p.name)
def description(request, monkeypatch) -> list[Call]:
    return described(request.param, monkeypatch)


def described(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """What a launch file describes, by the stand-ins."""
    fakes = [
        stand_in("launch", "LaunchDescription"),
        stand_in("launch.actions", "DeclareLaunchArgument", "IncludeLaunchDescription", "SetEnvironmentVariable"),
        stand_in("launch.conditions", "IfCondition"),
        stand_in("launch.launch_description_sources", "PythonLaunchDescriptionSource"),
        stand_in("launch.substitutions", "EnvironmentVariable", "LaunchConfiguration", "PythonExpression"),
        stand_in("launch_ros", "_"),
        stand_in("launch_ros.actions", "Node"),
        stand_in("launch_ros.parameter_descriptions", "ParameterValue"),
        stand_in("ament_index_python", "_"),
        stand_in("ament_index_python.packages", "_"),
    ]
    fakes[-1].get_package_share_directory = lambda package: str({"vila_nav": ROOT}[package])
    for fake in fakes:
        monkeypatch.setitem(sys.modules, fake.__name__, fake)
    return runpy.run_path(str(path))["generate_launch_description"]().args[0]


def of(description: list[Call], name: str) -> list[Call]:
    return [call for call in description if call.name == name]


def test_there_are_two() -> None:
    assert [path.name for path in LAUNCH_FILES] == ["navigation.launch.py", "simulation.launch.py"]


def test_the_usual_arguments_are_there_and_every_used_one_is_declared(description) -> None:
    declared = {call.args[0] for call in of(description, "DeclareLaunchArgument")}
    assert declared >= USUAL_ARGUMENTS

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


def test_the_dds_profile_is_set(description) -> None:
    names = {call.args[0] for call in of(description, "SetEnvironmentVariable")}
    assert names >= {"FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"}


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


@pytest.mark.parametrize(
    ("output", "is_driven", "topics"),
    [
        ("velocity", "true", ("cmd_vel", "cmd_vel_nav")),
        ("goal_pose", "false", ("cmd_vel_governor", "cmd_vel_controller")),  # the others are Nav2's own
        ("nav2", "false", ("cmd_vel_governor", "cmd_vel_controller")),
    ],
)
def test_our_controller_drives_only_where_nobody_else_does(monkeypatch, output: str, is_driven: str, topics) -> None:
    description = described(ROOT / "launch" / "navigation.launch.py", monkeypatch)

    def said(expression: Call) -> object:  # as PythonExpression does
        return eval("".join(output if isinstance(piece, Call) else piece for piece in expression.args[0]))

    arguments = {call.args[0]: call.kwargs for call in of(description, "DeclareLaunchArgument")}
    nodes = {node.kwargs["name"]: node.kwargs for node in of(description, "Node")}
    assert output in OUTPUTS and arguments["output"]["choices"] == list(OUTPUTS)
    assert said(nodes["controller"]["condition"].args[0]) == is_driven
    assert [nodes[name]["condition"] for name in ("governor", "watchdog", "navigator")] == [None] * 3
    assert nodes["navigator"]["parameters"][1]["output"].args[0].args == ("output",)
    for name, topic in zip(("cmd_vel", "cmd_vel_nav"), topics, strict=True):
        assert list(arguments).index("output") < list(arguments).index(name)  # which depends on it
        assert said(arguments[name]["default_value"]) == topic
        remapped = {node for node, its in nodes.items() if name in dict(its["remappings"])}
        assert remapped == {"controller", "governor"} | ({"watchdog"} if name == "cmd_vel" else set())


def test_the_controller_hears_what_reaches_the_base(monkeypatch) -> None:
    description = described(ROOT / "launch" / "navigation.launch.py", monkeypatch)
    arguments = {call.args[0]: call.kwargs["default_value"] for call in of(description, "DeclareLaunchArgument")}
    nodes = {node.kwargs["name"]: dict(node.kwargs["remappings"]) for node in of(description, "Node")}
    named = {name: topics["cmd_vel"].args[0] for name, topics in nodes.items() if "cmd_vel" in topics}
    assert named == {"controller": "cmd_vel_out", "governor": "cmd_vel", "watchdog": "cmd_vel"}
    assert arguments["cmd_vel_out"].args == ("cmd_vel",)
    assert list(arguments).index("cmd_vel") < list(arguments).index("cmd_vel_out")


def test_the_launch_file_of_the_document_names_arguments_that_are_there(monkeypatch) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "nav2.md").read_text(), re.DOTALL)
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    ours = [call for call in calls if getattr(call.func, "id", "") == "included" and call.args[0].value == "vila_nav"]
    (call,) = ours
    assert (ROOT / "launch" / call.args[1].value).is_file()
    description = described(ROOT / "launch" / call.args[1].value, monkeypatch)
    declared = {call.args[0] for call in of(description, "DeclareLaunchArgument")}
    assert {word.arg for word in call.keywords} <= declared


def test_the_simulator_starts_in_the_network_of_the_nodes(monkeypatch) -> None:
    description = described(ROOT / "launch" / "simulation.launch.py", monkeypatch)
    assert [call.name for call in description][-2:] == ["IncludeLaunchDescription", "Node"]
    passed = {name for name, _ in description[-2].kwargs["launch_arguments"]}
    assert passed >= USUAL_ARGUMENTS


def test_each_node_starts_in_its_enclave(description) -> None:
    policy = ElementTree.parse(ROOT / "config" / "security" / "policy.xml")
    enclaves = {enclave.get("path") for enclave in policy.iter("enclave")}
    for node in of(description, "Node"):
        arguments = node.kwargs["arguments"]
        assert arguments[arguments.index("--enclave") + 1] == f"/vila_nav/{node.kwargs['name']}"
        assert f"/vila_nav/{node.kwargs['name']}" in enclaves


def test_files_that_are_named_exist(description) -> None:
    for call in of(description, "DeclareLaunchArgument"):
        if call.args[0] == "params_file":
            assert Path(call.kwargs["default_value"]).is_file()
    for call in of(description, "IncludeLaunchDescription"):
        assert Path(call.args[0].args[0]).is_file()


def test_parameters_given_in_launch_files_are_declared(description, ros) -> None:
    for node in of(description, "Node"):
        given = set(node.kwargs["parameters"][1]) - {"use_sim_time"}
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


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.name)
def test_parameter_files_hold_declared_parameters_with_good_values(path: Path, ros) -> None:
    for name, content in yaml.safe_load(path.read_text())["/**"].items():
        given = content["ros__parameters"]
        assert set(given) <= declared_names(name) | {"use_sim_time"}
        overrides = [Parameter(key, value=value) for key, value in given.items() if key != "use_sim_time"]
        if name != "simulator":
            node = NODES[name](overrides)
            node.destroy_node()


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
