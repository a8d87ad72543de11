"""The newest image and the newest odometry, how old they are, and what was wrong with the last image."""

from __future__ import annotations

import time
from dataclasses import dataclass

from vila_core.control.watchdog import Receipt
from vila_core.history.camera_watch import CameraFault
from vila_core.types import Odometry


@dataclass(slots=True)
class Latest:
    """What was heard last; the camera's thread writes what is of images.

    max_image_age_s: an older image is none to drive by. image_fault: why the last image was refused, empty if it was
    not. camera_fault: why the pictures can't be trusted.
    """

    max_image_age_s: float
    image: Receipt | None = None
    image_fault: str = ""
    camera_fault: CameraFault | None = None
    odometry: Odometry | None = None

    def note_image(self, stamp_ns: int, camera_fault: CameraFault | None) -> None:
        """Take that a good image came just now, and what is wrong with its camera all the same."""
        self.camera_fault = camera_fault
        self.image_fault = ""
        self.image = Receipt(stamp_ns, time.monotonic_ns())

    @property
    def is_image_fresh(self) -> bool:
        """True if the newest image is one to drive by."""
        return self.camera_fault is None and self.image_age_s <= self.max_image_age_s

    @property
    def image_age_s(self) -> float:
        """Time since the newest accepted image came, inf if none did."""
        image = self.image
        return float("inf") if image is None else (time.monotonic_ns() - image.received_ns) / 1e9

    @property
    def image_stamp_ns(self) -> int:
        """The newest image's stamp, 0 if none came."""
        image = self.image
        return 0 if image is None else image.stamp_ns

    @property
    def odometry_stamp_ns(self) -> int:
        """The newest odometry's stamp, 0 if none came."""
        odometry = self.odometry
        return 0 if odometry is None else odometry.stamp_ns

    def odometry_age_s(self, now_ns: int) -> float:
        """Return how old the newest odometry is by its stamp, inf if none came; now_ns: the robot's time."""
        odometry = self.odometry
        return float("inf") if odometry is None else (now_ns - odometry.stamp_ns) / 1e9

    def odometry_at(self, stamp_ns: int) -> Odometry | None:
        """Return the newest odometry, None if it is too far from the stamp to say where the camera was."""
        odometry = self.odometry
        if odometry is None or abs(odometry.stamp_ns - stamp_ns) > self.max_image_age_s * 1e9:
            return None
        return odometry
