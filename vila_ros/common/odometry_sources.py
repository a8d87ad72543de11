"""Who publishes odometry: by the message itself where rclpy tells it, else by the graph, which costs time."""

from __future__ import annotations

import time
from typing import Any

from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node

from vila_core.control.odometry_watch import Source

_COUNT_EVERY_S = 0.5  # how often the graph is asked


class OdometrySources:
    """Names the source of each message of a node's topic."""

    def __init__(self, node: Node, topic: str) -> None:
        self._node, self._topic = node, topic
        self._publishers, self._counted_ns = 1, 0

    def of(self, message: OdometryMsg, info: Any) -> Source:
        """Return where a message comes from; info: what rclpy told of it beside the message."""
        gid = info.get("publisher_gid") or {}  # from Kilted on
        steady_ns = time.monotonic_ns()
        if not gid and steady_ns - self._counted_ns > _COUNT_EVERY_S * 1e9:
            self._publishers, self._counted_ns = self._node.count_publishers(self._topic), steady_ns
        return Source(message.header.frame_id, message.child_frame_id, bytes(gid.get("data", b"")), self._publishers)
