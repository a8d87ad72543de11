"""The pictures of the last minutes and where they were taken: a camera that replays old ones gives itself away."""

from __future__ import annotations

import math
from collections import OrderedDict

import numpy as np

from vila_core.history.thumbnail import Thumbnail
from vila_core.types import Pose, wrap_angle

_IDENTICAL_KEPT = 4096  # digests: two minutes at 30 Hz
_ALIKE_KEPT = 320  # thumbnails: ten seconds of motion at 30 Hz
_ALIKE_LEVELS = 0.7  # grey levels between two pictures of one scene that differ by noise and compression alone
_ALIKE_M = 0.15  # alike counts as a repeat if it was taken so far away,
_ALIKE_RAD = math.radians(15.0)  # or so much turned: odometry may be 4 % wrong after a full turn
_SPACING_M, _SPACING_RAD = 0.003, math.radians(0.2)  # pictures of a robot that stands are one


class SeenPictures:
    """Remembers pictures by digest and by thumbnail; not thread-safe.

    moved_m, moved_rad: how far from where an identical picture was taken it counts as a repeat.
    """

    def __init__(self, moved_m: float, moved_rad: float) -> None:
        self._moved_m, self._moved_rad = moved_m, moved_rad
        self._digests: OrderedDict[int, Pose] = OrderedDict()
        self._shapes = np.zeros((_ALIKE_KEPT, 768), np.float32)
        self._poses = np.full((_ALIKE_KEPT, 3), np.nan)  # x_m, y_m, yaw_rad
        self._numbers = np.zeros(_ALIKE_KEPT, np.int64)
        self._last: Pose | None = None
        self._count = self._kept = 0

    def reconfigure(self, moved_m: float, moved_rad: float) -> None:
        """Take other distances; the pictures are kept."""
        self._moved_m, self._moved_rad = moved_m, moved_rad

    def is_repeat(self, picture: Thumbnail, pose: Pose) -> bool:
        """Return True if an identical picture was taken elsewhere."""
        where = self._digests.get(picture.digest)
        return where is not None and has_moved(pose, where, self._moved_m, self._moved_rad)

    def alike(self, picture: Thumbnail, pose: Pose) -> int | None:
        """Return the number of a picture of the last seconds that is alike and was taken elsewhere, None without."""
        away = np.hypot(self._poses[:, 0] - pose.x_m, self._poses[:, 1] - pose.y_m) > _ALIKE_M
        turn = np.abs((self._poses[:, 2] - pose.yaw_rad + math.pi) % (2 * math.pi) - math.pi) > _ALIKE_RAD
        levels = np.where(away | turn, picture.difference(self._shapes), np.inf)
        best = int(np.argmin(levels))
        return int(self._numbers[best]) if levels[best] < _ALIKE_LEVELS else None

    def add(self, picture: Thumbnail, pose: Pose) -> None:
        """Remember a picture under the next number; one that was seen before stays where it was taken first."""
        self._count += 1
        self._digests.setdefault(picture.digest, pose)
        if len(self._digests) > _IDENTICAL_KEPT:
            self._digests.popitem(last=False)
        if self._last is None or has_moved(pose, self._last, _SPACING_M, _SPACING_RAD):
            place = self._kept % _ALIKE_KEPT
            self._shapes[place], self._numbers[place] = picture.shape, self._count
            self._poses[place] = pose.x_m, pose.y_m, pose.yaw_rad
            self._last = pose
            self._kept += 1


def has_moved(pose: Pose, since: Pose, moved_m: float, moved_rad: float) -> bool:
    """Return True if two poses lie further apart than moved_m, or are turned by more than moved_rad."""
    return pose.distance_m(since) > moved_m or abs(wrap_angle(pose.yaw_rad - since.yaw_rad)) > moved_rad
