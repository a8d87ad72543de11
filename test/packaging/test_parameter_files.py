"""Launch files and parameter files: what they name exists. launch_ros is not needed to check it."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("vila_ros")

import rclpy

from vila_core.errors import ConfigError
from vila_tools.session.domain import leased_domain

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
PARAMETER_FILES = sorted((ROOT / "config").glob("**/*.yaml"))
FILE_NAME = re.compile(r"[\w/.]+\.(?:yaml|xml|py)")
NODES = {
    "controller": "vila_ros.controller.node:ControllerNode",
    "governor": "vila_ros.governor.node:GovernorNode",
    "navigator": "vila_ros.navigator.node:NavigatorNode",
    "page": "vila_ros.page.node:PageNode",
    "recorder": "vila_ros.recorder.node:RecorderNode",
    "simulator": "vila_ros.simulator.node:SimulatorNode",
    "voice": "vila_ros.voice.node:VoiceNode",
    "watchdog": "vila_ros.watchdog.node:WatchdogNode",
}


def calls(tree: ast.AST, *names: str) -> Iterator[dict[str, ast.expr]]:
    """The keyword arguments of each call of one of the names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            yield {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}


def nodes_of(path: Path) -> set[str]:
    """The names of the nodes that a parameter file speaks to."""

    def walk(values: dict, name: str) -> Iterator[str]:
        for key, inner in values.items():
            if key == "ros__parameters":
                yield name
            else:
                yield from walk(inner, key)

    return set(walk(yaml.safe_load(path.read_text()), "")) - {"robot"}  # a recipe's words on the robot itself


def make(name: str, arguments: list[str]):
    """Construct the node as its executable would; it refuses a parameter that it does not declare."""
    module, kind = NODES[name].split(":")
    with leased_domain() as domain:
        rclpy.init(args=["--ros-args", *arguments], domain_id=domain)
        try:
            node = getattr(importlib.import_module(module), kind)()
            node.destroy_node()
        finally:
            rclpy.shutdown()


def test_there_are_launch_and_parameter_files():
    assert len(LAUNCH_FILES) >= 2
    assert PARAMETER_FILES


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_file(path):
    tree = ast.parse(path.read_text())
    assert any(isinstance(node, ast.FunctionDef) and node.name == "generate_launch_description" for node in tree.body)
    executables = re.search(r"foreach\(node (.*)\)", (ROOT / "CMakeLists.txt").read_text()).group(1).split()
    for keywords in calls(tree, "Node", "LifecycleNode"):
        if getattr(keywords.get("package"), "value", "") != "vila_nav":
            assert getattr(keywords["package"], "value", "") == "ros_gz_bridge"  # the only one of others
        elif isinstance(keywords["executable"], ast.Constant):
            assert keywords["executable"].value.removesuffix("_node") in executables
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and FILE_NAME.fullmatch(node.value):
            found = [folder / node.value for folder in (ROOT, ROOT / "config", ROOT / "launch")]
            assert any(file.is_file() for file in found), f"{path.name} names {node.value!r}, which does not exist"


@pytest.mark.parametrize(
    ("path", "name"),
    [(path, name) for path in PARAMETER_FILES for name in sorted(nodes_of(path))],
    ids=lambda value: getattr(value, "name", value),
)
def test_nodes_accept_their_parameters(path, name):
    assert name in NODES, f"{path.name} speaks to {name!r}; there is no such node"
    make(name, ["--params-file", str(path)])


@pytest.mark.parametrize("name", NODES)
def test_a_misspelt_parameter_is_refused(name):
    with pytest.raises(ConfigError, match="no_such"):
        make(name, ["-p", "no_such_parameter:=1"])
