"""What the navigator tells the governor of its missions, and what the governor makes of them."""

from __future__ import annotations

import dataclasses
import time

from rclpy.node import Node
from vila_nav.msg import GovernorState
from vila_nav.msg import Mission as MissionMsg

from vila_core.control.reasons import MotionFault, StopReason
from vila_core.control.watchdog import Doubt
from vila_ros.common.authority import Authority
from vila_ros.common.qos import reliable_qos
from vila_ros.common.topics import GOVERNOR_STATE
from vila_ros.navigator.mission.mission import MissionEnd, MissionError

_SILENCE_S = 1.0  # twenty states are due in it; robots are stopped by others, and sooner
_SILENT_BEATS = 5  # of ours in it: if we were not run, states wait for us
_HINDERED_S = 2.0  # what stopped the robot so long ago explains why a motion stalled
_PATIENCE_S = 2.0  # a governor that is not ready after so long ends the mission
_BLIND_S = 3.0  # so is one whose sensors have been silent for so long, as a camera ends it that is silent

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
_HINDRANCES = {  # that stop the robot for a while; a motion that fails meanwhile fails by them
    StopReason.OBSTACLE: MissionError.BLOCKED,
    StopReason.NO_OBSTACLE_DATA: MissionError.GOVERNOR_LOST,
    StopReason.MACHINE: MissionError.OVERHEATED,
}


class GovernorLink:
    """Publishes ~/mission and follows the governor's state.

    A mission is told once the governor has shown that it hears us, and may move once it has shown the mission's number.
    required: false lets missions run where no governor was ever heard. is_passed: the robot's velocities pass the
    governor; where they do not, none is required, and what it says is seen to here: see `ban`. name: of the governor,
    whose states count.
    """

    def __init__(self, node: Node, *, required: bool, name: str, is_passed: bool = True) -> None:
        self._node, self._required, self._is_passed = node, required and is_passed, is_passed
        self._publisher = node.create_publisher(MissionMsg, "~/mission", reliable_qos())
        self._authority = Authority(node, {GOVERNOR_STATE: name})
        only_its = self._authority.only(GOVERNOR_STATE, self._on_state)
        self._subscription = node.create_subscription(GovernorState, GOVERNOR_STATE, only_its, reliable_qos(1))
        self._told = MissionMsg(id=time.time_ns() // 1000)  # no mission of an earlier run has a later number
        self._next: MissionMsg | None = None  # begun, and not told yet
        self._begun_ns = 0  # steady time of the present mission's begin
        self._is_confirmed = False  # the governor has shown that it lets the mission move
        self._state: GovernorState | None = None
        self._heard_ns = 0  # steady time of the state
        self._beats = 0  # since then
        self._hindrance, self._hindered_ns = (MissionError.NONE, ""), 0  # what stopped the robot last, and when
        self._blind_ns: int | None = None  # since when it stands for want of obstacle data

    def close(self) -> None:
        """Leave the graph: the governor takes our silence for the end of any mission."""
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_publisher(self._publisher)

    @property
    def mission_id(self) -> int:
        """The number of the mission that began last."""
        return int((self._next or self._told).id)

    def begin(self, instruction: str, source: str) -> None:
        """Begin a mission."""
        self._next = MissionMsg(id=self.mission_id + 1, running=True, instruction=instruction, source=source)
        self._begun_ns, self._is_confirmed = time.monotonic_ns(), False
        self.beat()

    def end(self, end: MissionEnd) -> None:
        """Tell how the mission ended."""
        self._told, self._next = self._next or self._told, None
        self._told.running = False
        self._told.outcome, self._told.error_code, self._told.error_msg = int(end.outcome), int(end.error), end.message
        self._publish()

    def beat(self) -> None:
        """Tell how things are; called ten times a second or more."""
        if self._next is not None and (self._is_ungoverned or self._awaits_mission()):
            self._told, self._next = self._next, None
        self._beats += 1
        self._publish()

    @property
    def is_ready(self) -> bool:
        """True if the present mission may move the robot, unless `verdict` says otherwise by now."""
        return self._next is None and (self._is_ungoverned or self._is_confirmed) and self.ban is None

    @property
    def ban(self) -> Doubt | None:
        """Why a robot whose velocities do not pass the governor is to stand all the same, for now; None if it is not.

        What ends the mission is `verdict`'s.
        """
        if self._is_passed or not self._stands(GovernorState.STATE_STOPPED) or self._reason() not in _HINDRANCES:
            return None
        return Doubt(MotionFault.GOVERNOR, f"the governor says {self._reason().name}: {self._state_detail()}")

    @property
    def emergency(self) -> str:
        """Say that the emergency stop is pressed, empty if it is not."""
        state = self._state
        return f"the emergency stop is pressed: {state.detail}" if state is not None and state.emergency_stop else ""

    @property
    def stranger(self) -> tuple[MissionError, str] | None:
        """Somebody who speaks for the governor; a mission ends by it, and none begins."""
        who = self._authority.stranger
        return (MissionError.NOT_AUTHORIZED, who) if who else None

    def verdict(self) -> tuple[MissionError, str] | None:
        """Return why the present mission is over, None if it goes on, or is still waited for."""
        if (stranger := self.stranger) is not None:
            return stranger
        if self._is_ungoverned:
            return None
        if (
            self._next is None
            and not self._is_silent()
            and self._shows_told()
            and self._stands(GovernorState.STATE_REVOKED)
        ):
            return self._complaint()
        waits_s = (time.monotonic_ns() - self._begun_ns) / 1e9
        is_lost = self._is_silent() or self._is_blind() if self._is_confirmed else waits_s > _PATIENCE_S
        return self._complaint() if is_lost else None

    def explained(self, end: MissionEnd) -> MissionEnd:
        """Return the end by what stopped the robot of late, if it got stuck and that is why."""
        is_late = time.monotonic_ns() - self._hindered_ns > _HINDERED_S * 1e9
        error, hindrance = (MissionError.NONE, "") if is_late else self._hindrance
        stuck = {MissionError.STUCK} if self._is_passed else {MissionError.STUCK, MissionError.CONTROLLER_LOST}
        if not hindrance or end.error not in stuck:
            return end
        return dataclasses.replace(end, error=error, message=f"{end.message}; the governor stopped it for {hindrance}")

    def _on_state(self, message: GovernorState) -> None:
        self._state, self._heard_ns, self._beats = message, time.monotonic_ns(), 0
        reason = self._reason() if self._stands(GovernorState.STATE_STOPPED) else StopReason.NONE
        if reason in _HINDRANCES:
            self._hindrance, self._hindered_ns = (_HINDRANCES[reason], str(message.detail)), self._heard_ns
        is_blind = reason is StopReason.NO_OBSTACLE_DATA
        self._blind_ns = (self._blind_ns or self._heard_ns) if is_blind else None
        if self._next is None and self._told.running and self._shows_told():
            self._is_confirmed = self._is_confirmed or not self._stands(GovernorState.STATE_REVOKED)

    def _publish(self) -> None:
        self._told.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(self._told)

    @property
    def _is_ungoverned(self) -> bool:
        return not self._required and self._state is None

    def _awaits_mission(self) -> bool:
        """Return True if the governor hears us, and knows of no reason to stop whatever mission begins."""
        return not self._is_silent() and self._shows_told() and self._reason() is StopReason.NO_MISSION

    def _is_silent(self) -> bool:
        return self._beats >= _SILENT_BEATS and time.monotonic_ns() - self._heard_ns > _SILENCE_S * 1e9

    def _is_blind(self) -> bool:
        return self._blind_ns is not None and self._heard_ns - self._blind_ns > _BLIND_S * 1e9

    def _shows_told(self) -> bool:
        return self._state is not None and self._state.mission_id == self._told.id

    def _stands(self, state: int) -> bool:
        return self._state is not None and self._state.state == state

    def _reason(self) -> StopReason:
        return StopReason.NONE if self._state is None else StopReason(self._state.reason)

    def _state_detail(self) -> str:
        return "" if self._state is None else str(self._state.detail)

    def _complaint(self) -> tuple[MissionError, str]:
        topic = self._node.resolve_topic_name(GOVERNOR_STATE)
        if self._state is None:
            remedy = "start governor_node and watchdog_node, as the launch files do, or set require_governor to false"
            return MissionError.GOVERNOR_LOST, f"no governor on {topic}; {remedy}"
        if self._is_silent():
            return MissionError.GOVERNOR_LOST, f"the governor on {topic} has been silent for {_SILENCE_S:g} s"
        if not self._shows_told():
            return MissionError.GOVERNOR_LOST, "the governor does not hear the navigator"
        reason = self._reason()
        return _ERRORS.get(
            reason, MissionError.GOVERNOR_LOST
        ), f"the governor says {reason.name}: {self._state_detail()}"
