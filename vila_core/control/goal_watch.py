"""A motion that somebody else drives, to a goal pose: followed by odometry alone, from its begin to its end.

Who drives is not asked: whoever follows a pose, or Nav2. What is measured is what counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from vila_core.config import ControlConfig, check_fields
from vila_core.control.decision_timing import HALF
from vila_core.control.limits import action_refusal
from vila_core.control.motion.goal import GoalError, MotionGoal
from vila_core.control.odometry_watch import BOTH_NS, OdometryWatch, Source
from vila_core.control.pose_buffer import PoseBuffer
from vila_core.control.reasons import MotionFault
from vila_core.control.watchdog import Doubt, decision_refusal
from vila_core.fields import Bounds
from vila_core.types import Action, Odometry, Pose, VelocityCommand, wrap_angle

_NOT_COMMANDED = VelocityCommand()  # by us: then odometry may be as quick as any robot


@dataclass(frozen=True, slots=True)
class GoalConfig:
    """When a robot that is sent to goal poses has come, and when it is given up; all are above 0."""

    # a motion that takes longer is aborted
    motion_timeout_s: Annotated[float, Bounds(above=0, most=3600)] = 30.0
    # a robot that is so far from the straight way to its goal has its motion aborted
    max_detour_m: Annotated[float, Bounds(above=0, most=100)] = 1.0
    # a robot that stands so long before its goal is stuck; with goal_pose alone
    stall_timeout_s: Annotated[float, Bounds(above=0, most=600)] = 5.0
    # a robot that stands so near to its goal has come; with goal_pose alone
    position_tolerance_m: Annotated[float, Bounds(above=0, most=10)] = 0.25
    # a robot that is turned so near to its goal has come; with goal_pose alone
    angle_tolerance_rad: Annotated[float, Bounds(above=0, most=3.2)] = 0.25

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class GoalStep:
    """How a motion stands: what odometry measured of it, where its goal is now, and why it must end if it must.

    share_done: 0 at its begin, 1 at its goal. stands: the robot has stood for a moment. is_near: it is within the
    tolerances, and half of the motion is behind it. stood_s: how long it has stood without a pause.
    """

    executed_m: float
    executed_rad: float
    share_done: float
    error: GoalError
    stands: bool
    is_near: bool
    stood_s: float
    doubt: Doubt | None


class GoalWatch:
    """Knows odometry, and the motion that runs; times of receipt are on the steady clock. Not thread-safe.

    limits: the largest action, the oldest decision and the longest silence of odometry.
    """

    def __init__(self, config: GoalConfig, limits: ControlConfig) -> None:
        self._config, self._limits = config, limits
        self._poses, self._odometry_watch = PoseBuffer(), OdometryWatch()
        self._received_ns: int | None = None
        self._speaks = b""  # the publisher that is believed
        self._goal: MotionGoal | None = None
        self._begun_ns = self._moved_ns = 0
        self._broken: Doubt | None = None  # odometry, since the motion began

    @property
    def newest(self) -> Odometry | None:
        """The latest odometry, None if there is none."""
        return self._poses.newest

    def note(self, odometry: Odometry, source: Source, steady_ns: int) -> bool:
        """Take the next odometry; one that can't be this robot's ends the motion, see `step`.

        Returns False for one that does not count: while two publishers speak, where the robot is the first one says.
        """
        broken = self._odometry_watch.note(odometry, source, _NOT_COMMANDED, _NOT_COMMANDED, steady_ns)
        if broken is not None:
            self._broken = Doubt(broken.fault, broken.detail)
        heard_ns = self._received_ns
        if heard_ns is not None and source.publisher != self._speaks and steady_ns - heard_ns < BOTH_NS:
            return False
        self._speaks = source.publisher
        if broken is not None:
            self._poses.clear()
        self._poses.add(odometry)
        self._received_ns = steady_ns
        return True

    def note_bad(self, detail: str, stamp_ns: int) -> None:
        """Take a message whose numbers are not finite."""
        broken = self._odometry_watch.note_bad(detail, stamp_ns)
        self._broken = Doubt(broken.fault, broken.detail)

    def begin(self, action: Action, stamp_ns: int, *, now_ns: int, steady_ns: int, max_future_s: float) -> Doubt | None:
        """Begin the motion of an action where its image was taken; return why it may not begin, or None.

        stamp_ns: of the image, on the clock of now_ns.
        """
        self._goal = None
        refusal = action_refusal(action, self._limits)
        doubt = (
            (Doubt(MotionFault.BAD_ACTION, refusal) if refusal else None)
            or decision_refusal(stamp_ns, now_ns, self._limits, max_future_s)
            or self._silence(steady_ns)
            or self._break_since(stamp_ns)
        )
        if doubt is not None:
            return doubt
        try:
            self._goal = MotionGoal(action, self._poses.at(stamp_ns))
        except LookupError as err:
            is_late = self._poses.begins_after(stamp_ns)
            fault = MotionFault.LATE if is_late else MotionFault.ODOMETRY_SILENT
            return Doubt(fault, f"no pose for the image's stamp: {err}")
        self._begun_ns = self._moved_ns = steady_ns
        self._broken = None
        return None

    @property
    def goal_pose(self) -> Pose:
        """Where the motion leads, in odometry's frame. Raises ValueError if none was begun."""
        if self._goal is None:
            raise ValueError("no motion was begun")
        return self._goal.anchor.advanced(self._goal.distance_m).turned(self._goal.angle_rad)

    def step(self, steady_ns: int) -> GoalStep:
        """Return how the motion stands. Raises ValueError if none was begun."""
        newest = self._poses.newest
        if self._goal is None or newest is None:
            raise ValueError("no motion was begun")
        goal, pose, stands = self._goal, newest.pose, self._poses.stands
        if not stands:
            self._moved_ns = steady_ns
        error, turned_rad = goal.error(pose), wrap_angle(pose.yaw_rad - goal.anchor.yaw_rad)
        share = goal.share_done(error)
        is_line = goal.is_line
        return GoalStep(
            executed_m=goal.distance_m - error.along_m if is_line else goal.anchor.distance_m(pose),
            executed_rad=turned_rad if is_line else goal.angle_rad - error.yaw_rad,
            share_done=share,
            error=error,
            stands=stands,
            is_near=share >= HALF and self._is_within_tolerance(error, is_line=is_line),
            stood_s=(steady_ns - self._moved_ns) / 1e9 if stands else 0.0,
            doubt=self._broken or self._silence(steady_ns) or self._detour(pose) or self._overtime(steady_ns),
        )

    def _is_within_tolerance(self, error: GoalError, *, is_line: bool) -> bool:
        if is_line:
            return error.distance_m <= self._config.position_tolerance_m
        return abs(error.yaw_rad) <= self._config.angle_tolerance_rad

    def _silence(self, steady_ns: int) -> Doubt | None:
        if self._received_ns is None:
            return Doubt(MotionFault.ODOMETRY_SILENT, "no odometry yet")
        silent_s, limit_s = (steady_ns - self._received_ns) / 1e9, self._limits.odometry_timeout_s
        if silent_s <= limit_s:
            return None
        return Doubt(MotionFault.ODOMETRY_SILENT, f"no odometry for {silent_s:.2f} s, limit {limit_s} s")

    def _break_since(self, stamp_ns: int) -> Doubt | None:
        if bad := self._odometry_watch.bad:
            return Doubt(bad.fault, bad.detail)
        broken = self._odometry_watch.since(stamp_ns)
        return None if broken is None else Doubt(broken.fault, f"since the image was taken: {broken.detail}")

    def _detour(self, pose: Pose) -> Doubt | None:
        assert self._goal is not None
        off_m, limit_m = _distance_m(self._goal, pose), self._config.max_detour_m
        if off_m <= limit_m:
            return None
        return Doubt(MotionFault.TOO_FAR, f"the robot is {off_m:.2f} m off the straight way, limit {limit_m:g} m")

    def _overtime(self, steady_ns: int) -> Doubt | None:
        took_s, limit_s = (steady_ns - self._begun_ns) / 1e9, self._config.motion_timeout_s
        if took_s <= limit_s:
            return None
        return Doubt(MotionFault.TOO_LONG, f"the motion is not over after {took_s:.1f} s, limit {limit_s:g} s")


def _distance_m(goal: MotionGoal, pose: Pose) -> float:
    """How far a pose is from the straight way between the motion's begin and its goal."""
    error = goal.error(pose)
    if not goal.is_line:
        return goal.anchor.distance_m(pose)
    beyond_m = max(0.0, -error.along_m, error.along_m - goal.distance_m)
    return math.hypot(beyond_m, error.lateral_m)
