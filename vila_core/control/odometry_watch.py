"""Whether odometry can be that of this robot, judged message by message: frames, publishers, jumps.

What a message says is compared with the one before, with the speeds that were commanded of late, and with the
velocity in it once that has proved right.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from vila_core.control.path_watch import body_step
from vila_core.control.reasons import MotionFault
from vila_core.types import Odometry, Pose, VelocityCommand

_JUMP_M = 0.03  # beyond what the commanded speeds allow
_JUMP_RAD = math.radians(5.0)
_FASTER = 1.25  # a base may be so much faster than commanded
_LATE_S = 0.02  # a stamp may be off by so much
_HAND_MPS = 2.0  # a robot that nobody commands may be pushed, or driven by hand
_HAND_RPS = 4.0
_HAND_JUMP_M = 0.05
_WINDOW_NS = 300_000_000  # pose and twist are compared over this time
_APART_M = 0.05
_APART_RAD = math.radians(8.0)
_APART_SHARE = 0.3
_PROVED_M = 0.03  # a twist that was right over this distance is believed
_PROVED_RAD = math.radians(4.0)
_AHEAD_S = 1.0  # stamps that go so much further than the time between two receipts have jumped
_FASTEST_CLOCK = 3.0  # simulated time may run so much faster than real time
BOTH_NS = 1_000_000_000  # two publishers within this time speak both


@dataclass(frozen=True, slots=True)
class Source:
    """Where an odometry message comes from.

    publisher: its id, empty where ROS does not tell it. publishers: how many the graph shows.
    """

    frame: str = "odom"
    child_frame: str = "base_link"
    publisher: bytes = b""
    publishers: int = 1


@dataclass(frozen=True, slots=True)
class Break:
    """Where odometry stopped being of one piece; poses before its stamp are of no use."""

    fault: MotionFault
    detail: str
    stamp_ns: int


class OdometryWatch:
    """Follows one odometry topic; `note` returns a break as soon as there is one.

    Times of receipt are on the steady clock.
    """

    def __init__(self) -> None:
        self._before: Odometry | None = None
        self._source: Source | None = None
        self._received_ns = 0
        self._heard_ns: dict[bytes, int] = {}
        self._window: deque[tuple[int, Pose, Pose]] = deque()  # stamp, step of the pose, step by the twist
        self._is_proved = [False, False]  # linear and angular velocity
        self.broken: Break | None = None  # the latest

    def note(
        self,
        odometry: Odometry,
        source: Source,
        slowest: VelocityCommand,
        fastest: VelocityCommand,
        received_ns: int,
    ) -> Break | None:
        """Judge the next message; slowest, fastest: what was commanded in the last 1.5 s."""
        fault, detail = self._publisher_fault(source, received_ns)
        if not fault:
            fault, detail = self._frame_fault(source)
        if not fault and self._before is not None:
            fault, detail = self._clock_fault(self._before, odometry, received_ns)
        if not fault and self._before is not None:
            fault, detail = self._step_fault(self._before, odometry, source, (slowest, fastest))
        self._source, self._before, self._received_ns = source, odometry, received_ns
        if not fault:
            return None
        self._window.clear()
        self.broken = Break(fault, detail, odometry.stamp_ns)
        return self.broken

    def note_bad(self, detail: str, stamp_ns: int) -> Break:
        """Take a message whose numbers are not finite."""
        self._before = None
        self.broken = Break(MotionFault.ODOMETRY_NOT_FINITE, detail, stamp_ns)
        return self.broken

    @property
    def bad(self) -> Break | None:
        """The break if the newest message holds no numbers to go by."""
        return self.broken if self._before is None else None

    def since(self, stamp_ns: int) -> Break | None:
        """Return the latest break that parts an image of that stamp from now."""
        return self.broken if self.broken is not None and stamp_ns < self.broken.stamp_ns else None

    def _publisher_fault(self, source: Source, received_ns: int) -> tuple[MotionFault, str]:
        known = self._source.publisher if self._source is not None else b""
        self._heard_ns[source.publisher] = received_ns
        speaking = sum(received_ns - at_ns < BOTH_NS for at_ns in self._heard_ns.values())
        if len(self._heard_ns) > speaking:
            self._heard_ns = {who: at for who, at in self._heard_ns.items() if received_ns - at < BOTH_NS}
        if known and source.publisher != known and speaking > 1:
            return MotionFault.ODOMETRY_PUBLISHERS, f"{speaking} publishers of odometry speak at once; {_ONE}"
        return MotionFault.NONE, ""

    def _frame_fault(self, source: Source) -> tuple[MotionFault, str]:
        if self._source is None:
            return MotionFault.NONE, ""
        before, now = (self._source.frame, self._source.child_frame), (source.frame, source.child_frame)
        if before != now:
            names = f"from {before[0]!r} and {before[1]!r} to {now[0]!r} and {now[1]!r}"
            return MotionFault.ODOMETRY_FRAME, f"the frames of odometry changed {names}; {_ONE}"
        return MotionFault.NONE, ""

    def _clock_fault(self, before: Odometry, after: Odometry, received_ns: int) -> tuple[MotionFault, str]:
        step_s, took_s = (after.stamp_ns - before.stamp_ns) / 1e9, (received_ns - self._received_ns) / 1e9
        if step_s > _AHEAD_S + _FASTEST_CLOCK * took_s:
            return MotionFault.CLOCK, f"the stamps of odometry jumped ahead by {step_s:.2f} s within {took_s:.2f} s"
        return MotionFault.NONE, ""

    def _step_fault(
        self, before: Odometry, after: Odometry, source: Source, speeds: tuple[VelocityCommand, VelocityCommand]
    ) -> tuple[MotionFault, str]:
        dt_s = (after.stamp_ns - before.stamp_ns) / 1e9
        step = body_step(before.pose, after.pose)
        several = source.publishers > 1 and not source.publisher
        if dt_s < 0:
            if several:
                return (
                    MotionFault.ODOMETRY_PUBLISHERS,
                    f"stamps of odometry from {source.publishers} publishers mix; {_ONE}",
                )
            return MotionFault.CLOCK, f"the stamps of odometry went back by {-dt_s:.3f} s"
        text = _impossible(step, dt_s, speeds) or self._against_twist(step, before, after)
        if text and several:
            return MotionFault.ODOMETRY_PUBLISHERS, f"{text}, with {source.publishers} publishers; {_ONE}"
        if text:
            return MotionFault.ODOMETRY_JUMP, text
        return self._twist_fault()

    def _against_twist(self, step: Pose, before: Odometry, after: Odometry) -> str:
        """Take the step into the window; return how it contradicts a twist that has been right so far."""
        dt_s = (after.stamp_ns - before.stamp_ns) / 1e9
        told = Pose(
            dt_s * (before.linear_mps + after.linear_mps) / 2, 0.0, dt_s * (before.angular_rps + after.angular_rps) / 2
        )
        self._window.append((after.stamp_ns, step, told))
        while self._window[0][0] < after.stamp_ns - _WINDOW_NS:
            self._window.popleft()
        off_m, off_rad = abs(step.x_m - told.x_m), abs(step.yaw_rad - told.yaw_rad)
        if self._is_proved[0] and off_m > _JUMP_M + _APART_SHARE * abs(told.x_m):
            return f"odometry jumped by {off_m:.3f} m against its own velocity"
        if self._is_proved[1] and off_rad > _JUMP_RAD + _APART_SHARE * abs(told.yaw_rad):
            return f"odometry jumped by {off_rad:.3f} rad against its own velocity"
        return ""

    def _twist_fault(self) -> tuple[MotionFault, str]:
        """Compare pose and twist over the window; one that was right and is not any more is a fault."""
        rows = (
            (sum(step.x_m for _, step, _ in self._window), sum(told.x_m for _, _, told in self._window), _LINEAR),
            (sum(s.yaw_rad for _, s, _ in self._window), sum(t.yaw_rad for _, _, t in self._window), _ANGULAR),
        )
        for index, (moved, told, limits) in enumerate(rows):
            apart = abs(moved - told)
            if abs(told) > limits.proved and apart < limits.apart / 4 + _APART_SHARE / 2 * abs(told):
                self._is_proved[index] = True
            elif self._is_proved[index] and apart > limits.apart + _APART_SHARE * abs(told):
                text = f"pose moved {moved:.3f} {limits.unit}, its velocity says {told:.3f} {limits.unit}"
                return MotionFault.ODOMETRY_CONTRADICTS, text
        return MotionFault.NONE, ""


_ONE = "let one driver publish it, in one pair of frames"


@dataclass(frozen=True, slots=True)
class _Limits:
    unit: str
    apart: float
    proved: float


_LINEAR = _Limits("m", _APART_M, _PROVED_M)
_ANGULAR = _Limits("rad", _APART_RAD, _PROVED_RAD)


def _impossible(step: Pose, dt_s: float, speeds: tuple[VelocityCommand, VelocityCommand]) -> str:
    """Return what no robot does that is told to drive at such speeds, empty if it may be."""
    slowest, fastest = speeds
    room_s = _FASTER * (dt_s + _LATE_S)
    jump_m, jump_rad = _JUMP_M, _JUMP_RAD
    if slowest.is_zero and fastest.is_zero:
        jump_m, jump_rad = _HAND_JUMP_M + _HAND_MPS * dt_s, _JUMP_RAD + _HAND_RPS * dt_s
    if not slowest.linear_mps * room_s - jump_m <= step.x_m <= fastest.linear_mps * room_s + jump_m:
        return f"odometry jumped by {step.x_m:.3f} m in {dt_s:.3f} s, commanded were up to {fastest.linear_mps:.2f} m/s"
    if abs(step.y_m) > jump_m:
        return f"odometry jumped sideways by {step.y_m:.3f} m in {dt_s:.3f} s"
    if not slowest.angular_rps * room_s - jump_rad <= step.yaw_rad <= fastest.angular_rps * room_s + jump_rad:
        top_rps = max(-slowest.angular_rps, fastest.angular_rps)
        return f"odometry turned by {step.yaw_rad:.3f} rad in {dt_s:.3f} s, commanded were up to {top_rps:.2f} rad/s"
    return ""
