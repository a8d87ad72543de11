"""A camera that lies: what it shows does not fit what odometry says the robot did.

A frozen driver repeats one picture with new stamps, a broken one replays old pictures, a covered, blurred or dead one
shows nothing. While the robot stands still none of this can be told, and none of it does harm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vila_core.history.seen_pictures import SeenPictures, has_moved
from vila_core.history.thumbnail import Thumbnail, thumbnail
from vila_core.types import Frame, HoldReason, Odometry, Pose

_CHANGED_LEVELS = 0.7  # grey levels; less is noise and compression. Simulated drives change by 3 and more
_WALL_TURN_RAD = math.radians(50.0)  # a robot beside a plain wall may turn so far before it sees an edge
_WALL_EDGES = 0.25  # share of edges that may leave the picture from one frame to the next; a cover takes more
_REPEATS = 2  # pictures in a row that are alike to old ones, in their order
_RECOVERY_NS = 300_000_000  # good pictures for so long end a fault
_JUMP_M, _JUMP_RAD = 0.4, math.radians(46.0)  # more between two frames is odometry that jumped: begin again


@dataclass(frozen=True, slots=True)
class CameraFault:
    """Why the pictures can't be trusted."""

    reason: HoldReason
    detail: str


class CameraWatch:
    """Compares every picture with the ones before and with the robot's motion; not thread-safe.

    moved_m, moved_rad: motion after which a picture must have come that shows something, is another than the one
    before, and was not seen elsewhere. A fault is told with the first frame after that. A plain wall that came into
    view little by little may fill the picture of a robot that turns, for 50 degrees; it may not while the robot drives.
    """

    def __init__(self, moved_m: float, moved_rad: float) -> None:
        self.fault: CameraFault | None = None
        self._moved_m, self._moved_rad = moved_m, moved_rad
        self._seen = SeenPictures(moved_m, moved_rad)
        self._pose: Pose | None = None  # where the newest picture was taken
        self._good_since_ns: int | None = None
        self.restart()

    def reconfigure(self, moved_m: float, moved_rad: float) -> None:
        """Take other distances; what was seen is kept."""
        self._moved_m, self._moved_rad = moved_m, moved_rad
        self._seen.reconfigure(moved_m, moved_rad)

    def restart(self) -> None:
        """Give the camera another chance; the pictures that it has shown are remembered."""
        self.fault = None
        self._sight: Pose | None = None  # where the newest picture that showed something was taken
        self._edges = 0.0  # share of edges in it
        self._unchanged: tuple[Thumbnail, Pose] | None = None  # the first of a row of pictures that don't change
        self._repeats, self._repeated = 0, -1  # old pictures in a row, and the number of the last one

    def add(self, frame: Frame, odometry: Odometry | None) -> None:
        """Take the camera's next frame, with the odometry of its stamp; without, nothing can be told."""
        pose = None if odometry is None else odometry.pose
        if pose is None or (self._pose is not None and has_moved(pose, self._pose, _JUMP_M, _JUMP_RAD)):
            self._forget()
        self._pose = pose
        if pose is None:
            return
        picture = thumbnail(frame.image)
        fault = self._blank(picture, pose) or self._frozen(picture, pose) or self._replayed(picture, pose)
        self._conclude(fault, frame.stamp_ns)

    def _forget(self) -> None:
        """Begin again, for nothing that was seen can be compared with what comes; a fault that is told stays."""
        fault, self._seen = self.fault, SeenPictures(self._moved_m, self._moved_rad)
        self.restart()
        self.fault = fault

    def _blank(self, picture: Thumbnail, pose: Pose) -> CameraFault | None:
        """Return a fault if the robot moved since a picture showed something."""
        if not picture.is_blank or self._sight is None:
            self._sight = pose
            self._edges = 0.0 if picture.is_blank else picture.edges
        if not picture.is_blank:
            return None
        is_wall = picture.may_be_wall and self._edges < _WALL_EDGES
        turn_rad = max(self._moved_rad, _WALL_TURN_RAD) if is_wall else self._moved_rad
        if not has_moved(pose, self._sight, self._moved_m, turn_rad):
            return None
        detail = f"the robot moves but the image shows nothing: it is {picture.blank_text}"
        return CameraFault(HoldReason.BLANK_IMAGE, detail)

    def _frozen(self, picture: Thumbnail, pose: Pose) -> CameraFault | None:
        """Return a fault if the robot moved and the picture, which has something to show, did not change."""
        if picture.is_blank:
            self._unchanged = None
            return None
        if self._unchanged is None or _differs(picture, self._unchanged[0]):
            self._unchanged = picture, pose
            return None
        if not has_moved(pose, self._unchanged[1], self._moved_m, self._moved_rad):
            return None
        return CameraFault(HoldReason.FROZEN_IMAGE, "the robot moves but the image does not change")

    def _replayed(self, picture: Thumbnail, pose: Pose) -> CameraFault | None:
        """Return a fault for a picture that was taken elsewhere, or for alike ones that come in their order."""
        if picture.is_blank:
            return None
        is_repeat = self._seen.is_repeat(picture, pose)
        number = self._seen.alike(picture, pose)
        if number is None:
            self._repeats, self._repeated = 0, -1
            if not is_repeat:
                self._seen.add(picture, pose)
        else:
            self._repeats = self._repeats + 1 if number >= self._repeated else 1
            self._repeated = number
        if not is_repeat and self._repeats < _REPEATS:
            return None
        return CameraFault(HoldReason.REPEATED_IMAGE, "the images were seen before, where the robot no longer is")

    def _conclude(self, fault: CameraFault | None, stamp_ns: int) -> None:
        """Tell a fault at once; take it back after good pictures only."""
        if fault is not None:
            self.fault, self._good_since_ns = fault, None
        elif self.fault is not None and self._good_since_ns is None:
            self._good_since_ns = stamp_ns
        elif self._good_since_ns is not None and stamp_ns - self._good_since_ns >= _RECOVERY_NS:
            self.fault = self._good_since_ns = None


def _differs(picture: Thumbnail, other: Thumbnail) -> bool:
    return picture.digest != other.digest and float(picture.difference(other.shape)) > _CHANGED_LEVELS
