"""Action + odometry -> velocity: closed loop, anchored where the image was taken.

A forward action is a line from the anchor pose: the robot returns to the line, drives to its
end and takes up the line's heading again. A turn is a goal for the yaw. The goal never moves
with the robot, so a blocked robot gathers no phantom displacement. What odometry says is believed as far as it
agrees with the commands, see path_watch; and the commands of an action are bounded in path and time without it.
"""

from __future__ import annotations

import enum
import math
from dataclasses import replace

from vila_core.config import ControlConfig
from vila_core.control.limits import MAX_FUTURE_S, action_refusal, limit_velocity, slowest
from vila_core.control.motion.bounds import MotionBounds
from vila_core.control.motion.goal import GoalError, MotionGoal
from vila_core.control.motion.pace import MotionPace
from vila_core.control.motion.profile import drive_velocity, turn_velocity
from vila_core.control.motion.stall import StallWatch
from vila_core.control.motion.step import MotionState, MotionStep
from vila_core.control.path_watch import PathWatch
from vila_core.control.reasons import MotionFault
from vila_core.fields import now_in_force
from vila_core.types import Action, Odometry, Pose, Stop, VelocityCommand, wrap_angle

_MAX_LATERAL_M = 0.3  # further from the line, the motion is given up
_LATENESS_KEPT = 0.95  # each step: of a late one half is remembered after 14
_FINE = 1 / 10  # driving and turning end at this share of the tolerance
_HELD_PATIENCE = 2.0  # times the stall timeout, while a governor slows or holds the robot: what is in the way may leave
_REST_MPS = 0.06  # a robot that is slower comes to rest within its tolerance
_REST_RPS = math.radians(6.0)
_REST_S = 1.0  # a base stands so long after its last command
_REST_M = 0.01  # less than this is still to come from a base that stands
_REST_RAD = math.radians(1.0)


_Fault = tuple[MotionFault, str]
_NONE: _Fault = (MotionFault.NONE, "")


class _Phase(enum.Enum):
    DRIVE = enum.auto()  # along the line
    TURN = enum.auto()  # to the goal's yaw
    BRAKE = enum.auto()  # to a standstill


class MotionController:
    """Executes one action at a time; call `step` at a steady 10 Hz or more.

    path: what was commanded and what odometry measured; give it each odometry message.

    The last command is remembered across motions, so a motion that replaces a running one
    keeps to the acceleration limits too. An abort, and Stop, command zero at once.
    """

    def __init__(self, config: ControlConfig) -> None:
        self._config = self._next_config = config
        self._state = MotionState.IDLE
        self._phase = _Phase.BRAKE
        self._goal = MotionGoal(Stop(), Pose())
        self._bounds = MotionBounds(config)
        self._stall = StallWatch(config)
        self._last = MotionStep(VelocityCommand(), MotionState.IDLE)
        self._last_ns, self._braking_ns, self._held_s = 0, 0, 0.0  # the longest time a command lasted of late
        self._is_governed = self._is_replacing = False
        self._pace = MotionPace()
        self._passed, self._passed_ns = VelocityCommand(), 0
        self.path = PathWatch()

    @property
    def last(self) -> MotionStep:
        """What the latest step said."""
        return self._last

    @property
    def state(self) -> MotionState:
        """How far the latest motion is."""
        return self._state

    def reconfigure(self, config: ControlConfig) -> None:
        """Take another configuration. What was declared to count from the next action on waits for it."""
        self._next_config = config
        self._use(now_in_force(self._config, config) if self._state is MotionState.RUNNING else config)

    def pass_on(self, command: VelocityCommand, now_ns: int) -> None:
        """Take what a governor lets pass to the base from now on; without a governor every command passes."""
        self._is_governed = True
        self._note_passed(command, now_ns)

    def rest(self, now_ns: int) -> None:
        """Note that nothing is commanded now."""
        if not self._is_governed:
            self._note_passed(VelocityCommand(), now_ns)

    def start(self, action: Action, anchor: Pose, now_ns: int, pace: MotionPace | None = None) -> None:
        """Begin the action at the pose that the robot had when its image was taken; Stop stops.

        pace: of its second half. A running motion is replaced without a stop between; the robot may have passed the
        goal since the image, which then ends the motion there and is no miss.

        Raises ValueError, and stands still, if the action or the anchor is not finite, or if the
        action is not above zero or larger than the configuration allows.
        """
        self._use(self._next_config)
        self._bounds.reset()
        refusal = action_refusal(action, self._config)
        refusal = refusal or ("" if _is_finite(anchor) else f"the anchor is not finite: {anchor}")
        if refusal:
            self._end(MotionState.ABORTED, (MotionFault.BAD_ACTION, refusal))
            raise ValueError(refusal)
        if isinstance(action, Stop):
            self._end(MotionState.IDLE)
            return
        self._is_replacing, self._pace = self._state is MotionState.RUNNING, pace or MotionPace()
        self._goal = MotionGoal(action, anchor)
        self._state, self._last_ns, self._passed_ns = MotionState.RUNNING, now_ns, now_ns
        self._last = MotionStep(self._last.command, self._state)
        self._bounds.begin(action, self._last.command, now_ns, self._turned_rad() if self._is_replacing else 0.0)
        self.path.begin()
        self._enter(_Phase.DRIVE if self._goal.is_line else _Phase.TURN, now_ns)

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
        error = self._goal.error(odometry.pose)
        fault = self._bounds.overtime(now_ns)
        if not fault[0] and self._phase is not _Phase.BRAKE:
            fault = self._bounds.used_up(self.path, self._is_driving, now_ns)
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

    def _use(self, config: ControlConfig) -> None:
        self._config = config
        self._bounds.reconfigure(config)
        self._stall.reconfigure(config)

    @property
    def _is_driving(self) -> bool:
        """True along the line, False while it turns or brakes."""
        return self._phase is _Phase.DRIVE

    def _turned_rad(self) -> float:
        """Return how far the robot has turned since the image of its action."""
        return 0.0 if (newest := self.path.newest) is None else self._goal.turned_rad(newest.pose)

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
            self._bounds.add(self._passed, max(0, now_ns - self._passed_ns) / 1e9)
        self._passed, self._passed_ns = command, now_ns
        self.path.command(command, now_ns)

    def _advance(self, error: GoalError, now_ns: int, speed_share: float) -> _Fault:
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
        stalled_s = self._stall.update(error, self._is_driving, now_ns)
        patience = 1.0 if speed_share == 1.0 else _HELD_PATIENCE
        if self._phase is not _Phase.BRAKE and stalled_s > patience * self._config.stall_timeout_s:
            rest = f"{error.along_m:.3f} m and {error.yaw_rad:.3f} rad remain"
            return MotionFault.STALLED, f"no progress for {stalled_s:.2f} s, {rest}"
        return _NONE

    def _foreseen(self, error: GoalError, now_ns: int) -> GoalError:
        """Return the error of a robot that has come to rest from what it was told so far."""
        to_come = self.path.to_come(now_ns)
        along_m = error.along_m - to_come.forward_m if self._goal.is_line else 0.0
        return GoalError(along_m, error.lateral_m, wrap_angle(error.yaw_rad - to_come.turned_rad))

    def _enter(self, phase: _Phase, now_ns: int) -> None:
        self._phase, self._braking_ns = phase, now_ns
        self._stall.begin(now_ns)

    def _is_driven(self, error: GoalError, now_ns: int) -> bool:
        tolerance_m = self._config.position_tolerance_m
        settled = error.distance_m <= tolerance_m and self._stall.has_settled(now_ns)
        return settled or error.along_m <= tolerance_m * _FINE

    def _is_turned(self, error: GoalError, now_ns: int) -> bool:
        tolerance_rad = self._config.angle_tolerance_rad
        settled = abs(error.yaw_rad) <= tolerance_rad and self._stall.has_settled(now_ns)
        return settled or abs(error.yaw_rad) <= tolerance_rad * _FINE

    def _wanted(self, error: GoalError, now_ns: int) -> VelocityCommand:
        if self._phase is _Phase.BRAKE:
            return VelocityCommand()
        ahead = self._foreseen(error, now_ns)
        wanted = (drive_velocity if self._is_driving else turn_velocity)(ahead, self._config, self._held_s)
        if self._is_driving is not self._goal.is_line:  # it takes up the line's heading at its end
            return wanted
        left = ahead.along_m if self._is_driving else ahead.yaw_rad
        done, least = self._goal.share_done(error), slowest(self._config)
        return self._pace.limited(wanted, done=done, left=left, least=least, now_ns=now_ns)

    def _bounded(self, wanted: VelocityCommand, now_ns: int) -> VelocityCommand:
        """Return the command within all limits: speed, acceleration, the base's lateness, and the path that is left."""
        dt_s = (now_ns - self._last_ns) / 1e9
        self._last_ns, self._held_s = now_ns, max(dt_s, _LATENESS_KEPT * self._held_s)
        command = self.path.limited(limit_velocity(wanted, self._last.command, dt_s, self._config), now_ns)
        return self._bounds.limited(command)

    def _is_at_rest(self, command: VelocityCommand, now_ns: int) -> bool:
        """True once the base has obeyed the last command, as far as odometry can tell."""
        if self._phase is not _Phase.BRAKE or not command.is_zero:
            return False
        to_come, speed = self.path.to_come(now_ns), self.path.speed
        is_slow = abs(speed.linear_mps) < _REST_MPS and abs(speed.angular_rps) < _REST_RPS
        has_obeyed = abs(to_come.forward_m) < _REST_M and abs(to_come.turned_rad) < _REST_RAD
        return (is_slow and has_obeyed) or (now_ns - self._braking_ns) / 1e9 > _REST_S

    def _resumes(self, error: GoalError, now_ns: int) -> bool:
        """Return True if the base came to rest short of the goal, and go on: less was still to come than foreseen."""
        config = self._config
        if self._goal.is_line and error.along_m > config.position_tolerance_m:
            self._enter(_Phase.DRIVE, now_ns)
        elif error.distance_m <= config.position_tolerance_m and abs(error.yaw_rad) > config.angle_tolerance_rad:
            self._enter(_Phase.TURN, now_ns)
        return self._phase is not _Phase.BRAKE

    def _missed(self, error: GoalError) -> _Fault:
        if self._is_replacing and self._goal.is_line and error.along_m < -self._config.position_tolerance_m:
            return _NONE  # it stands past its goal, on a way that the action before allowed
        if error.distance_m > self._config.position_tolerance_m:
            return MotionFault.MISSED, f"missed the goal by {error.distance_m:.3f} m"
        if abs(error.yaw_rad) > self._config.angle_tolerance_rad:
            return MotionFault.MISSED, f"missed the heading by {abs(error.yaw_rad):.3f} rad"
        return _NONE

    def _end(self, state: MotionState, fault: _Fault = _NONE, error: GoalError | None = None) -> MotionStep:
        self._state = state
        self.rest(self._last_ns)
        self._last = self._report(VelocityCommand(), error, fault)
        return self._last

    def _report(self, command: VelocityCommand, error: GoalError | None, fault: _Fault = _NONE) -> MotionStep:
        """Return the step; without an error, what is measured is that of the last step."""
        last = replace(
            self._last,
            command=command,
            state=self._state,
            commanded_m=self._bounds.commanded.forward_m,
            commanded_rad=self._bounds.commanded.turned_rad,
            fault=fault[0],
            detail=fault[1],
        )
        if error is None:
            return last
        return replace(
            last,
            remaining_m=error.along_m,
            remaining_rad=error.yaw_rad,
            executed_m=self._goal.distance_m - error.along_m,
            executed_rad=wrap_angle(self._goal.angle_rad - error.yaw_rad),
        )


def _is_finite(pose: Pose) -> bool:
    return all(map(math.isfinite, (pose.x_m, pose.y_m, pose.yaw_rad)))
