"""Who may command: messages count that come from the endpoint of the right node, and from no second one.

The middleware names the endpoint of each message where rclpy passes that on (Kilted and later); elsewhere a foreign
publisher of the topic is enough to stop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node

_TAKE_OVER_NS = 1_000_000_000  # a node that was started again may follow one that has been silent for so long
_GRAPH_NS = 500_000_000  # between two looks at the graph
_RECENT_NS = 2_000_000_000  # who forged one message may forge the next
_WARN_EVERY_S = 5.0
_UNKNOWN = "_NODE_NAME_UNKNOWN_"  # the name of a node that is not discovered yet

Gid = tuple[int, ...]


@dataclass(slots=True)
class _Owner:
    """The endpoint whose messages count on a topic."""

    gid: Gid
    heard_ns: int


class Authority:
    """Judges the messages of some topics by their publisher.

    publishers: the name of the node that may publish, by topic. on_stranger: told in words of a message that came from
    somebody else.
    """

    def __init__(
        self, node: Node, publishers: Mapping[str, str], on_stranger: Callable[[str], None] = lambda _: None
    ) -> None:
        self._node, self._on_stranger = node, on_stranger
        self._names = {node.resolve_topic_name(topic): full_name(node, name) for topic, name in publishers.items()}
        self._owners: dict[str, _Owner] = {}
        self._tells_gid = False
        self._recent, self._recent_until_ns = "", 0
        self._asked_ns = -_GRAPH_NS  # when the graph was asked

    @property
    def recent(self) -> str:
        """Who spoke for another in the last two seconds, in words; empty if nobody did."""
        return self._recent if time.monotonic_ns() < self._recent_until_ns else ""

    @property
    def stranger(self) -> str:
        """Who spoke for another in the last two seconds, or may: see `foreign`, asked twice a second at most."""
        now_ns = time.monotonic_ns()
        if now_ns - self._asked_ns >= _GRAPH_NS:
            self._asked_ns = now_ns
            self.foreign()  # which notes a stranger
        return self.recent

    def accepts(self, topic: str, info: Mapping[str, Any]) -> bool:
        """Return True if the message that came with this MessageInfo is from who may publish it."""
        return not self.refusal(topic, info)

    def refusal(self, topic: str, info: Mapping[str, Any]) -> str:
        """Say why the message that came with this MessageInfo does not count; empty if it does."""
        gid = gid_of(info)
        if gid is None:
            return ""  # then `foreign` says who else publishes
        self._tells_gid = True
        topic, now_ns = self._node.resolve_topic_name(topic), time.monotonic_ns()
        owner = self._owners.get(topic)
        if owner is not None and owner.gid == gid:
            owner.heard_ns = now_ns
            return ""
        name = self._name_of(topic, gid)
        if name == _UNKNOWN:
            return f"who publishes {topic} is not discovered yet"
        is_alone = owner is None or now_ns - owner.heard_ns > _TAKE_OVER_NS
        if name == self._names[topic] and is_alone:
            self._owners[topic] = _Owner(gid, now_ns)
            return ""
        complaint = _complaint({name}, topic, {self._names[topic]})
        self._note(complaint)
        self._on_stranger(complaint)
        return complaint

    def foreign(self) -> str:
        """Say who else publishes a topic, where messages do not tell; empty if nobody does."""
        if self._tells_gid:
            return ""
        for topic, name in self._names.items():
            if text := foreign_publishers(self._node, topic, {name}):
                self._note(text)
                return text
        return ""

    def only(self, topic: str, callback: Callable[[Any], None]) -> Callable[[Any, Mapping[str, Any]], None]:
        """Return a subscription's callback that passes on nothing while there is a stranger.

        What comes before its publisher is discovered is passed on: it is not said again.
        """

        def pass_on(message: Any, info: Mapping[str, Any]) -> None:
            self.refusal(topic, info)  # which notes a stranger
            if why := self.stranger:
                self._node.get_logger().error(f"ignored on {topic}: {why}", throttle_duration_sec=_WARN_EVERY_S)
            else:
                callback(message)

        return pass_on

    def _note(self, complaint: str) -> None:
        self._recent, self._recent_until_ns = complaint, time.monotonic_ns() + _RECENT_NS

    def _name_of(self, topic: str, gid: Gid) -> str:
        for endpoint in self._node.get_publishers_info_by_topic(topic):
            if tuple(endpoint.endpoint_gid)[: len(gid)] == gid:
                return _joined(endpoint.node_namespace, endpoint.node_name)
        return _UNKNOWN


def foreign_publishers(node: Node, topic: str, names: set[str]) -> str:
    """Say who publishes the topic besides nodes of these full names; empty if nobody does."""
    topic = node.resolve_topic_name(topic)
    found = {_joined(e.node_namespace, e.node_name) for e in node.get_publishers_info_by_topic(topic)}
    strangers = found - names - {_UNKNOWN}
    return _complaint(strangers, topic, names) if strangers else ""


def publishers_of(node: Node, topic: str, length: int) -> list[Gid]:
    """Return the ids of a topic's publishers that the graph shows, cut to a length, that of `gid_of`."""
    found = node.get_publishers_info_by_topic(node.resolve_topic_name(topic))
    return [tuple(endpoint.endpoint_gid)[:length] for endpoint in found]


def full_name(node: Node, name: str) -> str:
    """Return a name in the node's own namespace, as the graph tells it."""
    return _joined(node.get_namespace(), name)


def _complaint(strangers: set[str], topic: str, owners: set[str]) -> str:
    return f"{', '.join(sorted(strangers))} publishes {topic} too, which belongs to {', '.join(sorted(owners))}"


def gid_of(info: Mapping[str, Any]) -> Gid | None:
    """Return the publisher's id that came with a message, None where rclpy does not tell it."""
    gid = info.get("publisher_gid")
    return tuple(gid["data"]) if gid else None


def _joined(namespace: str, name: str) -> str:
    return name if name == _UNKNOWN else f"{namespace.rstrip('/')}/{name}"
