"""The commanded path beside the measured one: how far they may differ, and what is still to come.

A base follows its commands late. The quickest does so at once, the slowest one that is healthy after a dead time
and a first-order lag. What odometry measures must lie between the two, or it can not be trusted.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass

from vila_core.control.reasons import MotionFault
from vila_core.types import Odometry, Pose, VelocityCommand, wrap_angle

MAX_LEAD_M = 0.07  # the commanded path is never further ahead of the measured one
MAX_LEAD_RAD = math.radians(11.0)
_LAW_M = 0.095  # a difference of 10 cm or 15 degrees is not reached
_LAW_RAD = math.radians(14.5)
_DEAD_S = 0.25  # the slowest base that is healthy: 0.2 s of latency and a lag of 0.3 s, and a margin
_LAG_S = 0.35
_SLACK_M = 0.04  # noise of the pose, and
_SLACK_RAD = math.radians(5.0)
_SLACK_SHARE = 0.05  # of the path: a wheel's radius
_SLACK_TURN_SHARE = 0.1
_MAX_SIDEWAYS_M = 0.08
_LEAD_S = 0.08  # the lead may grow so that it would be used up in this time
_KEPT_NS = 1_500_000_000
_MAX_STEP_S = 0.5
_STILL_OVER_M = 0.035  # while so much is commanded one can see whether a robot moves
_STILL_OVER_RAD = math.radians(5.0)
_STILL_SHARE = 0.07  # of what was commanded: a robot that moves less stands
_HELD_SHARE = 0.5  # of it: one that had followed, and now moves less, is held by something
_FOLLOWED_M = 0.05  # after so much one can see whether a robot follows
_FOLLOWED_RAD = math.radians(8.0)
_FOLLOWED_SHARE = 0.75
_AGREE_M = 0.02  # pose and twist, over as much
_AGREE_SHARE = 0.2  # of the least path
_AGREE_RAD = math.radians(3.0)
_SURE = 3.0  # standard errors
_FEWEST = 4  # samples
_SPEED_NS = 200_000_000


@dataclass(frozen=True, slots=True)
class Path:
    """Forward metres and radians, left > 0, summed up with their signs."""

    forward_m: float = 0.0
    turned_rad: float = 0.0

    def __sub__(self, other: Path) -> Path:
        return Path(self.forward_m - other.forward_m, self.turned_rad - other.turned_rad)


@dataclass(frozen=True, slots=True)
class _Note:
    """What was commanded up to a time, and since then; quick: obeyed at once, slow: by the slowest base."""

    stamp_ns: int
    command: VelocityCommand
    quick: Path
    slow: Path
    slow_speed: VelocityCommand

    def at(self, stamp_ns: int) -> _Note:
        """Return the note of a later time, if nothing else is commanded."""
        dt_s = min(max(0, stamp_ns - self.stamp_ns) / 1e9, _MAX_STEP_S)
        quick = _further(self.quick, self.command, dt_s)
        return _Note(stamp_ns, self.command, quick, _further(self.slow, self.slow_speed, dt_s), self.slow_speed)


@dataclass(frozen=True, slots=True)
class _Sample:
    stamp_ns: int
    path: Path
    commanded: Path
    twist: VelocityCommand


class PathWatch:
    """Adds up what is commanded and what odometry measures; compares them since the motion's begin.

    Both are compared at the stamp of the odometry, so that its age does not count. One that goes on before its
    last motion has come to rest starts with what is still to come of that.
    """

    def __init__(self) -> None:
        self._notes: deque[_Note] = deque([_Note(0, VelocityCommand(), Path(), Path(), VelocityCommand())])
        self._samples: deque[_Sample] = deque()
        self._odometry: Odometry | None = None
        self._measured, self._sideways_m = Path(), 0.0
        self._begin()

    def command(self, command: VelocityCommand, now_ns: int) -> None:
        """Take the command that passes to the base from now on."""
        last = self._notes[-1]
        if now_ns < last.stamp_ns:  # a clock that was set back: nothing before is known
            self._notes.clear()
        note = last.at(now_ns)
        dt_s = min(max(0, now_ns - last.stamp_ns) / 1e9, _MAX_STEP_S)
        late = self._commanded_at(now_ns - round(_DEAD_S * 1e9))
        share = 1.0 - math.exp(-dt_s / _LAG_S)
        speed = VelocityCommand(
            last.slow_speed.linear_mps + share * (late.linear_mps - last.slow_speed.linear_mps),
            last.slow_speed.angular_rps + share * (late.angular_rps - last.slow_speed.angular_rps),
        )
        self._notes.append(_Note(now_ns, command, note.quick, _further(last.slow, speed, dt_s), speed))
        while self._notes[0].stamp_ns < now_ns - _KEPT_NS:
            self._notes.popleft()

    def measure(self, odometry: Odometry) -> None:
        """Take the next odometry; the same again is ignored, an older one begins the measurement anew."""
        before, self._odometry = self._odometry, odometry
        if before is None or odometry.stamp_ns == before.stamp_ns:
            return
        if odometry.stamp_ns < before.stamp_ns:
            self._samples.clear()
            return
        step = body_step(before.pose, odometry.pose)
        self._sideways_m += step.y_m
        self._measured = Path(self._measured.forward_m + step.x_m, self._measured.turned_rad + step.yaw_rad)
        twist = VelocityCommand(odometry.linear_mps, odometry.angular_rps)
        self._samples.append(_Sample(odometry.stamp_ns, self._measured, self._note_at(odometry.stamp_ns).quick, twist))
        self._note_following()
        while self._samples[0].stamp_ns < odometry.stamp_ns - _KEPT_NS:
            self._samples.popleft()

    def begin(self, odometry: Odometry | None = None) -> None:
        """Compare from the latest odometry on."""
        if odometry is not None:
            self.measure(odometry)
        self._begin()

    @property
    def newest(self) -> Odometry | None:
        """The latest odometry, None before the first."""
        return self._odometry

    @property
    def measured(self) -> Path:
        """What odometry measured since the begin."""
        return self._measured - self._from_measured

    @property
    def lead(self) -> Path:
        """How far the commanded path is ahead of the measured one."""
        commanded = self._now().quick - self._from.quick
        return commanded - self.measured

    def to_come(self, now_ns: int) -> Path:
        """Return what a healthy base will still drive beyond its latest odometry if it is told to stand from now on."""
        lead, then = self.lead, self._now()
        ahead, since = then.quick - then.slow, self._notes[-1].at(now_ns).quick - then.quick
        return Path(
            since.forward_m + _nearer_zero(lead.forward_m, ahead.forward_m),
            since.turned_rad + _nearer_zero(lead.turned_rad, ahead.turned_rad),
        )

    @property
    def speed(self) -> VelocityCommand:
        """How fast the robot moved in the last 0.2 s, by its poses; zero while there are too few."""
        if not self._samples:
            return VelocityCommand()
        last = self._samples[-1]
        first = next(sample for sample in self._samples if sample.stamp_ns >= last.stamp_ns - _SPEED_NS)
        dt_s, path = (last.stamp_ns - first.stamp_ns) / 1e9, last.path - first.path
        return VelocityCommand(path.forward_m / dt_s, path.turned_rad / dt_s) if dt_s else VelocityCommand()

    def limited(self, command: VelocityCommand, now_ns: int) -> VelocityCommand:
        """Return the command, slower if the base or its odometry is so late that the lead would grow too large.

        Here the age of the odometry counts: until the next message the robot is driven by nothing else.
        """
        lead = self._notes[-1].at(now_ns).quick - self._from.quick - self.measured
        linear_mps = min(command.linear_mps, max(0.0, MAX_LEAD_M - lead.forward_m) / _LEAD_S)
        sign = math.copysign(1.0, command.angular_rps)
        rate_rps = min(abs(command.angular_rps), max(0.0, MAX_LEAD_RAD - sign * lead.turned_rad) / _LEAD_S)
        return VelocityCommand(linear_mps, sign * rate_rps)

    def fault(self) -> tuple[MotionFault, str]:
        """Return why odometry can't be trusted, or that the robot stands; NONE and an empty text if all is well."""
        now, measured = self._now(), self.measured
        quick, slow = now.quick - self._from.quick, now.slow - self._from.slow
        rest = self._from.quick - self._from.slow
        off_m = abs(self._sideways_m - self._from_sideways_m)
        if off_m > _MAX_SIDEWAYS_M:
            fault = MotionFault.STALLED if self._slides() else MotionFault.ODOMETRY_CONTRADICTS
            return fault, f"it moved {off_m:.3f} m sideways, which no command told it"
        rows = (
            (quick.forward_m, slow.forward_m, measured.forward_m, rest.forward_m, _LINEAR),
            (quick.turned_rad, slow.turned_rad, measured.turned_rad, rest.turned_rad, _ANGULAR),
        )
        for commanded, late, got, still, limits in rows:
            if _is_apart(commanded, late, got, still, limits):
                text = f"commanded were {commanded:.3f} {limits.unit}, odometry measured {got:.3f} {limits.unit}"
                if abs(got) < abs(commanded) and self._is_held(limits):
                    return MotionFault.STALLED, f"the robot is held by something: {text}"
                return MotionFault.ODOMETRY_CONTRADICTS, text
        return MotionFault.NONE, ""

    def speeds(self) -> tuple[VelocityCommand, VelocityCommand]:
        """Return the lowest and the highest speeds that were commanded of late, zero among them."""
        linear = [note.command.linear_mps for note in self._notes] + [0.0]
        angular = [note.command.angular_rps for note in self._notes] + [0.0]
        return VelocityCommand(min(linear), min(angular)), VelocityCommand(max(linear), max(angular))

    def _begin(self) -> None:
        self._from = self._now()
        self._from_measured, self._from_sideways_m = self._measured, self._sideways_m
        self._samples.clear()
        self._has_followed = False

    def _now(self) -> _Note:
        """What was commanded at the stamp of the latest odometry."""
        return self._notes[-1] if self._odometry is None else self._note_at(self._odometry.stamp_ns)

    def _note_at(self, stamp_ns: int) -> _Note:
        index = bisect_left(self._notes, stamp_ns, key=_stamp)
        return self._notes[max(0, index - 1)].at(stamp_ns)

    def _commanded_at(self, stamp_ns: int) -> VelocityCommand:
        index = bisect_left(self._notes, stamp_ns, key=_stamp)
        return self._notes[index - 1].command if index else VelocityCommand()

    def _is_held(self, limits: _Limits) -> bool:
        """True if pose and twist agree that the robot stands, or moves less than before, whatever is commanded."""
        if not self._samples:
            return True
        recent, share = self._recent(), _HELD_SHARE if self._has_followed else _STILL_SHARE
        if limits is _LINEAR:
            pairs = [(sample.commanded.forward_m, sample.path.forward_m) for sample in recent]
        else:
            pairs = [(sample.commanded.turned_rad, sample.path.turned_rad) for sample in recent]
        return not _follows(pairs, share, limits.visible) and _agrees(recent)

    def _slides(self) -> bool:
        """True if it gets less far than commanded by pose and twist, though it had followed: along a wall."""
        lead_m = self.lead.forward_m
        return lead_m > _AGREE_M and self._has_followed and _agrees(self._recent())

    def _note_following(self) -> None:
        told, got = self._now().quick - self._from.quick, self.measured
        self._has_followed |= _is_most(told.forward_m, got.forward_m, _FOLLOWED_M)
        self._has_followed |= _is_most(told.turned_rad, got.turned_rad, _FOLLOWED_RAD)

    def _recent(self) -> list[_Sample]:
        """Return the samples over which enough was commanded to see a robot move, the newest first."""
        newest, recent = self._samples[-1], list[_Sample]()
        for sample in reversed(self._samples):
            told = newest.commanded - sample.commanded
            is_enough = abs(told.forward_m) > _STILL_OVER_M or abs(told.turned_rad) > _STILL_OVER_RAD
            if is_enough and len(recent) >= _FEWEST:
                break
            recent.append(sample)
        return recent


def _is_most(told: float, got: float, least: float) -> bool:
    """Return True if a path of the size to judge by was driven as told."""
    if abs(told) < least or told * got < 0:
        return False
    return _FOLLOWED_SHARE * abs(told) <= abs(got) + _AGREE_SHARE * least and abs(got) <= abs(told) / _FOLLOWED_SHARE


def _agrees(recent: list[_Sample]) -> bool:
    """Return True if the poses moved as far as the twists say; the newest is the first."""
    moved, dt_s = recent[0].path - recent[-1].path, (recent[0].stamp_ns - recent[-1].stamp_ns) / 1e9
    told_m = dt_s * sum(sample.twist.linear_mps for sample in recent) / len(recent)
    told_rad = dt_s * sum(sample.twist.angular_rps for sample in recent) / len(recent)
    return abs(moved.forward_m - told_m) < _AGREE_M and abs(moved.turned_rad - told_rad) < _AGREE_RAD


def _follows(pairs: list[tuple[float, float]], share: float, least: float) -> bool:
    """Return True if at least a share of what was commanded was measured, by a line through both and its error.

    least: less than so much commanded tells nothing.
    """
    count, told = len(pairs), [x for x, _ in pairs]
    mean_x, mean_y = sum(told) / count, sum(y for _, y in pairs) / count
    spread = sum((x - mean_x) ** 2 for x in told)
    if count < 3 or max(told) - min(told) < least:
        return False
    slope = sum((x - mean_x) * (y - mean_y) for x, y in pairs) / spread
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in pairs)
    error = math.sqrt(rest / (count - 2) / spread)
    return abs(slope) > max(share, _SURE * error)


def body_step(before: Pose, after: Pose) -> Pose:
    """Return the motion between two poses, seen from a robot half way between them."""
    yaw_rad = wrap_angle(after.yaw_rad - before.yaw_rad)
    middle_rad = before.yaw_rad + yaw_rad / 2
    dx, dy = after.x_m - before.x_m, after.y_m - before.y_m
    cos, sin = math.cos(middle_rad), math.sin(middle_rad)
    return Pose(dx * cos + dy * sin, dy * cos - dx * sin, yaw_rad)


@dataclass(frozen=True, slots=True)
class _Limits:
    unit: str
    slack: float
    share: float
    law: float
    visible: float  # commanded of late: less tells nothing about whether the robot follows


_LINEAR = _Limits("m", _SLACK_M, _SLACK_SHARE, _LAW_M, _STILL_OVER_M / 2)
_ANGULAR = _Limits("rad", _SLACK_RAD, _SLACK_TURN_SHARE, _LAW_RAD, _STILL_OVER_RAD / 2)


def _is_apart(quick: float, slow: float, got: float, rest: float, limits: _Limits) -> bool:
    """Return True if no healthy base measures so much; rest: what was still to come when the motion began."""
    slack = limits.slack + limits.share * abs(quick)
    outside = max(min(quick, slow) - got, got - max(quick, slow))
    beyond = max(quick - got + min(0.0, rest), got - quick - max(0.0, rest))
    return outside > slack or beyond > limits.law


def _further(path: Path, speed: VelocityCommand, dt_s: float) -> Path:
    return Path(path.forward_m + speed.linear_mps * dt_s, path.turned_rad + speed.angular_rps * dt_s)


def _nearer_zero(a: float, b: float) -> float:
    return 0.0 if a * b <= 0 else math.copysign(min(abs(a), abs(b)), a)


def _stamp(note: _Note) -> int:
    return note.stamp_ns
