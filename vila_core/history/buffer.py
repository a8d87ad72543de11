"""The frames that one camera has shown: bounded, spaced by the robot's motion, newest always there."""

from __future__ import annotations

import math

from vila_core.config import HistoryConfig
from vila_core.errors import FrameError
from vila_core.media.images import check_image
from vila_core.types import Frame, Odometry, Pose

_SLACK = 1e-6  # m and rad: a step of exactly the minimum counts in spite of rounding


class FrameHistory:
    """Frames of one camera, one kept per min_translation_m or min_rotation_rad of motion.

    That is how NaVILA's history was recorded (one frame per 25 cm or 15 degrees); frames at
    camera rate would be another distribution. When full, every second frame is dropped and
    from then on only every second one is kept, so that the spacing stays even. Images are
    referred to, not copied: the caller must not write into them. Not thread-safe.
    """

    def __init__(self, config: HistoryConfig) -> None:
        self._config = config
        self._kept: list[Frame] = []
        self._newest: Frame | None = None
        self._last_pose: Pose | None = None  # where the latest spaced frame was taken
        self._spaced = 0  # how many frames were far enough from the one before
        self._stride = 1  # of the spaced frames, every stride-th is kept

    @property
    def newest(self) -> Frame | None:
        """The latest frame, kept or not."""
        return self._newest

    def __len__(self) -> int:
        """Return how many frames `snapshot` would give."""
        return len(self._kept) + (self._newest is not None and self._newest is not self._kept[-1])

    def add(self, frame: Frame, odometry: Odometry | None) -> bool:
        """Take the camera's next frame; True if it is kept as history.

        odometry: where it was taken; None keeps every frame. Raises FrameError for an image
        that is not [H, W, 3] uint8, another camera, a stamp that is not newer, or odometry that is not
        finite; the history is then as before.
        """
        check_image(frame)
        self._check_order(frame)
        pose = None if odometry is None else _finite_pose(odometry)
        self._newest = frame
        if not self._is_spaced(pose):
            return False
        self._last_pose = pose
        self._spaced += 1
        return self._keep(frame)

    def snapshot(self) -> tuple[Frame, ...]:
        """Return the kept frames, oldest first, ending with the newest frame, no frame twice."""
        if self._newest is None or self._newest is self._kept[-1]:
            return tuple(self._kept)
        return (*self._kept, self._newest)

    def keep_newest(self) -> None:
        """Forget all but the newest frame."""
        if self._newest is not None:
            self._kept[:] = [self._newest]
            self._spaced, self._stride = 1, 1

    def clear(self) -> None:
        """Forget everything, also which camera it was."""
        self._kept.clear()
        self._newest = self._last_pose = None
        self._spaced, self._stride = 0, 1

    def _check_order(self, frame: Frame) -> None:
        newest = self._newest
        if newest is None:
            return
        if frame.camera != newest.camera:
            raise FrameError(f"frame of camera {frame.camera!r} in the history of {newest.camera!r}")
        if frame.stamp_ns <= newest.stamp_ns:
            raise FrameError(f"stamp {frame.stamp_ns} ns is not after the newest frame's {newest.stamp_ns} ns")

    def _is_spaced(self, pose: Pose | None) -> bool:
        if pose is None or self._last_pose is None:
            return True
        config = self._config
        return pose.is_apart(self._last_pose, config.min_translation_m - _SLACK, config.min_rotation_rad - _SLACK)

    def _keep(self, frame: Frame) -> bool:
        if (self._spaced - 1) % self._stride:
            return False
        if len(self._kept) >= self._config.capacity:
            self._kept = self._kept[::2]
            self._stride *= 2
            if (self._spaced - 1) % self._stride:
                return False
        self._kept.append(frame)
        return True


def _finite_pose(odometry: Odometry) -> Pose:
    pose = odometry.pose
    if not all(map(math.isfinite, (pose.x_m, pose.y_m, pose.yaw_rad))):
        raise FrameError(f"odometry at {odometry.stamp_ns} ns is not finite: {pose}")
    return pose
