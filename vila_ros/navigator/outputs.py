"""Everything that the navigator publishes, and the numbers that go with it."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vila_nav.msg import DecisionStats, NavAction

from vila_core.engine.backend import ModelInfo
from vila_core.history.policy import is_blank
from vila_core.types import Decision, FrameKey, HoldReason, Prompt
from vila_ros.common.conversions import image_from_frame, message_from_decision, stamp_from_ns
from vila_ros.common.diagnostics import Health, diagnostic_array, waiting_array
from vila_ros.common.qos import reliable_qos
from vila_ros.navigator.debug_outputs import DebugOutputs

_FRAMES = 16  # images of a decision that may wait for who listens
_REMEMBERED = 256  # images that are not published again


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
    """Publishers of ~/action, ~/stats, ~/frames, ~/heartbeat and /diagnostics, and the counters in them.

    debug: what shows decisions to people.
    """

    def __init__(self, node: Node, odometry_frame: str) -> None:
        self._node = node
        self._frame = odometry_frame
        self._action = node.create_publisher(NavAction, "~/action", reliable_qos())
        self._stats = node.create_publisher(DecisionStats, "~/stats", reliable_qos())
        self._frames = node.create_publisher(Image, "~/frames", reliable_qos(_FRAMES))
        self._published: deque[FrameKey] = deque(maxlen=_REMEMBERED)
        self._heartbeat = node.create_publisher(Header, "~/heartbeat", reliable_qos(1))
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", reliable_qos())
        self.debug = DebugOutputs(node, odometry_frame)
        self._id = 0
        self.mission_id = 0  # of the actions to come
        self.holds = 0
        self.decisions = 0
        self.latency_ms = 0.0
        self.last = Decision.holding(HoldReason.NO_INSTRUCTION)

    def destroy(self) -> None:
        """Take the publishers off the graph."""
        self.debug.destroy()
        for publisher in (self._diagnostics, self._heartbeat, self._frames, self._stats, self._action):
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
        if decision.prompt is not None:
            _tell_prompt(message, decision.prompt)
            message.allowed = list(decision.allowed)
        self._stats.publish(message)

    def publish_frames(self, decision: Decision) -> None:
        """Publish those of the images that the decision was made of that were not published yet, if anybody listens."""
        if decision.prompt is None or not self._frames.get_subscription_count():
            return
        frames = [frame for visual in decision.prompt.visuals for frame in visual.frames if not is_blank(frame)]
        for frame in frames:
            if frame.key not in self._published:
                self._frames.publish(image_from_frame(frame, frame.camera))
                self._published.append(frame.key)

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


def _tell_prompt(message: DecisionStats, prompt: Prompt) -> None:
    """Say what the model was asked, so that it can be asked again."""
    message.prompt_sha256 = hashlib.sha256(prompt.text.encode()).hexdigest()
    shown = [(index, frame) for index, visual in enumerate(prompt.visuals) for frame in visual.frames]
    message.frames = [stamp_from_ns(0 if is_blank(frame) else frame.stamp_ns) for _, frame in shown]
    message.frame_visuals = [index for index, _ in shown]
    message.visual_tokens = [-1 if visual.tokens is None else visual.tokens for visual in prompt.visuals]
