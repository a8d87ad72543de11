"""What the real nodes offer: they are started on a ROS domain of their own and looked at from the graph."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import rclpy
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.action import get_action_server_names_and_types_by_node
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy

from vila_core.errors import VilaError
from vila_core.testing import ScriptedBackend
from vila_ros.common.parameters import ALWAYS_KNOWN, counts_from, meaning_of
from vila_ros.controller.node import ControllerNode
from vila_ros.governor.node import GovernorNode
from vila_ros.navigator.node import NavigatorNode
from vila_ros.page.node import PageNode
from vila_ros.recorder.node import RecorderNode
from vila_ros.simulator.node import SimulatorNode
from vila_ros.simulator.world import PATROL
from vila_ros.voice.node import VoiceNode
from vila_ros.watchdog.node import WatchdogNode
from vila_tools.session.domain import leased_domain
from vila_tools.session.processes import node_environment

NAMESPACE = "/robot"  # tells `odom` from `/clock`
CAMERA_HELPER = "_camera"  # the navigator takes images on a helper node of this ending
READY_S = 30.0
ROLES = ("in", "out", "service", "action")
EVERY_NODE = ("rcl_interfaces/", "lifecycle_msgs/", "type_description_interfaces/")  # types of what each node has


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A topic, service or action of a node, named as the node names it: `odom`, `~/action` or `/clock`."""

    name: str
    type: str  # package/kind/Name
    role: str  # one of ROLES
    qos: str = ""


@dataclass(frozen=True, slots=True)
class NodeParameter:
    """A parameter that a node declares."""

    name: str
    default: Any
    about: str
    allowed: str = ""  # in words
    set_later: str = ""  # from when on a value that is set at run time counts; empty: none can be


@dataclass(frozen=True, slots=True)
class NodeFace:
    """Everything by which a node is reached."""

    name: str
    endpoints: tuple[Endpoint, ...]
    parameters: tuple[NodeParameter, ...]


Started = tuple[Node, tuple[NodeParameter, ...]]  # a node with all that it offers, and its parameters by default


def node_faces() -> tuple[NodeFace, ...]:
    """Start each node of the package with its defaults and return what it offers.

    The navigator gets a scripted model. Raises VilaError if a node does not come up.
    """
    with started_nodes() as nodes:
        return tuple(NodeFace(node.get_name(), _endpoints(node), parameters) for node, parameters in nodes)


@contextmanager
def started_nodes(*arguments: str, governor: Sequence[Parameter] = ()) -> Iterator[list[Started]]:
    """Start each node of the package in NAMESPACE, on a ROS domain of its own, while the block runs.

    arguments: more of what stands behind `--ros-args`. governor: parameters of that node.
    Raises VilaError if a node does not come up.
    """
    with _environment() as domain, ExitStack() as stack:
        given = ["--ros-args", "--remap", f"__ns:={NAMESPACE}", "--log-level", "error", *arguments]
        rclpy.init(args=given, domain_id=domain)
        stack.callback(rclpy.try_shutdown)
        nodes = []
        governed = partial(_governor, governor)
        for make in (_navigator, _controller, governed, _watchdog, _page, _voice, _recorder, _simulator):
            nodes.append(make())
            stack.callback(nodes[-1][0].destroy_node)
        for node, _ in nodes:
            _require_complete(node)
        yield nodes


def _require_complete(node: Node) -> None:
    """Wait until the graph knows all that the node has: what is read of it too early would lack rights.

    Raises VilaError if it does not within READY_S.
    """
    own = {one.topic_name for one in node.publishers} | {one.topic_name for one in node.subscriptions}
    until_s = time.monotonic() + READY_S
    while missing := own - _known(node):
        if time.monotonic() > until_s:
            raise VilaError(f"the graph does not tell {', '.join(sorted(missing))} of {node.get_name()}; try again")
        time.sleep(0.05)


def _known(node: Node) -> set[str]:
    name = node.get_name()
    if (name, NAMESPACE) not in node.get_node_names_and_namespaces():
        return set()
    lists = (node.get_publisher_names_and_types_by_node, node.get_subscriber_names_and_types_by_node)
    return {topic for names_and_types in lists for topic, _ in names_and_types(name, NAMESPACE)}


@contextmanager
def _environment() -> Iterator[int]:
    """A ROS domain of our own, and its variables while the block runs."""
    before = dict(os.environ)
    with leased_domain() as domain:
        os.environ.update(node_environment(domain))
        try:
            yield domain
        finally:
            os.environ.clear()
            os.environ.update(before)


def _navigator() -> Started:
    node = NavigatorNode(load=lambda *_, **__: ScriptedBackend("nobody asks"))
    node.bring_up()
    return node, _parameters(node)


def _simulator() -> Started:
    """A simulator with a patrol, which by default it has not."""
    plain = SimulatorNode()
    parameters = _parameters(plain)
    plain.destroy_node()
    return SimulatorNode([Parameter("scripted_events", value=PATROL)]), parameters


def _controller() -> Started:
    """A controller that has seen odometry: before that it takes no actions."""
    node, robot = ControllerNode(), Node("robot")
    odometry = robot.create_publisher(Odometry, "odom", 1)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    until_s = time.monotonic() + READY_S
    while not node.count_publishers("controller/execution"):
        if time.monotonic() > until_s:
            raise VilaError(f"the controller does not take odometry within {READY_S:g} s; see the log above")
        message = Odometry()
        message.header.stamp = node.get_clock().now().to_msg()
        message.pose.pose.orientation.w = 1.0
        odometry.publish(message)
        executor.spin_once(timeout_sec=0.05)
    executor.shutdown()
    robot.destroy_node()
    return node, _parameters(node)


def _governor(parameters: Sequence[Parameter]) -> Started:
    node = GovernorNode(parameters)
    return node, _parameters(node)


def _watchdog() -> Started:
    node = WatchdogNode()
    return node, _parameters(node)


def _recorder() -> Started:
    node = RecorderNode()
    return node, _parameters(node)


def _page() -> Started:
    """The page, as it hears the robot; nobody is served."""
    node = PageNode()
    return node, _parameters(node)


def _voice() -> Started:
    """The voice, which does not listen."""
    node = VoiceNode()
    return node, _parameters(node)


def _endpoints(node: Node) -> tuple[Endpoint, ...]:
    """What the node has of its own, by role, then by name."""
    name, there = node.get_name(), node.get_node_names_and_namespaces()
    found: list[Endpoint] = []
    for who in (name, f"{name}{CAMERA_HELPER}"):
        if (who, NAMESPACE) in there:
            found += _topics(node, who, "in", node.get_subscriber_names_and_types_by_node)
            found += _topics(node, who, "out", node.get_publisher_names_and_types_by_node)
    services = node.get_service_names_and_types_by_node(name, NAMESPACE)
    actions = get_action_server_names_and_types_by_node(node, name, NAMESPACE)
    found += [Endpoint(short_name(name, full), kind, "service") for full, kind in _ours(services)]
    found += [Endpoint(short_name(name, full), kind, "action") for full, kind in _ours(actions)]
    return tuple(sorted(found, key=lambda one: (ROLES.index(one.role), one.name)))


def _topics(
    node: Node, name: str, role: str, names_and_types: Callable[[str, str], list[tuple[str, list[str]]]]
) -> Iterator[Endpoint]:
    infos = node.get_subscriptions_info_by_topic if role == "in" else node.get_publishers_info_by_topic
    for full, kind in _ours(names_and_types(name, NAMESPACE)):
        told = sorted({_told(info.qos_profile) for info in infos(full) if info.node_name == name})
        yield Endpoint(short_name(node.get_name(), full), kind, role, " or ".join(told))


def _ours(found: Iterable[tuple[str, list[str]]]) -> Iterator[tuple[str, str]]:
    """The rows that are not a part of an action, and of a type that not every node has."""
    for full, (kind,) in found:
        if "/_action/" not in full and not kind.startswith(EVERY_NODE):
            yield full, kind


def short_name(node: str, full: str) -> str:
    """Return the name as the node writes it: `odom`, `~/action`, `/clock`."""
    own, namespace = f"{NAMESPACE}/{node}/", f"{NAMESPACE}/"
    return full.replace(own, "~/", 1) if full.startswith(own) else full.removeprefix(namespace)


def _told(qos: QoSProfile) -> str:
    reliability = "reliable" if qos.reliability == QoSReliabilityPolicy.RELIABLE else "best effort"
    return f"{reliability}, latched" if qos.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL else reliability


def _parameters(node: Node) -> tuple[NodeParameter, ...]:
    names = [name for name in node.list_parameters([], 0).names if name.split(".")[0] not in ALWAYS_KNOWN]
    return tuple(_parameter(node.get_parameter(name).value, node.describe_parameter(name)) for name in names)


def _parameter(default: Any, told: ParameterDescriptor) -> NodeParameter:
    meaning, set_later = meaning_of(told.description), counts_from(told.description)
    return NodeParameter(told.name, default, meaning, told.additional_constraints, set_later)
