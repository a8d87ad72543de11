"""Qualities of service: which topics may lose messages, and a word in the log when two ends do not match."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy as Durability
from rclpy.qos import QoSHistoryPolicy as History
from rclpy.qos import QoSProfile, qos_policy_name_from_kind
from rclpy.qos import QoSReliabilityPolicy as Reliability
from rclpy.timer import Timer

from vila_core.errors import ConfigError

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble has them under another name
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks  # type: ignore[no-redef]

RELIABILITIES = {"best_effort": Reliability.BEST_EFFORT, "reliable": Reliability.RELIABLE}


def sensor_qos(reliability: str = "best_effort", depth: int = 1) -> QoSProfile:
    """Return the profile of images and odometry: only the newest counts.

    Raises ConfigError for a reliability that is not a row of RELIABILITIES.
    """
    if reliability not in RELIABILITIES:
        raise ConfigError(f"reliability = {reliability!r}: must be one of {', '.join(RELIABILITIES)}")
    return QoSProfile(
        history=History.KEEP_LAST,
        depth=depth,
        reliability=RELIABILITIES[reliability],
        durability=Durability.VOLATILE,
    )


def reliable_qos(depth: int = 10) -> QoSProfile:
    """Return the profile of commands and reports: none may be lost."""
    return sensor_qos("reliable", depth)


def latched_qos(depth: int = 1) -> QoSProfile:
    """Return the profile of values that latecomers must see: the last ones are kept."""
    return QoSProfile(
        history=History.KEEP_LAST,
        depth=depth,
        reliability=Reliability.RELIABLE,
        durability=Durability.TRANSIENT_LOCAL,
    )


def subscription_events(node: Node, topic: str, parameter: str = "") -> SubscriptionEventCallbacks:
    """Return callbacks that log a publisher whose quality of service does not fit ours, with the remedy.

    parameter: the node's parameter of our reliability, if there is one.
    """
    topic = node.resolve_topic_name(topic)

    def tell(policy: str) -> None:
        mine, theirs = _STRONG[policy]
        remedy = f"have it publish as {mine}"
        if parameter and policy == "reliability":
            remedy = f"set the parameter {parameter} to {theirs}"
        found = node.get_publishers_info_by_topic(topic)
        for name in _names(info for info in found if _is_weak(info.qos_profile, policy)):
            node.get_logger().error(
                f"{topic}: {policy} does not fit, no message passes: the publisher {name} offers {theirs}, "
                f"we ask for {mine}; {remedy}"
            )

    return SubscriptionEventCallbacks(incompatible_qos=_Told(node, tell))


def weak_publishers(node: Node, topic: str) -> list[str]:
    """Name the nodes whose publishers of a resolved topic offer best_effort, which does not reach a reliable end."""
    return _names(
        info for info in node.get_publishers_info_by_topic(topic) if _is_weak(info.qos_profile, "reliability")
    )


def publisher_events(node: Node, topic: str) -> PublisherEventCallbacks:
    """Return callbacks that log a subscriber whose quality of service does not fit ours, with the remedy."""
    topic = node.resolve_topic_name(topic)

    def tell(policy: str) -> None:
        theirs, mine = _STRONG[policy]
        found = node.get_subscriptions_info_by_topic(topic)
        for name in _names(info for info in found if not _is_weak(info.qos_profile, policy)):
            node.get_logger().error(
                f"{topic}: {policy} does not fit, no message passes: the subscriber {name} asks for {theirs}, "
                f"we offer {mine}; have it ask for {mine}"
            )

    return PublisherEventCallbacks(incompatible_qos=_Told(node, tell))


# policy -> what one end asks for, and what the other has to offer; ours ask for nothing but these
_STRONG = {"reliability": ("reliable", "best_effort"), "durability": ("transient_local", "volatile")}
_NAMED_AFTER_S = 1.0  # a topic's end is found before it is known which node has it


class _Told:
    """Tells an event a little later, once for those that come together; called in any thread."""

    def __init__(self, node: Node, tell: Callable[[str], None]) -> None:
        self._node, self._tell = node, tell
        self._policies: dict[str, None] = {}
        self._timer: Timer | None = None

    def __call__(self, event: Any) -> None:
        is_durability = "DURABILITY" in str(qos_policy_name_from_kind(event.last_policy_kind)).upper()
        self._policies["durability" if is_durability else "reliability"] = None
        if self._timer is None:
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._timer = self._node.create_timer(_NAMED_AFTER_S, self._on_timer, clock=steady)

    def _on_timer(self) -> None:
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        policies, self._policies, self._timer = self._policies, {}, None
        for policy in policies:
            self._tell(policy)


def _is_weak(qos: QoSProfile, policy: str) -> bool:
    if policy == "durability":
        return bool(qos.durability == Durability.VOLATILE)
    return bool(qos.reliability == Reliability.BEST_EFFORT)


def _names(infos: Iterable[Any]) -> list[str]:
    """The nodes of the endpoints, each once, with their namespaces."""
    return sorted({f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in infos})
