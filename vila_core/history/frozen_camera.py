"""A camera that stays the same although the robot moves: a frozen driver repeats one picture with new stamps."""

from __future__ import annotations

import math
import zlib

from vila_core.types import Frame, Odometry, Pose, wrap_angle

_MOVED_M = 0.02  # an image that stays identical over this motion counts as one frozen frame
_MOVED_RAD = math.radians(2.0)
_SAMPLES = 64  # rows and columns of the image that are compared


class FrozenCamera:
    """Counts images in a row that stay identical although the robot moved; without motion nobody can tell.

    Not thread-safe.
    """

    def __init__(self) -> None:
        self.count = 0
        self._digest: int | None = None
        self._pose: Pose | None = None  # where the last counted, or the first such image, was taken

    def add(self, frame: Frame, odometry: Odometry | None) -> None:
        """Take the camera's next frame; without odometry it begins a new row."""
        height, width, _ = frame.image.shape
        sample = frame.image[:: max(1, height // _SAMPLES), :: max(1, width // _SAMPLES)]
        digest = zlib.crc32(sample.tobytes())
        pose = None if odometry is None else odometry.pose
        if digest != self._digest or pose is None or self._pose is None:
            self._digest, self._pose = digest, pose
            self.count = 0
        elif _moved(pose, self._pose):
            self._pose = pose
            self.count += 1


def _moved(pose: Pose, since: Pose) -> bool:
    return pose.distance_m(since) > _MOVED_M or abs(wrap_angle(pose.yaw_rad - since.yaw_rad)) > _MOVED_RAD
