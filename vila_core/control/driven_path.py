"""Where the robot has been, and when: the path by odometry, bounded however long it drives."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from vila_core.control.limits import STILL_MPS, STILL_RPS
from vila_core.control.standstill import Standstill
from vila_core.errors import WayError
from vila_core.types import MAX_REORDER_NS, Odometry, Pose, wrap_angle

CAPACITY = 4096  # places: 800 m of new ground, several times that once the older half is thinned out
SPACING_M, SPACING_RAD = 0.2, math.radians(15.0)
_REST_M, _REST_RAD = 0.05, math.radians(5.0)  # between a place where the robot came to rest and the one before
_FASTEST_MPS, _FASTEST_RPS = 3.75, 7.5  # a quarter above what may be set at most
_JUMP_M, _JUMP_RAD = 0.1, math.radians(10.0)  # beyond that speed
_SILENT_S = 1.0  # what is driven while odometry is silent for longer is not known,
_UNKNOWN_M = 0.3  # unless it is so short
_EDGE_NS = 500_000_000  # a time may lie so far outside of what is remembered
_STRAIGHT_M = 0.05  # a place that is thinned out lies so near to the line between its neighbours
_LONGEST_M = 1.0  # between two places that are left


@dataclass(frozen=True, slots=True)
class Place:
    """Where the robot was, from a time on until it was at the next place.

    stretch: two places in a row have the same number if what lies between them was driven for all that is known.
    """

    pose: Pose
    since_ns: int
    stretch: int


class DrivenPath:
    """One place per 0.2 m or 15 degrees of motion, and where the robot came to rest. Not thread-safe.

    When full, the older half is thinned out along straight lines: the ground that was driven stays, to 0.15 m, but its
    times and headings get as coarse as a metre of way. What still does not fit is forgotten, the oldest first.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._places: list[Place] = []
        self._newest: Odometry | None = None
        self._frame, self._stretch = "", 0
        self._standstill = Standstill(STILL_MPS, STILL_RPS)

    @property
    def places(self) -> tuple[Place, ...]:
        """All places, oldest first."""
        return tuple(self._places)

    def __len__(self) -> int:
        """Return how many places are remembered."""
        return len(self._places)

    def add(self, odometry: Odometry, frame: str = "odom") -> None:
        """Take the next odometry, of a frame of that name.

        All is forgotten if it can't be of one piece with what came before: another frame, a stamp that goes back by
        more than MAX_REORDER_NS, a step that no robot makes. One that came a little late is ignored.
        """
        newest = self._newest
        if newest is not None and 0 <= newest.stamp_ns - odometry.stamp_ns <= MAX_REORDER_NS:
            return
        if newest is not None and (frame != self._frame or _is_jump(newest, odometry)):
            self.forget()
            newest = None
        if newest is not None and _is_unknown(newest, odometry):
            self._stretch += 1
        self._newest, self._frame = odometry, frame
        self._standstill.note(odometry, odometry.stamp_ns)
        if self._is_new(odometry.pose):
            self._places.append(Place(odometry.pose, odometry.stamp_ns, self._stretch))
            if len(self._places) > self._capacity:
                self._shorten()

    def forget(self) -> None:
        """Forget everything."""
        self._places.clear()
        self._newest, self._stretch = None, 0
        self._standstill = Standstill(STILL_MPS, STILL_RPS)

    def at(self, stamp_ns: int) -> Place:
        """Return where the robot was at a time. Raises WayError, a LookupError, for one that is not remembered."""
        if self._newest is None:
            raise WayError("no place is remembered yet: there was no odometry")
        first_ns, last_ns = self._places[0].since_ns, self._newest.stamp_ns
        if not first_ns - _EDGE_NS <= stamp_ns <= last_ns + _EDGE_NS:
            raise WayError(
                f"where the robot was at {_seconds(stamp_ns)} s is not remembered, only from {_seconds(first_ns)} to "
                f"{_seconds(last_ns)} s"
            )
        return self._places[max(0, bisect.bisect_right(self._places, stamp_ns, key=_since) - 1)]

    def _is_new(self, pose: Pose) -> bool:
        if not self._places:
            return True
        last, is_still = self._places[-1].pose, self._standstill.is_still
        least_m, least_rad = (_REST_M, _REST_RAD) if is_still else (SPACING_M, SPACING_RAD)
        return pose.is_apart(last, least_m, least_rad)

    def _shorten(self) -> None:
        half = len(self._places) // 2
        older = _thinned(self._places[:half])
        if len(older) > half * 3 // 4:
            older = older[half // 4 :]
        self._places[:half] = older


def _thinned(places: Sequence[Place]) -> list[Place]:
    """Leave out places that lie on the line between their neighbours, never two in a row."""
    kept = [places[0]]
    may_go = True
    for place, after in itertools.pairwise(places[1:]):
        may_go = may_go and _is_between(place, kept[-1], after)
        if not may_go:
            kept.append(place)
        may_go = not may_go
    return [*kept, places[-1]]


def _is_between(place: Place, before: Place, after: Place) -> bool:
    if not before.stretch == place.stretch == after.stretch or before.pose.distance_m(after.pose) > _LONGEST_M:
        return False
    return distance_to_line_m(place.pose, before.pose, after.pose) <= _STRAIGHT_M


def distance_to_line_m(pose: Pose, begin: Pose, end: Pose) -> float:
    """Return how far a pose is from the straight line between two others."""
    dx, dy = end.x_m - begin.x_m, end.y_m - begin.y_m
    along = (pose.x_m - begin.x_m) * dx + (pose.y_m - begin.y_m) * dy
    length2 = dx * dx + dy * dy
    share = min(1.0, max(0.0, along / length2)) if length2 > 0.0 else 0.0
    return math.hypot(begin.x_m + share * dx - pose.x_m, begin.y_m + share * dy - pose.y_m)


def _is_jump(before: Odometry, after: Odometry) -> bool:
    """Return True for a stamp that went back, or a step that no robot makes."""
    dt_s = (after.stamp_ns - before.stamp_ns) / 1e9
    turned_rad = abs(wrap_angle(after.pose.yaw_rad - before.pose.yaw_rad))
    is_far = after.pose.distance_m(before.pose) > _JUMP_M + _FASTEST_MPS * dt_s
    return dt_s < 0 or is_far or turned_rad > _JUMP_RAD + _FASTEST_RPS * dt_s


def _is_unknown(before: Odometry, after: Odometry) -> bool:
    is_silent = after.stamp_ns - before.stamp_ns > _SILENT_S * 1e9
    return is_silent and after.pose.distance_m(before.pose) > _UNKNOWN_M


def _since(place: Place) -> int:
    return place.since_ns


def _seconds(stamp_ns: int) -> str:
    return f"{stamp_ns / 1e9:.1f}"
