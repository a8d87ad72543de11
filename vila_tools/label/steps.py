"""From a track of odometry to the actions of the grammar: units of 25 cm and 15 degrees, then up to three as one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from vila_core.actions.grammar import ACTIONS, FORWARD_CM, TURN_DEGREES, action_index, forward_cm, turn_degrees
from vila_core.control.limits import STILL_MPS, STILL_RPS
from vila_core.types import Action, MoveForward, Pose, Stop, Turn, wrap_angle

FORWARD_M, TURN_RAD = FORWARD_CM[0] / 100, math.radians(TURN_DEGREES[0])
MERGED = 3  # units that are one action at most, as NaVILA's annotations have them
DONE_SHARE = 0.8  # of a unit, that counts as the whole: a robot that is told 25 cm may measure 24
STOP_S = 1.0  # of standing at the end, that say that the robot has stopped
GAP_S, JUMP_MPS, JUMP_RPS = 1.0, 3.0, 6.0

BACKWARDS, SIDEWAYS = "the robot drives backwards", "the robot drives sideways"
GAP, JUMP = "odometry has a gap", "odometry jumps"


@dataclass(frozen=True, slots=True)
class TimedPose:
    """Where the robot was, and when."""

    time_ns: int
    pose: Pose


@dataclass(frozen=True, slots=True)
class UnitStep:
    """25 cm or 15 degrees. action: None for what no sentence says, and then why.

    start_ns: the last moment before it, at which it was decided. end_ns: when it was done.
    """

    action: Action | None
    start_ns: int
    end_ns: int
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Track:
    """A drive in units.

    stopped: whether the robot stands at its end. fault: why the rest of the drive was left out, "" if nothing was.
    rest_m, rest_rad: what was driven besides, less than a unit. end_ns: the last moment that is known.
    """

    units: tuple[UnitStep, ...]
    stopped: bool
    fault: str
    rest_m: float
    rest_rad: float
    end_ns: int


@dataclass(slots=True)
class _Driven:
    """What was driven since the last unit."""

    forward_m: float = 0.0
    left_m: float = 0.0
    turn_rad: float = 0.0

    def add(self, before: Pose, after: Pose) -> None:
        """Add a piece of the way, along the heading in its middle."""
        turned = wrap_angle(after.yaw_rad - before.yaw_rad)
        heading = before.yaw_rad + turned / 2
        dx, dy = after.x_m - before.x_m, after.y_m - before.y_m
        self.forward_m += dx * math.cos(heading) + dy * math.sin(heading)
        self.left_m += dy * math.cos(heading) - dx * math.sin(heading)
        self.turn_rad += turned

    def take(self) -> tuple[Action | None, str] | None:
        """Return the unit that is done, if one is, and count on from there."""
        if abs(self.turn_rad) >= DONE_SHARE * TURN_RAD:
            side = 1 if self.turn_rad > 0 else -1
            self.turn_rad -= side * TURN_RAD
            return turn_degrees(side * TURN_DEGREES[0]), ""
        if self.forward_m >= DONE_SHARE * FORWARD_M:
            self.forward_m -= FORWARD_M
            return forward_cm(FORWARD_CM[0]), ""
        if self.forward_m <= -DONE_SHARE * FORWARD_M:
            self.forward_m += FORWARD_M
            return None, BACKWARDS
        if abs(self.left_m) >= DONE_SHARE * FORWARD_M:
            self.left_m -= math.copysign(FORWARD_M, self.left_m)
            return None, SIDEWAYS
        return None


@dataclass(slots=True)
class _Walk:
    """A track as it grows."""

    units: list[UnitStep] = field(default_factory=list)
    driven: _Driven = field(default_factory=_Driven)
    decided_ns: int = 0
    moved_ns: int = 0  # when the robot last moved

    def go(self, before: TimedPose, after: TimedPose) -> None:
        """Take a piece of the way."""
        if is_still(before, after):
            self.decided_ns = after.time_ns  # it stands: whatever comes is decided later
        else:
            self.moved_ns = after.time_ns
        self.driven.add(before.pose, after.pose)
        while (done := self.driven.take()) is not None:
            action, fault = done
            self.units.append(UnitStep(action, self.decided_ns, after.time_ns, fault))
            self.decided_ns = after.time_ns


def unit_track(poses: Sequence[TimedPose], *, has_stopped: bool = False) -> Track:
    """Cut a drive into units, up to its end or to where odometry cannot be followed.

    Forward and turned are counted apart, so that an arc becomes both, in the order in which each is done; nothing adds
    up, for what is over is carried on. has_stopped: it is known that the robot stopped at the end. Raises ValueError
    without poses.
    """
    if not poses:
        raise ValueError("a track needs at least one pose")
    walk = _Walk(decided_ns=poses[0].time_ns, moved_ns=poses[0].time_ns)
    last, fault = poses[0], ""
    for after in poses[1:]:
        if after.time_ns <= last.time_ns:
            continue
        fault = _fault(last, after)
        if fault:
            break
        walk.go(last, after)
        last = after
    stands = has_stopped or last.time_ns - walk.moved_ns >= STOP_S * 1e9
    rest = walk.driven
    return Track(tuple(walk.units), stands and not fault, fault, rest.forward_m, rest.turn_rad, last.time_ns)


def is_still(before: TimedPose, after: TimedPose) -> bool:
    """Whether the robot stood between the two."""
    seconds = (after.time_ns - before.time_ns) / 1e9
    turned = abs(wrap_angle(after.pose.yaw_rad - before.pose.yaw_rad))
    return before.pose.distance_m(after.pose) < STILL_MPS * seconds and turned < STILL_RPS * seconds


def _fault(before: TimedPose, after: TimedPose) -> str:
    seconds = (after.time_ns - before.time_ns) / 1e9
    if seconds > GAP_S:
        return GAP
    turned = abs(wrap_angle(after.pose.yaw_rad - before.pose.yaw_rad))
    least = max(seconds, 0.1)  # two messages close to each other may be of one moment
    if before.pose.distance_m(after.pose) > JUMP_MPS * least or turned > JUMP_RPS * least:
        return JUMP
    return ""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision. frames: how many units had been done before it. action: None if no sentence says it; fault: why."""

    frames: int
    action: Action | None
    fault: str = ""


def decisions(track: Track) -> Iterator[Decided]:
    """Yield what was decided along a track: runs of the same unit three at a time, and to stop at the end."""
    number = 0
    while number < len(track.units):
        count = _same(track.units[number : number + MERGED])
        unit = track.units[number]
        yield Decided(number, None if unit.action is None else merged(unit.action, count), unit.fault)
        number += count
    if track.stopped:
        yield Decided(number, Stop())


def _same(units: Iterable[UnitStep]) -> int:
    """How many of the units are like the first."""
    first, count = None, 0
    for unit in units:
        key = None if unit.action is None else action_index(unit.action)
        if count and (key is None or key != first):
            break
        first, count = key, count + 1
    return count


def merged(unit: Action, count: int) -> Action:
    """Return the action of the grammar that is so many units, 1 to 3."""
    if isinstance(unit, Turn):
        return ACTIONS[action_index(Turn(unit.angle_rad * count))]
    assert isinstance(unit, MoveForward)
    return ACTIONS[action_index(MoveForward(unit.distance_m * count))]
