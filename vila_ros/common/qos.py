"""Qualities of service: which topics may lose messages, and a word in the log when two ends do not match."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy as Durability
from rclpy.qos import QoSHistoryPolicy as History
from rclpy.qos import QoSProfile, qos_policy_name_from_kind
from rclpy.qos import QoSReliabilityPolicy as Reliability

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


def subscription_events(node: Node, topic: str) -> SubscriptionEventCallbacks:
    """Return callbacks that log a publisher whose quality of service does not fit ours."""
    return SubscriptionEventCallbacks(incompatible_qos=_incompatible(node, topic, "publisher"))


def publisher_events(node: Node, topic: str) -> PublisherEventCallbacks:
    """Return callbacks that log a subscriber whose quality of service does not fit ours."""
    return PublisherEventCallbacks(incompatible_qos=_incompatible(node, topic, "subscriber"))


def _incompatible(node: Node, topic: str, other: str) -> Any:
    def log(event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        node.get_logger().error(
            f"{topic}: a {other} offers an incompatible {policy}, no message will pass; set the *_reliability parameter"
        )

    return log
