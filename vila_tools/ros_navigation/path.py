"""The way of a robot as odometry tells it, in the flat, cut into the unit steps that the metrics count."""

from __future__ import annotations

import math

from vila_core.types import Pose, wrap_angle
from vila_sim.flats.grid import OccupancyGrid

UNIT_M, UNIT_RAD = 0.25, math.radians(15.0)
_SLACK = 0.9  # a motion ends within the controller's tolerance


class DrivenPath:
    """Takes poses as they come.

    start: where the robot is when the first pose comes, in the flat: odometry may begin anywhere. None: poses are the
    flat's own.
    """

    def __init__(self, grid: OccupancyGrid, start: Pose | None) -> None:
        self._grid, self._start = grid, start
        self._first: Pose | None = None
        self.poses: list[Pose] = []  # the start, then one for each unit step
        self.collisions = 0  # times that the robot came into where it does not fit
        self.contact_s = 0.0  # for how long it was there
        self._newest: Pose | None = None
        self._newest_ns: int | None = None
        self._touches = False

    def add(self, pose: Pose, stamp_ns: int | None = None) -> None:
        """Take the next pose, measured at that time; unit steps are kept."""
        self._first = self._first or pose
        here = pose if self._start is None else self._start.compose(pose.relative_to(self._first))
        self._newest = here
        if self._touches and stamp_ns is not None and self._newest_ns is not None:
            self.contact_s += max(stamp_ns - self._newest_ns, 0) / 1e9
        self._newest_ns = stamp_ns
        touches = not self._grid.free(here.x_m, here.y_m)
        self.collisions += touches and not self._touches
        self._touches = touches
        if not self.poses or _is_step(self.poses[-1], here):
            self.poses.append(here)

    def finish(self) -> None:
        """Have the last pose end the path: what is left of a step counts as one from its half on."""
        if self._newest is None or self._newest == self.poses[-1]:
            return
        if len(self.poses) > 1 and not _is_step(self.poses[-1], self._newest, 0.5):
            self.poses.pop()
        self.poses.append(self._newest)


def _is_step(a: Pose, b: Pose, units: float = _SLACK) -> bool:
    turned = abs(wrap_angle(b.yaw_rad - a.yaw_rad))
    return a.distance_m(b) >= units * UNIT_M or turned >= units * UNIT_RAD
