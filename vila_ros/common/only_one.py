"""One node of a name in a namespace works: a later one hears of the earlier, and must not."""

from __future__ import annotations

import os
import platform
import time

from rclpy.node import Node
from std_msgs.msg import Header

from vila_core.errors import VilaError
from vila_ros.common.conversions import ns_from_stamp, stamp_from_ns
from vila_ros.common.helper_node import make_helper
from vila_ros.common.qos import latched_qos

PATIENCE_S = 1.0  # for the word of one that the graph shows; it shows one that was killed for a while too


class OnlyOne:
    """Tells on the latched topic ~/instance who the owner is and since when, and hears who else bears its name.

    A node that was killed says nothing to the one that replaces it, and so is no hindrance.
    run: tells this instance from any other.
    """

    def __init__(self, owner: Node) -> None:
        self._node, self._executor = make_helper(owner, f"{owner.get_name()}_instance")
        self._name, self._topic = owner.get_fully_qualified_name(), owner.resolve_topic_name("~/instance")
        self.run = time.time_ns() // 1000
        self._earlier: Header | None = None
        self._node.create_subscription(Header, self._topic, self._on_instance, latched_qos(10))
        header = Header(stamp=stamp_from_ns(self.run * 1000), frame_id=f"{platform.node()}, process {os.getpid()}")
        self._owner, self._publisher = owner, owner.create_publisher(Header, "~/instance", latched_qos())
        self._publisher.publish(header)

    def close(self) -> None:
        """Leave the graph."""
        self._owner.destroy_publisher(self._publisher)
        self._executor.shutdown()
        self._node.destroy_node()

    def earlier(self, patience_s: float = 0.0) -> str:
        """Say who was there before and still is, empty if nobody; to be called from one thread.

        patience_s: time to wait for the word of one that the graph shows.
        """
        until_s = time.monotonic() + patience_s
        while True:
            self._executor.spin_once(timeout_sec=0.02 if patience_s else 0.0)
            is_alone = self._node.count_publishers(self._topic) < 2
            if self._earlier is not None or is_alone or time.monotonic() >= until_s:
                break
        if self._earlier is None or is_alone:
            self._earlier = None
            return ""
        return f"another {self._name} is there, on {self._earlier.frame_id}: end one of them, or give it a namespace"

    def require(self) -> None:
        """Raise VilaError if somebody was there before; waits a moment for the word of one that the graph shows."""
        if earlier := self.earlier(PATIENCE_S):
            raise VilaError(earlier)

    def _on_instance(self, header: Header) -> None:
        if ns_from_stamp(header.stamp) // 1000 < self.run:
            self._earlier = header
