"""Everything that the navigator publishes, and the numbers that go with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from std_msgs.msg import Header
from vila_nav.msg import DecisionStats, NavAction

from vila_core.engine.backend import ModelInfo
from vila_core.types import Decision, HoldReason
from vila_ros.common.conversions import message_from_decision, stamp_from_ns
from vila_ros.common.diagnostics import Health, diagnostic_array, waiting_array
from vila_ros.common.qos import reliable_qos


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """What is known about a decision besides itself; counts are since activation."""

    info: ModelInfo
    backend: str
    history_frames: int
    cache_hits: int
    cache_misses: int
    dropped_frames: int
    late_answers: int
    refused_actions: int


class NavigatorOutputs:
    """Publishers of ~/action, ~/stats, ~/heartbeat and /diagnostics, and the counters in them."""

    def __init__(self, node: Node, odometry_frame: str) -> None:
        self._node = node
        self._frame = odometry_frame
        self._action = node.create_publisher(NavAction, "~/action", reliable_qos())
        self._stats = node.create_publisher(DecisionStats, "~/stats", reliable_qos())
        self._heartbeat = node.create_publisher(Header, "~/heartbeat", reliable_qos(1))
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", reliable_qos())
        self._id = 0
        self.mission_id = 0  # of the actions to come
        self.holds = 0
        self.decisions = 0
        self.latency_ms = 0.0
        self.last = Decision.holding(HoldReason.NO_INSTRUCTION)

    def destroy(self) -> None:
        """Take the publishers off the graph."""
        for publisher in (self._diagnostics, self._heartbeat, self._stats, self._action):
            self._node.destroy_publisher(publisher)

    def publish_action(self, decision: Decision) -> NavAction:
        """Publish the decision, holding or not, under the next number; returns what was published."""
        self._id += 1
        self.last = decision
        self.holds += decision.action is None
        self.decisions += decision.action is not None
        message = message_from_decision(decision, self._id, self._frame)
        message.mission_id = self.mission_id
        self._action.publish(message)
        return message

    def publish_stats(self, decision: Decision, context: DecisionContext) -> None:
        """Publish the numbers of the decision that was published last."""
        self.latency_ms = decision.latency_ms
        now_ns = self._node.get_clock().now().nanoseconds
        message = DecisionStats(
            id=self._id,
            latency_ms=float(decision.latency_ms),
            image_age_ms=max(0.0, (now_ns - decision.stamp_ns) / 1e6) if decision.stamp_ns else 0.0,
            probabilities=[float(p) for p in decision.probabilities],
            history_frames=context.history_frames,
            visual_cache_hits=context.cache_hits,
            visual_cache_misses=context.cache_misses,
            dropped_frames=context.dropped_frames,
            holds=self.holds,
            late_answers=context.late_answers,
            refused_actions=context.refused_actions,
            backend=context.backend,
            precision=context.info.precision,
        )
        message.header.stamp = stamp_from_ns(decision.stamp_ns)
        self._stats.publish(message)

    def publish_heartbeat(self, image_stamp_ns: int) -> None:
        """Tell the controller that we live, and which image is the newest in use."""
        self._heartbeat.publish(Header(stamp=stamp_from_ns(image_stamp_ns), frame_id=self._frame))

    def publish_waiting(self, words: str) -> None:
        """Say in /diagnostics what is waited for."""
        stamp, name = self._node.get_clock().now().to_msg(), self._node.get_fully_qualified_name()
        self._diagnostics.publish(waiting_array(name, stamp, words))

    def publish_diagnostics(self, health: Health, others: Sequence[DiagnosticStatus]) -> None:
        """Publish the health as /diagnostics, and the state of others with it."""
        stamp = self._node.get_clock().now().to_msg()
        name = self._node.get_fully_qualified_name()
        self._diagnostics.publish(diagnostic_array(name, stamp, health, others))
