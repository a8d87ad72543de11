"""The SROS2 policy config/security/policy.xml: who may publish, hear, offer and call what, from the running nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from rclpy.action import get_action_client_names_and_types_by_node, get_action_server_names_and_types_by_node
from rclpy.node import Node
from rclpy.parameter import Parameter

from vila_core.control.governor.obstacle_config import SOURCES
from vila_ros.common.topics import COMPRESSED_SUFFIX, FRAMES
from vila_ros.recorder.node import TOPICS
from vila_ros.simulator.standard_services import SERVICES
from vila_tools.reference.graph import EVERY_NODE, NAMESPACE, short_name, started_nodes

ENCLAVES = "/vila_nav"  # the launch files start each node in the enclave of its name below this
IMAGE = ("--remap", "image_raw:=camera/image_raw")  # as the launch files have it
OPERATOR_TOPICS = ("emergency_stop", "joy", "teleop/cmd_vel")
COMMAND_LINE = "/_ros2cli_*/get_type_description"  # the only service of a node that `ros2` starts
RIGHTS = (
    ("topic", "publish"),
    ("topic", "subscribe"),
    ("service", "reply"),
    ("service", "request"),
    ("action", "execute"),
    ("action", "call"),
)
TF = ("tf", "tf_static")  # as the launch files have it: relative
HEARD = tuple(topic.removeprefix("/") if topic.lstrip("/") in TF else topic for topic in TOPICS)
WITH_MORE_INSTALLED = {  # with what need not be here: tf2, simulation_interfaces, another simulator's clock
    "governor": [("topic", "subscribe", topic) for topic in TF],
    "recorder": [  # which hears what somebody publishes by then
        *(("topic", "subscribe", topic) for topic in (*HEARD, FRAMES)),
        *(("topic", "subscribe", f"camera/image_raw{suffix}") for suffix in ("", COMPRESSED_SUFFIX)),
    ],
    "simulator": [
        *(("topic", "publish", topic) for topic in TF),
        ("topic", "subscribe", "/clock"),
        *(("service", "reply", name) for name in SERVICES.values()),
    ],
}
HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<!-- Who may do what, for SROS2. Written by `vila reference` from the running nodes; a test holds it against them.
     Names are relative to the namespace of the profile: for robots in one, put it in place of every ns="/".
     How to use it, and what it leaves open: docs/security.md. -->
"""


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """A node's right to do something with a topic, a service or an action, named as in Endpoint."""

    kind: str
    does: str  # kind and does: one of RIGHTS
    name: str
    type: str = field(default="", compare=False)  # package/kind/Name


@dataclass(frozen=True, slots=True)
class Profile:
    """What a node may do; a node's helper shares its enclave."""

    enclave: str
    node: str
    rights: frozenset[Right]


def policy_profiles() -> tuple[Profile, ...]:
    """Start each node of the package and return what it does, then what the operator and a viewer may do.

    The governor may hear each kind of obstacle sensor; nobody may publish on the navigator's topic of instructions.
    Raises VilaError if a node does not come up.
    """
    sensors = Parameter("obstacles.sources", value=",".join(SOURCES))
    with started_nodes(*IMAGE, governor=[sensors]) as nodes:
        profiles = [profile for node, _ in nodes for profile in _profiles(node)]
    return tuple(_shortened(profile) for profile in (*profiles, *_users(profiles)))


def _profiles(node: Node) -> Iterator[Profile]:
    """The node's own profile, and those of the helpers in its process."""
    name = node.get_name()
    if name != "simulator":  # which makes the time itself
        node.set_parameters([Parameter("use_sim_time", value=True)])
    here = (right for right in _rights(node, name) if right.name.lstrip("/") not in TF)
    more = {Right(*right) for right in WITH_MORE_INSTALLED.get(name, ())}
    yield Profile(name, name, frozenset(here) | more)
    there = sorted(one for one, namespace in node.get_node_names_and_namespaces() if namespace == NAMESPACE)
    for helper in (one for one in there if one.startswith(f"{name}_")):
        yield Profile(name, helper, frozenset(_with_compressed(_rights(node, helper))))


def _with_compressed(rights: Iterable[Right]) -> Iterator[Right]:
    """The rights, and the same for the compressed images beside those that are heard."""
    for right in rights:
        yield right
        if right.type == "sensor_msgs/msg/Image":
            yield replace(right, name=right.name + COMPRESSED_SUFFIX, type="sensor_msgs/msg/CompressedImage")


def _rights(node: Node, name: str) -> Iterator[Right]:
    """All that the node of this name has on the graph; what makes up an action counts as that action."""
    ways: tuple[Callable[[str, str], list[tuple[str, list[str]]]], ...] = (
        node.get_publisher_names_and_types_by_node,
        node.get_subscriber_names_and_types_by_node,
        node.get_service_names_and_types_by_node,
        node.get_client_names_and_types_by_node,
        lambda *who: get_action_server_names_and_types_by_node(node, *who),
        lambda *who: get_action_client_names_and_types_by_node(node, *who),
    )
    for (kind, does), find in zip(RIGHTS, ways, strict=True):
        for full, (of_type, *_) in find(name, NAMESPACE):
            if "/_action/" not in full:
                yield Right(kind, does, short_name(name, full), of_type)


def _users(nodes: Sequence[Profile]) -> tuple[Profile, Profile]:
    """The operator and a viewer: both hear all that is published but the robot's voice, one commands."""
    usual = frozenset.intersection(*(one.rights for one in nodes if one.node == one.enclave))
    usual |= {Right("service", "reply", COMMAND_LINE)}
    heard = {Right("topic", "subscribe", _from_outside(one, of)) for one, of in _of(nodes, "publish")}
    heard -= {Right("topic", "subscribe", "voice/speech")}  # sound: for loudspeakers alone
    heard = {one for one in heard if not one.name.endswith("/instance")}  # for nodes of the same name alone
    called = {Right("action", "call", _from_outside(one, of)) for one, of in _of(nodes, "execute")}
    asked = {
        Right("service", "request", _from_outside(one, of))
        for one, of in _of(nodes, "reply")
        if one.type and not one.type.startswith(EVERY_NODE)  # without: of a simulator, which is no robot
    }
    commands = {Right("topic", "publish", topic) for topic in OPERATOR_TOPICS}
    operator = usual | heard | called | asked | commands
    return Profile("operator", "operator", operator), Profile("viewer", "viewer", usual | heard)


def _shortened(profile: Profile) -> Profile:
    """The same with one right for all services and actions under a name.

    A node may offer what it likes under its own name: it counts who may ask. And what a key may do has to fit into
    the message by which keys are shown, which Fast DDS before 3.2.3 does not send from 8 kB on.
    """
    rights = set()
    for right in profile.rights:
        is_own = right.kind == "service" and right.name.startswith("~/")
        if is_own or right.kind == "action":
            right = replace(right, name=f"{right.name.split('/')[0]}/*")
        rights.add(right)
    return replace(profile, rights=frozenset(rights))


def _of(profiles: Iterable[Profile], does: str) -> Iterator[tuple[Right, str]]:
    for profile in profiles:
        for right in profile.rights:
            if right.does == does:
                yield right, profile.node


def _from_outside(right: Right, node: str) -> str:
    """What others call it: `~` is only the node's own word."""
    return right.name.replace("~", node, 1)


def policy_xml(profiles: Sequence[Profile]) -> str:
    """Return the file, in the form of SROS2's policies, version 0.2.0."""
    lines = ['<policy version="0.2.0">', "  <enclaves>"]
    for enclave in dict.fromkeys(profile.enclave for profile in profiles):
        lines += [f'    <enclave path="{ENCLAVES}/{enclave}">', "      <profiles>"]
        for profile in profiles:
            if profile.enclave == enclave:
                lines += [f'        <profile ns="/" node="{profile.node}">', *_grants(profile), "        </profile>"]
        lines += ["      </profiles>", "    </enclave>"]
    return HEAD + "\n".join([*lines, "  </enclaves>", "</policy>", ""])


def _grants(profile: Profile) -> Iterator[str]:
    for kind, does in RIGHTS:
        names = sorted(right.name for right in profile.rights if (right.kind, right.does) == (kind, does))
        if names:
            yield f'          <{kind}s {does}="ALLOW">'
            yield from (f"            <{kind}>{name}</{kind}>" for name in names)
            yield f"          </{kind}s>"
