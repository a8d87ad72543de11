"""Whether the navigator is there and what it does, latched on ~/status."""

from __future__ import annotations

from rclpy.node import Node
from vila_nav.msg import NavigatorStatus

from vila_ros.common.qos import latched_qos


class StatusPublisher:
    """Publishes ~/status whenever something of it changes.

    run: tells this process from any other.
    """

    def __init__(self, node: Node, run: int) -> None:
        self._node = node
        self._publisher = node.create_publisher(NavigatorStatus, "~/status", latched_qos())
        self._last = NavigatorStatus(run=run)
        self.tell(NavigatorStatus.STATE_INACTIVE)

    def close(self) -> None:
        """Leave the graph."""
        self._node.destroy_publisher(self._publisher)

    def tell(self, state: int, detail: str = "", *, mission_id: int | None = None, instruction: str = "") -> None:
        """Publish what the navigator does now; without a number the last mission's stays."""
        self._last.header.stamp = self._node.get_clock().now().to_msg()
        self._last.state, self._last.detail, self._last.instruction = state, detail, instruction
        if mission_id is not None:
            self._last.mission_id = mission_id
        self._publisher.publish(self._last)
