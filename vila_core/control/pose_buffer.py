"""Where the robot was when an image was taken: recent odometry, looked up by stamp."""

from __future__ import annotations

import bisect
import math
from collections import deque

from vila_core.control.limits import STILL_MPS, STILL_RPS
from vila_core.types import Odometry, Pose, wrap_angle

_TOLERANCE_S = 0.1  # odometry at 25 Hz or more
_PERIODS = 2.5  # a stamp may lie so many usual periods outside of what is known: one message may be lost
_MAX_TOLERANCE_S = 0.5  # as long as odometry may be silent
_MAX_GAP_S = 0.5  # a longer pause is interpolated only if the robot stood
_MAX_STOOD_GAP_S = 2.0
_STOOD_M = 0.02
_STOOD_RAD = math.radians(2.0)
_STOOD_NS = 300_000_000
_STEPS = 21  # that the usual period is taken from


class PoseBuffer:
    """Odometry of the last `seconds`, interpolated between two messages.

    A stamp outside of what is known gets the nearest pose if it is as near as odometry's own rate can tell: 0.1 s, or
    two and a half of its usual periods, and half a second while the robot stands. Not thread-safe.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        self._span_ns = round(seconds * 1e9)
        self._entries: list[Odometry] = []
        self._steps_ns: deque[int] = deque(maxlen=_STEPS)

    @property
    def period_s(self) -> float | None:
        """The usual time between two messages, the median; None before there are three."""
        steps = sorted(self._steps_ns)
        return steps[len(steps) // 2] / 1e9 if len(steps) > 1 else None

    @property
    def tolerance_s(self) -> float:
        """How far a stamp may lie outside of what is known while the robot moves."""
        return min(_MAX_TOLERANCE_S, max(_TOLERANCE_S, _PERIODS * (self.period_s or 0.0)))

    @property
    def newest(self) -> Odometry | None:
        """The latest odometry, None if there is none yet."""
        return self._entries[-1] if self._entries else None

    @property
    def stands(self) -> bool:
        """True if the newest velocity and poses say that the robot stands, and has stood for a moment."""
        return bool(self._entries) and self._stands_at(self._entries[-1])

    def begins_after(self, stamp_ns: int) -> bool:
        """Return True if a stamp is older than all that is known."""
        return bool(self._entries) and stamp_ns < self._entries[0].stamp_ns

    def add(self, odometry: Odometry) -> None:
        """Take the next odometry; a stamp already held is ignored, an older one empties the buffer.

        A stamp that goes back means that the clock was reset: older poses belong to another run.
        Raises ValueError if a number is not finite.
        """
        pose = odometry.pose
        if not all(map(math.isfinite, (pose.x_m, pose.y_m, pose.yaw_rad))):
            raise ValueError(f"odometry at {odometry.stamp_ns} ns is not finite: {pose}")
        newest = self.newest
        if newest is not None and odometry.stamp_ns == newest.stamp_ns:
            return
        if newest is not None and odometry.stamp_ns < newest.stamp_ns:
            self._entries.clear()
        elif newest is not None:
            self._steps_ns.append(odometry.stamp_ns - newest.stamp_ns)
        self._entries.append(odometry)
        oldest_ns = odometry.stamp_ns - self._span_ns
        if self._entries[0].stamp_ns < oldest_ns:
            del self._entries[: bisect.bisect_left(self._entries, oldest_ns, key=_stamp)]

    def at(self, stamp_ns: int) -> Pose:
        """Return the pose at a time, linear between two messages, the nearest within the tolerance.

        Raises LookupError if the stamp is outside of what is known or in a gap.
        """
        index = bisect.bisect_left(self._entries, stamp_ns, key=_stamp)
        if 0 < index < len(self._entries):
            return self._between(self._entries[index - 1], self._entries[index], stamp_ns)
        ends = self._entries[:1] if index == 0 else self._entries[-1:]
        if not ends:
            raise LookupError("no odometry yet")
        off_ns, end = abs(ends[0].stamp_ns - stamp_ns), ends[0]
        limit_s = _MAX_TOLERANCE_S if self._stands_at(end) else self.tolerance_s
        if off_ns > limit_s * 1e9:
            raise LookupError(f"no odometry within {limit_s:.2f} s of {stamp_ns} ns, off by {off_ns} ns")
        return end.pose

    def clear(self) -> None:
        """Forget all poses."""
        self._entries.clear()

    def _stands_at(self, end: Odometry) -> bool:
        """True if velocity and poses say so; a velocity that is never filled in says nothing alone."""
        near = [entry for entry in self._entries if abs(entry.stamp_ns - end.stamp_ns) <= _STOOD_NS]
        return _has_stood(near[0], near[-1]) and near[-1].stamp_ns - near[0].stamp_ns >= _STOOD_NS // 2

    def _between(self, before: Odometry, after: Odometry, stamp_ns: int) -> Pose:
        gap_ns = after.stamp_ns - before.stamp_ns
        if stamp_ns == after.stamp_ns:
            return after.pose
        if gap_ns > (_MAX_STOOD_GAP_S if _has_stood(before, after) else _MAX_GAP_S) * 1e9:
            raise LookupError(f"odometry has a gap of {gap_ns} ns at {stamp_ns} ns")
        share = (stamp_ns - before.stamp_ns) / gap_ns
        a, b = before.pose, after.pose
        return Pose(
            a.x_m + share * (b.x_m - a.x_m),
            a.y_m + share * (b.y_m - a.y_m),
            wrap_angle(a.yaw_rad + share * wrap_angle(b.yaw_rad - a.yaw_rad)),
        )


def _has_stood(before: Odometry, after: Odometry) -> bool:
    turned_rad = abs(wrap_angle(after.pose.yaw_rad - before.pose.yaw_rad))
    near = before.pose.distance_m(after.pose) < _STOOD_M and turned_rad < _STOOD_RAD
    return near and _is_still(before) and _is_still(after)


def _is_still(odometry: Odometry) -> bool:
    return abs(odometry.linear_mps) < STILL_MPS and abs(odometry.angular_rps) < STILL_RPS


def _stamp(odometry: Odometry) -> int:
    return odometry.stamp_ns
