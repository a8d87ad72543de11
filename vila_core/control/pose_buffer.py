"""Where the robot was when an image was taken: recent odometry, looked up by stamp."""

from __future__ import annotations

import bisect
import math

from vila_core.types import Odometry, Pose, wrap_angle


class PoseBuffer:
    """Odometry of the last `seconds`, interpolated between two messages.

    tolerance_s: how far a stamp may lie outside of what is known. max_gap_s: the longest pause
    between two messages that may be interpolated. Not thread-safe.
    """

    def __init__(self, seconds: float = 10.0, tolerance_s: float = 0.1, max_gap_s: float = 0.5) -> None:
        self._span_ns = round(seconds * 1e9)
        self._tolerance_ns = round(tolerance_s * 1e9)
        self._max_gap_ns = round(max_gap_s * 1e9)
        self._entries: list[Odometry] = []

    @property
    def newest(self) -> Odometry | None:
        """The latest odometry, None if there is none yet."""
        return self._entries[-1] if self._entries else None

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
        off_ns = abs(ends[0].stamp_ns - stamp_ns)
        if off_ns > self._tolerance_ns:
            raise LookupError(f"no odometry within {self._tolerance_ns / 1e9} s of {stamp_ns} ns, off by {off_ns} ns")
        return ends[0].pose

    def clear(self) -> None:
        """Forget all poses."""
        self._entries.clear()

    def _between(self, before: Odometry, after: Odometry, stamp_ns: int) -> Pose:
        gap_ns = after.stamp_ns - before.stamp_ns
        if stamp_ns == after.stamp_ns:
            return after.pose
        if gap_ns > self._max_gap_ns:
            raise LookupError(f"odometry has a gap of {gap_ns} ns at {stamp_ns} ns")
        share = (stamp_ns - before.stamp_ns) / gap_ns
        a, b = before.pose, after.pose
        return Pose(
            a.x_m + share * (b.x_m - a.x_m),
            a.y_m + share * (b.y_m - a.y_m),
            wrap_angle(a.yaw_rad + share * wrap_angle(b.yaw_rad - a.yaw_rad)),
        )


def _stamp(odometry: Odometry) -> int:
    return odometry.stamp_ns
