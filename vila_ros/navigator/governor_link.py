"""What the navigator tells the governor of its missions, and what the governor makes of them."""

from __future__ import annotations

import time

from rclpy.node import Node
from vila_nav.msg import GovernorState
from vila_nav.msg import Mission as MissionMsg

from vila_core.control.reasons import StopReason
from vila_ros.common.qos import reliable_qos
from vila_ros.navigator.mission import MissionEnd, MissionError

STATE_TOPIC = "governor/state"
_SILENCE_S = 0.5  # ten states are due in it

_ERRORS = {
    StopReason.EMERGENCY_STOP: MissionError.EMERGENCY_STOP,
    StopReason.OPERATOR: MissionError.OPERATOR,
    StopReason.STRANGER: MissionError.NOT_AUTHORIZED,
    StopReason.BAD_COMMAND: MissionError.CONTROLLER_LOST,
    StopReason.CONTROLLER_LOST: MissionError.CONTROLLER_LOST,
    StopReason.TOO_FAR: MissionError.ODOMETRY_FAULT,
    StopReason.TOO_LONG: MissionError.STUCK,
    StopReason.MACHINE: MissionError.OVERHEATED,
}


class GovernorLink:
    """Publishes ~/mission and follows the governor's state.

    required: no mission begins without a governor that hears us. Once one was heard its silence ends a mission,
    required or not.
    """

    def __init__(self, node: Node, *, required: bool) -> None:
        self._node, self._required = node, required
        self._publisher = node.create_publisher(MissionMsg, "~/mission", reliable_qos())
        self._subscription = node.create_subscription(GovernorState, STATE_TOPIC, self._on_state, reliable_qos(1))
        self._told = MissionMsg(id=time.time_ns() // 1000)  # no mission of an earlier run has a later number
        self._state: GovernorState | None = None
        self._heard_ns = 0  # steady time of the state

    def close(self) -> None:
        """Leave the graph: the governor takes our silence for the end of any mission."""
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_publisher(self._publisher)

    @property
    def mission_id(self) -> int:
        """The mission that was told last."""
        return int(self._told.id)

    def begin(self, instruction: str, source: str) -> None:
        """Tell that a mission begins."""
        self._told = MissionMsg(id=self.mission_id + 1, running=True, instruction=instruction, source=source)
        self.beat()

    def end(self, end: MissionEnd) -> None:
        """Tell how it ended."""
        self._told.running = False
        self._told.outcome, self._told.error_code, self._told.error_msg = int(end.outcome), int(end.error), end.message
        self.beat()

    def beat(self) -> None:
        """Tell the same again, ten times a second or more."""
        self._told.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(self._told)

    def refusal(self) -> tuple[MissionError, str] | None:
        """Return why no mission may begin, None if one may."""
        if not self._required and self._state is None:
            return None
        if self._state is None or self._is_silent():
            topic = self._node.resolve_topic_name(STATE_TOPIC)
            remedy = "start governor_node and watchdog_node, as the launch files do, or set require_governor to false"
            return MissionError.GOVERNOR_LOST, f"no governor on {topic}; {remedy}"
        if self._state.emergency_stop:
            return MissionError.EMERGENCY_STOP, f"the emergency stop is pressed: {self._state.detail}"
        if self._state.mission_id != self.mission_id:
            return MissionError.GOVERNOR_LOST, "the governor does not hear the navigator yet"
        reason = StopReason(self._state.reason)
        if self._state.state == GovernorState.IDLE and reason is not StopReason.NO_MISSION:
            return _ERRORS.get(
                reason, MissionError.GOVERNOR_LOST
            ), f"the governor says {reason.name}: {self._state.detail}"
        return None

    def verdict(self) -> tuple[MissionError, str] | None:
        """Return why the governor lets the present mission move nothing any more, None if it may."""
        state = self._state
        if state is None or not self._told.running:
            return None
        if self._is_silent():
            return MissionError.GOVERNOR_LOST, f"the governor has been silent for {_SILENCE_S:g} s"
        if state.mission_id != self.mission_id or state.state != GovernorState.REVOKED:
            return None
        reason = StopReason(state.reason)
        return _ERRORS.get(reason, MissionError.GOVERNOR_LOST), f"the governor says {reason.name}: {state.detail}"

    def obstacle(self) -> str:
        """Return what stands in the way now, empty if nothing does."""
        state = self._state
        is_blocked = state is not None and state.state == GovernorState.STOPPED and state.reason == StopReason.OBSTACLE
        return str(state.detail) if is_blocked and state is not None else ""

    def _on_state(self, message: GovernorState) -> None:
        self._state, self._heard_ns = message, time.monotonic_ns()

    def _is_silent(self) -> bool:
        return self._state is None or time.monotonic_ns() - self._heard_ns > _SILENCE_S * 1e9
