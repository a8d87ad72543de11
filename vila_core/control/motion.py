"""Action + odometry -> velocity: closed loop, anchored where the image was taken.

A forward action is a line from the anchor pose: the robot returns to the line, drives to its
end and takes up the line's heading again. A turn is a goal for the yaw. The goal never moves
with the robot, so a blocked robot gathers no phantom displacement. What odometry says is believed as far as it
agrees with the commands, see path_watch; and the commands of an action are bounded in path and time without it.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace

from vila_core.config import ControlConfig
from vila_core.control.limits import (
    MAX_FUTURE_S,
    action_refusal,
    limit_velocity,
    longest_path,
    longest_time_s,
    slowest,
)
from vila_core.control.path_watch import Path, PathWatch
from vila_core.control.reasons import MotionFault
from vila_core.types import Action, MoveForward, Odometry, Pose, Stop, Turn, VelocityCommand, wrap_angle

_CONVERGE_M = 0.12  # driving so far reduces the distance to the line to 1/e
_SLOW_TURN_RAD = 0.5  # at this heading error the robot turns without driving
_MAX_LATERAL_M = 0.3  # further from the line, the motion is given up
_TURN_WORTH_M = 0.2  # metres that one radian of heading error counts in progress
_FINE = 1 / 10  # driving and turning end at this share of the tolerance
_STEP = 1 / 6  # of the tolerance: less is no progress, near the goal
_SLOW_SHARE = 0.5  # of the slowest speed: slower, over the stall timeout, is no progress on the way
_HELD_PATIENCE = 2.0  # times the stall timeout, while a governor slows or holds the robot: what is in the way may leave
_SETTLE_S = 0.3  # within the tolerance, no progress for so long ends the phase too
_RESERVE_S = 0.3  # a command may last so long: the path that is left must be enough for it
_SHORT = 0.25  # of the commanded path: odometry that measured so much less contradicts it
_REST_MPS = 0.06  # a robot that is slower comes to rest within its tolerance
_REST_RPS = math.radians(6.0)
_REST_S = 1.0  # a base stands so long after its last command
_REST_M = 0.01  # less than this is still to come from a base that stands
_REST_RAD = math.radians(1.0)


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
    commanded_m, commanded_rad: the path of the commands so far, each way counted.
    fault, detail: why aborted, NONE and empty otherwise.
    """

    command: VelocityCommand
    state: MotionState
    remaining_m: float = 0.0
    remaining_rad: float = 0.0
    executed_m: float = 0.0
    executed_rad: float = 0.0
    commanded_m: float = 0.0
    commanded_rad: float = 0.0
    fault: MotionFault = MotionFault.NONE
    detail: str = ""


_Fault = tuple[MotionFault, str]
_NONE: _Fault = (MotionFault.NONE, "")


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

    path: what was commanded and what odometry measured; give it each odometry message.

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
        self._last_ns = self._begun_ns = self._braking_ns = 0
        self._settling = self._progress = _Progress(0.0, 0)
        self._commanded_m = self._commanded_rad = 0.0
        self._longest = Path()
        self._is_governed = False
        self._passed, self._passed_ns = VelocityCommand(), 0
        self.path = PathWatch()

    @property
    def state(self) -> MotionState:
        """How far the latest motion is."""
        return self._state

    def pass_on(self, command: VelocityCommand, now_ns: int) -> None:
        """Take what a governor lets pass to the base from now on; without a governor every command passes."""
        self._is_governed = True
        self._note_passed(command, now_ns)

    def rest(self, now_ns: int) -> None:
        """Note that nothing is commanded now."""
        if not self._is_governed:
            self._note_passed(VelocityCommand(), now_ns)

    def start(self, action: Action, anchor: Pose, now_ns: int) -> None:
        """Begin the action at the pose that the robot had when its image was taken; Stop stops.

        Raises ValueError, and stands still, if the action or the anchor is not finite, or if the
        action is not above zero or larger than the configuration allows.
        """
        self._commanded_m = self._commanded_rad = 0.0
        refusal = action_refusal(action, self._config) or _anchor_refusal(anchor)
        if refusal:
            self._end(MotionState.ABORTED, (MotionFault.BAD_ACTION, refusal))
            raise ValueError(refusal)
        if isinstance(action, Stop):
            self._end(MotionState.IDLE)
            return
        self._action, self._anchor = action, anchor
        self._state, self._last_ns, self._begun_ns = MotionState.RUNNING, now_ns, now_ns
        self._passed_ns = now_ns
        self._last = MotionStep(self._last.command, self._state)
        self._longest = self._longest_path()
        self.path.begin()
        if isinstance(action, MoveForward):
            self._goal = anchor.advanced(action.distance_m)
            self._enter(_Phase.DRIVE, now_ns)
        else:
            self._goal = anchor.turned(action.angle_rad)
            self._enter(_Phase.TURN, now_ns)

    def step(
        self, odometry: Odometry, now_ns: int, max_future_s: float = MAX_FUTURE_S, speed_share: float = 1.0
    ) -> MotionStep:
        """Return the command for now; it never raises, and after the end it is zero.

        speed_share: how much of a command a governor lets pass, 0 while it holds the robot for an obstacle.

        Aborted are: odometry that is not finite, older than odometry_timeout_s or more than max_future_s ahead; a
        clock that jumps; odometry that contradicts the commands; no progress for stall_timeout_s; a goal that was
        missed; commands that add up to more than longest_path, or last longer than longest_time_s.
        """
        if self._state is not MotionState.RUNNING:
            self.rest(now_ns)
            return self._last
        fault = self._input_fault(odometry, now_ns, max_future_s)
        if fault[0]:
            return self._end(MotionState.ABORTED, fault)
        self._note_passed(self._passed, now_ns)
        self.path.measure(odometry)
        error = self._error(odometry.pose)
        fault = self._bounds_fault(now_ns)
        fault = fault if fault[0] else self.path.fault()
        fault = fault if fault[0] else self._advance(error, now_ns, speed_share)
        if fault[0]:
            return self._end(MotionState.ABORTED, fault, error)
        command = self._bounded(self._wanted(error, now_ns), now_ns)
        if self._is_at_rest(command, now_ns) and not self._resumes(error, now_ns):
            missed = self._missed(error)
            return self._end(MotionState.ABORTED if missed[0] else MotionState.DONE, missed, error)
        if not self._is_governed:
            self._note_passed(command if speed_share > 0 else VelocityCommand(), now_ns)
        self._last = self._report(command, error)
        return self._last

    def abort(self, detail: str = "aborted", fault: MotionFault = MotionFault.REPLACED) -> MotionStep:
        """End the motion; the command is zero from now on. Returns how far it came."""
        return self._end(MotionState.ABORTED, (fault, detail))

    def _input_fault(self, odometry: Odometry, now_ns: int, max_future_s: float) -> _Fault:
        pose = odometry.pose
        if not _is_finite(pose):
            return MotionFault.ODOMETRY_NOT_FINITE, f"odometry is not finite: {pose}"
        age_s, limit_s = (now_ns - odometry.stamp_ns) / 1e9, self._config.odometry_timeout_s
        if age_s < -max_future_s or now_ns < self._last_ns:
            text = f"the clock jumped: odometry {odometry.stamp_ns} ns, now {now_ns} ns, before {self._last_ns} ns"
            return MotionFault.CLOCK, text
        if (now_ns - self._last_ns) / 1e9 > limit_s:
            return MotionFault.CLOCK, f"the clock jumped ahead by {(now_ns - self._last_ns) / 1e9:.2f} s"
        if age_s > limit_s:
            return MotionFault.ODOMETRY_SILENT, f"odometry is {age_s:.2f} s old, limit {limit_s} s"
        return _NONE

    def _note_passed(self, command: VelocityCommand, now_ns: int) -> None:
        """Add up what passed to the base until now, and take what passes from now on."""
        if self._state is MotionState.RUNNING:
            dt_s = max(0, now_ns - self._passed_ns) / 1e9
            self._commanded_m += abs(self._passed.linear_mps) * dt_s
            self._commanded_rad += abs(self._passed.angular_rps) * dt_s
        self._passed, self._passed_ns = command, now_ns
        self.path.command(command, now_ns)

    def _bounds_fault(self, now_ns: int) -> _Fault:
        """Return whether the action's path or time is used up, which no odometry has a say in."""
        limit_s, took_s = longest_time_s(self._action, self._config), (now_ns - self._begun_ns) / 1e9
        if took_s > limit_s:
            return MotionFault.TOO_LONG, f"it takes {took_s:.2f} s, limit {limit_s:.2f} s"
        left, need = self._path_left(), slowest(self._config)
        if self._phase is _Phase.DRIVE and left.forward_m < need.linear_mps * _RESERVE_S * _SLOW_SHARE:
            return self._too_far(now_ns), f"commanded were {self._commanded_m:.3f} m and the goal is not reached"
        if self._phase is _Phase.TURN and left.turned_rad < need.angular_rps * _RESERVE_S * _SLOW_SHARE:
            return self._too_far(now_ns), f"commanded were {self._commanded_rad:.3f} rad and the goal is not reached"
        return _NONE

    def _too_far(self, now_ns: int) -> MotionFault:
        """Return CONTRADICTS if it is because odometry measured less than was commanded, as far as that is known."""
        missing = self.path.lead - self.path.to_come(now_ns)
        short_m, short_rad = abs(missing.forward_m), abs(missing.turned_rad)
        contradicts = short_m > _SHORT * self._commanded_m or short_rad > _SHORT * self._commanded_rad
        return MotionFault.ODOMETRY_CONTRADICTS if contradicts else MotionFault.TOO_FAR

    def _longest_path(self) -> Path:
        """Return what the commands may add up to; one that replaces a running motion may brake that first."""
        most_m, most_rad = longest_path(self._action, self._config)
        config, before = self._config, self._last.command
        return Path(
            most_m + _braking(before.linear_mps, config.max_linear_accel_mps2),
            most_rad + _braking(before.angular_rps, config.max_angular_accel_rps2),
        )

    def _path_left(self) -> Path:
        left = self._longest - Path(self._commanded_m, self._commanded_rad)
        return Path(max(0.0, left.forward_m), max(0.0, left.turned_rad))

    def _error(self, pose: Pose) -> _Error:
        yaw_rad = wrap_angle(self._goal.yaw_rad - pose.yaw_rad)
        if isinstance(self._action, Turn):
            return _Error(0.0, 0.0, yaw_rad)
        dx, dy = self._goal.x_m - pose.x_m, self._goal.y_m - pose.y_m
        cos, sin = math.cos(self._goal.yaw_rad), math.sin(self._goal.yaw_rad)
        return _Error(dx * cos + dy * sin, dy * cos - dx * sin, yaw_rad)

    def _advance(self, error: _Error, now_ns: int, speed_share: float) -> _Fault:
        """Enter the next phase when one is over; return why the motion must be aborted, if so."""
        if abs(error.lateral_m) > _MAX_LATERAL_M:
            return MotionFault.MISSED, f"{abs(error.lateral_m):.2f} m off the line"
        ahead = self._foreseen(error, now_ns)
        if self._phase is _Phase.DRIVE and self._is_driven(ahead, now_ns):
            aligned = abs(ahead.yaw_rad) <= self._config.angle_tolerance_rad / 2
            lost = ahead.distance_m > self._config.position_tolerance_m
            self._enter(_Phase.BRAKE if aligned or lost else _Phase.TURN, now_ns)
        elif self._phase is _Phase.TURN and self._is_turned(ahead, now_ns):
            self._enter(_Phase.BRAKE, now_ns)
        cost, fine, coarse = self._cost(error)
        self._settling.update(cost, fine, now_ns)
        stalled_s = self._progress.update(cost, coarse, now_ns)
        patience = 1.0 if speed_share == 1.0 else _HELD_PATIENCE
        if self._phase is not _Phase.BRAKE and stalled_s > patience * self._config.stall_timeout_s:
            rest = f"{error.along_m:.3f} m and {error.yaw_rad:.3f} rad remain"
            return MotionFault.STALLED, f"no progress for {stalled_s:.2f} s, {rest}"
        return _NONE

    def _foreseen(self, error: _Error, now_ns: int) -> _Error:
        """Return the error of a robot that has come to rest from what it was told so far."""
        to_come = self.path.to_come(now_ns)
        along_m = error.along_m - to_come.forward_m if isinstance(self._action, MoveForward) else 0.0
        return _Error(along_m, error.lateral_m, wrap_angle(error.yaw_rad - to_come.turned_rad))

    def _enter(self, phase: _Phase, now_ns: int) -> None:
        self._phase, self._braking_ns = phase, now_ns
        self._settling, self._progress = _Progress(math.inf, now_ns), _Progress(math.inf, now_ns)

    def _is_driven(self, error: _Error, now_ns: int) -> bool:
        tolerance_m = self._config.position_tolerance_m
        settled = error.distance_m <= tolerance_m and self._settling.stalled_s(now_ns) > _SETTLE_S
        return settled or error.along_m <= tolerance_m * _FINE

    def _is_turned(self, error: _Error, now_ns: int) -> bool:
        tolerance_rad = self._config.angle_tolerance_rad
        settled = abs(error.yaw_rad) <= tolerance_rad and self._settling.stalled_s(now_ns) > _SETTLE_S
        return settled or abs(error.yaw_rad) <= tolerance_rad * _FINE

    def _cost(self, error: _Error) -> tuple[float, float, float]:
        """Return what must fall while the motion goes on, and how much of it is progress near the goal and before."""
        speed, span_s = slowest(self._config), self._config.stall_timeout_s * _SLOW_SHARE
        if self._phase is _Phase.DRIVE:
            turn_m = _TURN_WORTH_M * abs(self._steering_rad(error))
            return error.along_m + turn_m, self._config.position_tolerance_m * _STEP, speed.linear_mps * span_s
        return abs(error.yaw_rad), self._config.angle_tolerance_rad * _STEP, speed.angular_rps * span_s

    def _steering_rad(self, error: _Error) -> float:
        """Return the angle to the heading on which the distance to the line falls exponentially."""
        return wrap_angle(error.yaw_rad + math.atan2(error.lateral_m, _CONVERGE_M))

    def _wanted(self, error: _Error, now_ns: int) -> VelocityCommand:
        config, ahead, creep = self._config, self._foreseen(error, now_ns), slowest(self._config)
        if self._phase is _Phase.BRAKE:
            return VelocityCommand()
        if self._phase is _Phase.TURN:
            rate_rps = max(creep.angular_rps, config.angular_gain * abs(ahead.yaw_rad))
            return VelocityCommand(0.0, math.copysign(rate_rps, ahead.yaw_rad))
        angle_rad = self._steering_rad(ahead)
        speed_mps = min(config.max_linear_mps, max(creep.linear_mps, config.linear_gain * ahead.along_m))
        speed_mps *= max(0.0, 1.0 - abs(angle_rad) / _SLOW_TURN_RAD)
        return VelocityCommand(speed_mps, config.angular_gain * angle_rad)

    def _bounded(self, wanted: VelocityCommand, now_ns: int) -> VelocityCommand:
        """Return the command within all limits: speed, acceleration, the base's lateness, and the path that is left."""
        dt_s = (now_ns - self._last_ns) / 1e9
        self._last_ns = now_ns
        command = self.path.limited(limit_velocity(wanted, self._last.command, dt_s, self._config), now_ns)
        left = self._path_left()
        return VelocityCommand(
            _clip(command.linear_mps, left.forward_m / _RESERVE_S),
            _clip(command.angular_rps, left.turned_rad / _RESERVE_S),
        )

    def _is_at_rest(self, command: VelocityCommand, now_ns: int) -> bool:
        """True once the base has obeyed the last command, as far as odometry can tell."""
        if self._phase is not _Phase.BRAKE or not command.is_zero:
            return False
        to_come, speed = self.path.to_come(now_ns), self.path.speed
        is_slow = abs(speed.linear_mps) < _REST_MPS and abs(speed.angular_rps) < _REST_RPS
        has_obeyed = abs(to_come.forward_m) < _REST_M and abs(to_come.turned_rad) < _REST_RAD
        return (is_slow and has_obeyed) or (now_ns - self._braking_ns) / 1e9 > _REST_S

    def _resumes(self, error: _Error, now_ns: int) -> bool:
        """Return True if the base came to rest short of the goal, and go on: less was still to come than foreseen."""
        config, is_forward = self._config, isinstance(self._action, MoveForward)
        if is_forward and error.along_m > config.position_tolerance_m:
            self._enter(_Phase.DRIVE, now_ns)
        elif error.distance_m <= config.position_tolerance_m and abs(error.yaw_rad) > config.angle_tolerance_rad:
            self._enter(_Phase.TURN, now_ns)
        return self._phase is not _Phase.BRAKE

    def _missed(self, error: _Error) -> _Fault:
        if error.distance_m > self._config.position_tolerance_m:
            return MotionFault.MISSED, f"missed the goal by {error.distance_m:.3f} m"
        if abs(error.yaw_rad) > self._config.angle_tolerance_rad:
            return MotionFault.MISSED, f"missed the heading by {abs(error.yaw_rad):.3f} rad"
        return _NONE

    def _end(self, state: MotionState, fault: _Fault = _NONE, error: _Error | None = None) -> MotionStep:
        self._state = state
        self.rest(self._last_ns)
        self._last = self._report(VelocityCommand(), error, fault)
        return self._last

    def _report(self, command: VelocityCommand, error: _Error | None, fault: _Fault = _NONE) -> MotionStep:
        """Return the step; without an error, what is measured is that of the last step."""
        last = replace(
            self._last,
            command=command,
            state=self._state,
            commanded_m=self._commanded_m,
            commanded_rad=self._commanded_rad,
            fault=fault[0],
            detail=fault[1],
        )
        if error is None:
            return last
        length_m = self._action.distance_m if isinstance(self._action, MoveForward) else 0.0
        angle_rad = self._action.angle_rad if isinstance(self._action, Turn) else 0.0
        return replace(
            last,
            remaining_m=error.along_m,
            remaining_rad=error.yaw_rad,
            executed_m=length_m - error.along_m,
            executed_rad=wrap_angle(angle_rad - error.yaw_rad),
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


def _braking(speed: float, most_change: float) -> float:
    """Return the way to a standstill, and to that of the longest command."""
    return speed * speed / (2 * most_change) + abs(speed) * _RESERVE_S


def _clip(value: float, limit: float) -> float:
    return min(limit, max(-limit, value))
