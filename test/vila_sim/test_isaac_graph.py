"""The graph of ROS topics for Isaac Sim: each node, port and connection exists in each version that is named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vila_core.errors import ConfigError
from vila_sim.isaac.graph import ISAAC_VERSIONS, GraphNode, graph_json, require_version, ros_graph
from vila_sim.robot import CameraConfig, RobotConfig, wheeled_robot

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = json.loads((ROOT / "test/reference/isaac/node_contract.json").read_text())
GRAPH = ros_graph(CameraConfig(), RobotConfig())
NODES = {node.name: node for node in GRAPH.nodes}
# Of Omniverse itself, not of Isaac: the ports that we use.
OMNIVERSE = {
    "omni.graph.action.OnPlaybackTick": {"in": {}, "out": {"tick": "execution"}},
    "omni.graph.nodes.BreakVector3": {
        "in": {"tuple": "vectord[3]"},
        "out": {"x": "double", "y": "double", "z": "double"},
    },
}
KINDS = {str: {"string", "token"}, bool: {"bool"}, int: {"int", "uint", "uint64", "uchar"}, float: {"double", "float"}}
# A vector is a vector; positions and orientations are handed on under other names of the same width.
WIDTHS = {"vectord[3]": 3, "quatd[4]": 4}


@pytest.fixture(params=sorted(CONTRACT))
def contract(request) -> dict:
    return CONTRACT[request.param] | OMNIVERSE


def ports_of(contract: dict, node: GraphNode, side: str) -> dict[str, str]:
    assert node.kind in contract, f"{node.name}: no type {node.kind}"
    return contract[node.kind][side]


def kind_of(contract: dict, port: str) -> str:
    """The type of "node.inputs:name"."""
    name, _, rest = port.partition(".")
    side, _, attribute = rest.partition(":")
    ports = ports_of(contract, NODES[name], {"inputs": "in", "outputs": "out"}[side])
    assert attribute in ports, f"{NODES[name].kind} has no {rest}"
    return ports[attribute]


def test_the_contract_covers_the_versions_that_are_named() -> None:
    assert {version.rpartition(".")[0] for version in CONTRACT} == set(ISAAC_VERSIONS)


def test_values_fit_their_ports(contract) -> None:
    for node in GRAPH.nodes:
        ports = ports_of(contract, node, "in")
        for port, value in node.values.items():
            assert port in ports, f"{node.kind} has no input {port}"
            kinds = {"token[]"} if isinstance(value, list) else KINDS[type(value)]
            assert ports[port] in kinds, f"{node.name}.{port} is {ports[port]}, given {value!r}"


def test_targets_are_ports_for_targets(contract) -> None:
    for node in GRAPH.nodes:
        for port in node.targets:
            assert ports_of(contract, node, "in")[port] == "target"


def test_connections_join_ports_of_one_type(contract) -> None:
    assert len(set(GRAPH.connections)) == len(GRAPH.connections)
    for source, target in GRAPH.connections:
        assert source.split(".")[1].startswith("outputs:") and target.split(".")[1].startswith("inputs:")
        kinds = [kind_of(contract, port) for port in (source, target)]
        assert kinds[0] == kinds[1] or len({WIDTHS.get(kind) for kind in kinds} - {None}) == 1, (source, target, kinds)


def test_an_input_is_fed_once_and_either_by_a_value_or_by_a_connection() -> None:
    fed = [target for _, target in GRAPH.connections]
    fed += [f"{node.name}.inputs:{port}" for node in GRAPH.nodes for port in (*node.values, *node.targets)]
    assert len(fed) == len(set(fed))


def test_what_has_to_be_run_is_run_and_what_speaks_to_ros_has_the_context(contract) -> None:
    targets = {target for _, target in GRAPH.connections}
    for node in GRAPH.nodes:
        ports = ports_of(contract, node, "in")
        for port in {"execIn", "context", "timeStamp", "renderProductPath"} & set(ports):
            assert f"{node.name}.inputs:{port}" in targets, f"{node.name}.{port} is not connected"


def test_the_topics_are_those_of_the_robot() -> None:
    topics = {
        node.kind.rpartition(".")[2]: node.values["topicName"] for node in GRAPH.nodes if "topicName" in node.values
    }
    assert topics == {
        "ROS2PublishClock": "/clock",
        "ROS2SubscribeTwist": "cmd_vel",
        "ROS2PublishOdometry": "odom",
        "ROS2PublishRawTransformTree": "/tf",
        "ROS2CameraHelper": "camera/image_raw",
        "ROS2CameraInfoHelper": "camera/camera_info",
        "ROS2RtxLidarHelper": "scan",
    }


def test_the_drive_has_the_wheels_and_limits_of_the_robot() -> None:
    robot, drive = RobotConfig(), NODES["drive"].values
    wheeled = wheeled_robot(CameraConfig(), robot)
    assert drive["wheelRadius"] == wheeled.wheels[0].radius_m
    assert drive["wheelDistance"] == wheeled.wheel_separation_m
    assert (drive["maxLinearSpeed"], drive["maxAngularSpeed"]) == (robot.max_linear_mps, robot.max_angular_rps)
    assert NODES["joints"].values["jointNames"] == ["left_wheel_joint", "right_wheel_joint"]  # left first


@pytest.mark.parametrize("version", ["5.0.0", "5.1.0-rc.3", "6.0.1"])
def test_versions_that_are_known(version: str) -> None:
    require_version(version)


@pytest.mark.parametrize("version", ["4.5.0", "6.1.0", "50.1", "", "latest"])
def test_another_version_is_refused_with_those_that_are_known(version: str) -> None:
    with pytest.raises(ConfigError, match=r"not supported; known: 5\.0, 5\.1, 6\.0"):
        require_version(version)


def test_nothing_of_isaac_or_usd_is_imported() -> None:
    code = "import sys, vila_sim.isaac.graph; print([m for m in sys.modules if m.split('.')[0] in "
    code += "('isaacsim', 'omni', 'carb', 'pxr', 'mujoco')])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "sim", capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_graph_is_json() -> None:
    assert json.loads(json.dumps(graph_json(GRAPH))) == graph_json(GRAPH)
