"""Action + odometry -> velocity: closed loop, anchored where the image was taken.

A forward action is a line from the anchor pose: the robot returns to the line, drives to its
end and takes up the line's heading again. A turn is a goal for the yaw. The goal never moves
with the robot, so a blocked robot gathers no phantom displacement.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from vila_core.config import ControlConfig
from vila_core.control.limits import MAX_FUTURE_S, action_refusal, limit_velocity
from vila_core.types import Action, MoveForward, Odometry, Pose, Stop, Turn, VelocityCommand, wrap_angle

_CONVERGE_M = 0.12  # driving so far reduces the distance to the line to 1/e
_SLOW_TURN_RAD = 0.5  # at this heading error the robot turns without driving
_MAX_LATERAL_M = 0.3  # further from the line, the motion is given up
_TURN_WORTH_M = 0.2  # metres that one radian of heading error counts in progress
_FINE = 1 / 3  # driving and turning end at this share of the tolerance
_STEP = 1 / 6  # of the tolerance: less is no progress
_CREEP_S = 0.75  # the slowest speed crosses the tolerance in this time
_SETTLE_S = 0.3  # within the tolerance, no progress for so long ends the phase too


class MotionState(enum.IntEnum):
    """How far a motion is."""

    IDLE = 0
    RUNNING = 1
    DONE = 2
    ABORTED = 3


@dataclass(frozen=True, slots=True)
class MotionStep:
    """What to drive now, and how far the motion is, measured by odometry from the anchor.

    remaining_m: along the line, 0 for a turn. remaining_rad: to the goal's yaw, left > 0.
    executed_m: from the anchor along its heading. executed_rad: since the anchor's yaw.
    detail: why aborted, empty otherwise.
    """

    command: VelocityCommand
    state: MotionState
    remaining_m: float = 0.0
    remaining_rad: float = 0.0
    executed_m: float = 0.0
    executed_rad: float = 0.0
    detail: str = ""


class _Phase(enum.Enum):
    DRIVE = enum.auto()  # along the line
    TURN = enum.auto()  # to the goal's yaw
    BRAKE = enum.auto()  # to a standstill


@dataclass(frozen=True, slots=True)
class _Error:
    """The goal of a motion, seen from the robot."""

    along_m: float  # still to drive along the line; below 0 past its end
    lateral_m: float  # the line lies so far to the left of the robot
    yaw_rad: float  # still to turn, left > 0

    @property
    def distance_m(self) -> float:
        return math.hypot(self.along_m, self.lateral_m)


class MotionController:
    """Executes one action at a time; call `step` at a steady 10 Hz or more.

    The last command is remembered across motions, so a motion that replaces a running one
    keeps to the acceleration limits too. An abort, and Stop, command zero at once.
    """

    def __init__(self, config: ControlConfig) -> None:
        self._config = config
        self._state = MotionState.IDLE
        self._phase = _Phase.BRAKE
        self._action: Action = Stop()
        self._anchor = self._goal = Pose()
        self._last = MotionStep(VelocityCommand(), MotionState.IDLE)
        self._last_ns = 0
        self._progress = _Progress(0.0, 0)

    @property
    def state(self) -> MotionState:
        """How far the latest motion is."""
        return self._state

    def start(self, action: Action, anchor: Pose, now_ns: int) -> None:
        """Begin the action at the pose that the robot had when its image was taken; Stop stops.

        Raises ValueError, and stands still, if the action or the anchor is not finite, or if the
        action is not above zero or larger than the configuration allows.
        """
        refusal = action_refusal(action, self._config) or _anchor_refusal(anchor)
        if refusal:
            self._end(MotionState.ABORTED, refusal)
            raise ValueError(refusal)
        if isinstance(action, Stop):
            self._end(MotionState.IDLE)
            return
        self._action, self._anchor = action, anchor
        self._state, self._last_ns = MotionState.RUNNING, now_ns
        if isinstance(action, MoveForward):
            self._goal = anchor.advanced(action.distance_m)
            self._enter(_Phase.DRIVE, now_ns)
        else:
            self._goal = anchor.turned(action.angle_rad)
            self._enter(_Phase.TURN, now_ns)

    def step(self, odometry: Odometry, now_ns: int, max_future_s: float = MAX_FUTURE_S) -> MotionStep:
        """Return the command for now; it never raises, and after the end it is zero.

        Aborted are: odometry that is not finite, older than odometry_timeout_s or more than
        max_future_s ahead; a clock that goes back; no progress for stall_timeout_s; a goal that was missed.
        """
        if self._state is not MotionState.RUNNING:
            return self._last
        fault = self._input_fault(odometry, now_ns, max_future_s)
        if fault:
            return self._end(MotionState.ABORTED, fault)
        error = self._error(odometry.pose)
        fault = self._advance(error, now_ns)
        if fault:
            return self._end(MotionState.ABORTED, fault, error)
        command = self._limited(self._wanted(error), now_ns)
        if self._phase is _Phase.BRAKE and command.is_zero:
            missed = self._missed(error)
            return self._end(MotionState.ABORTED if missed else MotionState.DONE, missed, error)
        self._last = self._report(command, error)
        return self._last

    def abort(self, detail: str = "aborted") -> None:
        """End the motion; the command is zero from now on."""
        self._end(MotionState.ABORTED, detail)

    def _input_fault(self, odometry: Odometry, now_ns: int, max_future_s: float) -> str:
        pose = odometry.pose
        if not _is_finite(pose):
            return f"odometry is not finite: {pose}"
        age_s = (now_ns - odometry.stamp_ns) / 1e9
        if age_s > self._config.odometry_timeout_s:
            return f"odometry is {age_s:.2f} s old, limit {self._config.odometry_timeout_s} s"
        if age_s < -max_future_s or now_ns < self._last_ns:
            return f"the clock jumped: odometry {odometry.stamp_ns} ns, now {now_ns} ns, before {self._last_ns} ns"
        return ""

    def _error(self, pose: Pose) -> _Error:
        yaw_rad = wrap_angle(self._goal.yaw_rad - pose.yaw_rad)
        if isinstance(self._action, Turn):
            return _Error(0.0, 0.0, yaw_rad)
        dx, dy = self._goal.x_m - pose.x_m, self._goal.y_m - pose.y_m
        cos, sin = math.cos(self._goal.yaw_rad), math.sin(self._goal.yaw_rad)
        return _Error(dx * cos + dy * sin, dy * cos - dx * sin, yaw_rad)

    def _advance(self, error: _Error, now_ns: int) -> str:
        """Enter the next phase when one is over; return why the motion must be aborted, if so."""
        if abs(error.lateral_m) > _MAX_LATERAL_M:
            return f"{abs(error.lateral_m):.2f} m off the line"
        if self._phase is _Phase.DRIVE and self._is_driven(error, now_ns):
            aligned = abs(error.yaw_rad) <= self._config.angle_tolerance_rad / 2
            lost = error.distance_m > self._config.position_tolerance_m
            self._enter(_Phase.BRAKE if aligned or lost else _Phase.TURN, now_ns)
        elif self._phase is _Phase.TURN and self._is_turned(error, now_ns):
            self._enter(_Phase.BRAKE, now_ns)
        cost, step = self._cost(error)
        stalled_s = self._progress.update(cost, step, now_ns)
        if self._phase is not _Phase.BRAKE and stalled_s > self._config.stall_timeout_s:
            return f"no progress for {stalled_s:.2f} s, {error.along_m:.3f} m and {error.yaw_rad:.3f} rad remain"
        return ""

    def _enter(self, phase: _Phase, now_ns: int) -> None:
        self._phase = phase
        self._progress = _Progress(math.inf, now_ns)

    def _is_driven(self, error: _Error, now_ns: int) -> bool:
        tolerance_m = self._config.position_tolerance_m
        settled = error.distance_m <= tolerance_m and self._progress.stalled_s(now_ns) > _SETTLE_S
        return settled or error.along_m <= tolerance_m * _FINE

    def _is_turned(self, error: _Error, now_ns: int) -> bool:
        tolerance_rad = self._config.angle_tolerance_rad
        settled = abs(error.yaw_rad) <= tolerance_rad and self._progress.stalled_s(now_ns) > _SETTLE_S
        return settled or abs(error.yaw_rad) <= tolerance_rad * _FINE

    def _cost(self, error: _Error) -> tuple[float, float]:
        """Return what must fall while the motion goes on, and how much of it is progress."""
        if self._phase is _Phase.DRIVE:
            turn_m = _TURN_WORTH_M * abs(self._steering_rad(error))
            return error.along_m + turn_m, self._config.position_tolerance_m * _STEP
        return abs(error.yaw_rad), self._config.angle_tolerance_rad * _STEP

    def _steering_rad(self, error: _Error) -> float:
        """Return the angle to the heading on which the distance to the line falls exponentially."""
        return wrap_angle(error.yaw_rad + math.atan2(error.lateral_m, _CONVERGE_M))

    def _wanted(self, error: _Error) -> VelocityCommand:
        config = self._config
        if self._phase is _Phase.BRAKE:
            return VelocityCommand()
        if self._phase is _Phase.TURN:
            creep_rps = config.angle_tolerance_rad / _CREEP_S
            rate_rps = max(creep_rps, config.angular_gain * abs(error.yaw_rad))
            return VelocityCommand(0.0, math.copysign(rate_rps, error.yaw_rad))
        angle_rad = self._steering_rad(error)
        creep_mps = config.position_tolerance_m / _CREEP_S
        speed_mps = min(config.max_linear_mps, max(creep_mps, config.linear_gain * error.along_m))
        speed_mps *= max(0.0, 1.0 - abs(angle_rad) / _SLOW_TURN_RAD)
        return VelocityCommand(speed_mps, config.angular_gain * angle_rad)

    def _limited(self, wanted: VelocityCommand, now_ns: int) -> VelocityCommand:
        dt_s = (now_ns - self._last_ns) / 1e9
        self._last_ns = now_ns
        return limit_velocity(wanted, self._last.command, dt_s, self._config)

    def _missed(self, error: _Error) -> str:
        if error.distance_m > self._config.position_tolerance_m:
            return f"missed the goal by {error.distance_m:.3f} m"
        if abs(error.yaw_rad) > self._config.angle_tolerance_rad:
            return f"missed the heading by {abs(error.yaw_rad):.3f} rad"
        return ""

    def _end(self, state: MotionState, detail: str = "", error: _Error | None = None) -> MotionStep:
        self._state = state
        self._last = self._report(VelocityCommand(), error, detail)
        return self._last

    def _report(self, command: VelocityCommand, error: _Error | None, detail: str = "") -> MotionStep:
        if error is None:
            return MotionStep(command, self._state, detail=detail)
        length_m = self._action.distance_m if isinstance(self._action, MoveForward) else 0.0
        angle_rad = self._action.angle_rad if isinstance(self._action, Turn) else 0.0
        return MotionStep(
            command,
            self._state,
            remaining_m=error.along_m,
            remaining_rad=error.yaw_rad,
            executed_m=length_m - error.along_m,
            executed_rad=wrap_angle(angle_rad - error.yaw_rad),
            detail=detail,
        )


@dataclass(slots=True)
class _Progress:
    """The lowest cost so far, and since when it has not fallen."""

    best: float
    since_ns: int

    def update(self, cost: float, step: float, now_ns: int) -> float:
        """Take the cost of now; return for how many seconds it has not fallen by a step."""
        if cost <= self.best - step:
            self.best, self.since_ns = cost, now_ns
        return self.stalled_s(now_ns)

    def stalled_s(self, now_ns: int) -> float:
        return (now_ns - self.since_ns) / 1e9


def _anchor_refusal(anchor: Pose) -> str:
    return "" if _is_finite(anchor) else f"the anchor is not finite: {anchor}"


def _is_finite(pose: Pose) -> bool:
    return all(map(math.isfinite, (pose.x_m, pose.y_m, pose.yaw_rad)))
