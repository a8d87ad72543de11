"""Where sensors are mounted: rotations and translations into the robot's frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vila_core.control.governor.obstacle_config import Mount

_MAX_CHAIN = 32  # frames from a sensor to the base


@dataclass(frozen=True, slots=True, eq=False)
class Transform:
    """Points of one frame in another: rotation @ point + translation."""

    rotation: NDArray[np.float32]  # [3, 3]
    translation: NDArray[np.float32]  # [3], m

    def after(self, first: Transform) -> Transform:
        """Return the transform that does `first`, then this one."""
        return Transform(self.rotation @ first.rotation, self.rotation @ first.translation + self.translation)

    def apply(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return points [N, 3] float32 in the other frame: [N, 3] float32."""
        moved: NDArray[np.float32] = points @ self.rotation.T + self.translation
        return moved


IDENTITY = Transform(np.eye(3, dtype=np.float32), np.zeros(3, np.float32))
BODY_FROM_OPTICAL = Transform(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], np.float32), np.zeros(3, np.float32))


def from_mount(mount: Mount) -> Transform:
    """Return where a sensor is mounted; REP-103, a positive pitch looks down."""
    x, y, z, yaw, pitch = mount
    about_y = np.array([[math.cos(pitch), 0, math.sin(pitch)], [0, 1, 0], [-math.sin(pitch), 0, math.cos(pitch)]])
    about_z = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
    return Transform((about_z @ about_y).astype(np.float32), np.array([x, y, z], np.float32))


def from_quaternion(xyz: tuple[float, float, float], xyzw: tuple[float, float, float, float]) -> Transform | None:
    """Return the transform of a ROS message, None if it is not finite or its quaternion has no length."""
    length = math.sqrt(sum(value * value for value in xyzw))
    if not all(map(math.isfinite, (*xyz, length))) or length < 1e-6:
        return None
    x, y, z, w = (value / length for value in xyzw)
    rotation = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return Transform(np.array(rotation, np.float32), np.array(xyz, np.float32))


class StaticTransforms:
    """Collects the transforms of /tf_static, where no tf2 does."""

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, Transform]] = {}

    def note(self, parent: str, child: str, transform: Transform) -> None:
        """Remember where a child frame is in its parent."""
        self._parents[child] = parent, transform

    def find(self, base: str, frame: str) -> Transform | None:
        """Return the transform of a frame's points into the base frame, None if it is not known."""
        from_frame, from_base = self._to_root(frame), self._to_root(base)
        if frame == base:
            return IDENTITY
        if from_frame is None or from_base is None or from_frame[0] != from_base[0]:
            return None
        root = from_base[1]
        inverse = Transform(root.rotation.T, -root.rotation.T @ root.translation)
        return inverse.after(from_frame[1])

    def _to_root(self, frame: str) -> tuple[str, Transform] | None:
        """The root of a frame's tree and the way there; None if it goes round in a circle."""
        way = IDENTITY
        for _ in range(_MAX_CHAIN):
            if frame not in self._parents:
                return frame, way
            frame, step = self._parents[frame]
            way = step.after(way)
        return None
