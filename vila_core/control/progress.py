"""How far a robot has come by its odometry, and whether what it does leads anywhere."""

from __future__ import annotations

import math

from vila_core.types import Pose, wrap_angle

_MOVED_M = 0.1  # less may be a robot that was pushed, or odometry that drifts
_MOVED_RAD = math.radians(10.0)
_NEW_VIEW_RAD = math.radians(7.5)  # half of the smallest turn: a heading that it had not had on this spot


class Progress:
    """Follows poses and motions.

    distance_m: the path. turned_rad: net turn since the robot last got on, left > 0. idle_motions: those since then
    that showed nothing new, neither a place step_m away nor a heading that it had not had there. spot: how often it got
    on.
    """

    def __init__(self, step_m: float) -> None:
        self._step_m = step_m
        self.distance_m = 0.0
        self.turned_rad = 0.0
        self.idle_motions = self.spot = 0
        self._pose: Pose | None = None
        self._start: Pose | None = None
        self._anchor: Pose | None = None  # where it last got on
        self._farthest_m = self._heading_rad = self._most_turned_rad = 0.0  # from the start
        self._least_rad = self._most_rad = 0.0  # net turns since it last got on
        self._swept_rad = 0.0  # how far those lay apart at the last motion's end
        self._got_on = False  # since then

    @property
    def swept_rad(self) -> float:
        """How far apart the outermost headings lie that it has had since it last got on; 2 pi and more: all round."""
        return self._most_rad - self._least_rad

    @property
    def has_moved(self) -> bool:
        """True once the robot has been 0.1 m away from its start, or turned by 10 degrees."""
        return self._farthest_m >= _MOVED_M or self._most_turned_rad >= _MOVED_RAD

    def note_pose(self, pose: Pose) -> None:
        """Take the newest pose."""
        if self._pose is None or self._start is None or self._anchor is None:
            self._pose = self._start = self._anchor = pose
            return
        turn_rad = wrap_angle(pose.yaw_rad - self._pose.yaw_rad)
        self.distance_m += pose.distance_m(self._pose)
        self._pose = pose
        self._farthest_m = max(self._farthest_m, pose.distance_m(self._start))
        self._heading_rad += turn_rad
        self._most_turned_rad = max(self._most_turned_rad, abs(self._heading_rad))
        self.turned_rad += turn_rad
        self._least_rad, self._most_rad = min(self._least_rad, self.turned_rad), max(self._most_rad, self.turned_rad)
        if pose.distance_m(self._anchor) >= self._step_m:
            self._anchor, self._got_on = pose, True
            self.spot += 1
            self.turned_rad = self._least_rad = self._most_rad = 0.0

    def look_anew(self) -> None:
        """Count turns and idle motions from here on: something else is looked for."""
        self.turned_rad = self._least_rad = self._most_rad = self._swept_rad = 0.0
        self.idle_motions = 0

    def note_motion(self) -> None:
        """Take the end of a motion, and count it if it showed nothing new."""
        if self._got_on:
            self.idle_motions = 0
        elif self.swept_rad - self._swept_rad < _NEW_VIEW_RAD:
            self.idle_motions += 1
        self._swept_rad, self._got_on = self.swept_rad, False
