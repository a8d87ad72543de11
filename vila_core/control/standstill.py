"""Whether odometry says that the robot stands still: in its velocity and in its poses.

Some drivers never fill the velocity in; by it alone their robots would always stand.
"""

from __future__ import annotations

import math

from vila_core.types import Odometry, Pose, wrap_angle

_NEAR_M = 0.02  # what odometry of a robot that stands may shake by
_NEAR_RAD = math.radians(2.0)
_STOOD_NS = 300_000_000  # that long


class Standstill:
    """Follows odometry; speeds below still_mps and still_rps count as none."""

    def __init__(self, still_mps: float, still_rps: float) -> None:
        self._still_mps, self._still_rps = still_mps, still_rps
        self._since: tuple[int, Pose] | None = None
        self.is_still = False

    def note(self, odometry: Odometry, now_ns: int) -> None:
        """Take the next odometry, received then on a steady clock."""
        pose = odometry.pose
        if self._since is None or not _is_near(pose, self._since[1]):
            self._since = (now_ns, pose)
        has_no_speed = abs(odometry.linear_mps) < self._still_mps and abs(odometry.angular_rps) < self._still_rps
        self.is_still = has_no_speed and now_ns - self._since[0] >= _STOOD_NS


def _is_near(pose: Pose, other: Pose) -> bool:
    turned_rad = abs(wrap_angle(pose.yaw_rad - other.yaw_rad))
    return pose.distance_m(other) < _NEAR_M and turned_rad < _NEAR_RAD
