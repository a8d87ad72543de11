"""Goal poses in another frame than odometry's, by tf2, which is imported only if that is asked for."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

from rclpy.node import Node
from rclpy.time import Time

from vila_core.errors import ConfigError, VilaError
from vila_core.types import Pose
from vila_ros.common.conversions import yaw_from_quaternion


class TransformError(VilaError):
    """A transform between two frames that tf does not know at a time."""


def tf2_ros() -> Any:
    """Return tf2's Python module. Raises ConfigError if it is not installed."""
    try:
        return import_module("tf2_ros")
    except ImportError as err:
        remedy = "install ros-$ROS_DISTRO-tf2-ros-py, or leave goal_frame empty for odometry's own frame"
        raise ConfigError(f"goal_frame needs tf2_ros, which is not installed ({err}); {remedy}") from err


class GoalFrames:
    """Listens to tf, and gives poses of odometry's frame in the frame of the goals.

    library: what `tf2_ros` returned. frame: of the goals.
    """

    def __init__(self, library: Any, node: Node, frame: str) -> None:
        self.frame = frame.lstrip("/")
        self._buffer = library.Buffer()
        self._listener = library.TransformListener(self._buffer, node)
        self._errors = library.TransformException

    def close(self) -> None:
        """Listen no longer."""
        self._listener.unregister()

    def pose(self, pose: Pose, frame: str, stamp_ns: int) -> Pose:
        """Return a pose of a frame in the goals' frame, as it was at that time.

        Raises TransformError, which names the frames, if tf does not tell.
        """
        frame = frame.lstrip("/")
        if frame == self.frame:
            return pose
        try:
            found = self._buffer.lookup_transform(self.frame, frame, Time(nanoseconds=stamp_ns)).transform
        except self._errors as err:
            raise TransformError(
                f"no transform from {frame!r} to {self.frame!r} at {stamp_ns / 1e9:.3f} s: {err}"
            ) from err
        yaw_rad = yaw_from_quaternion(found.rotation)
        x_m, y_m = found.translation.x, found.translation.y
        if not all(map(math.isfinite, (x_m, y_m, yaw_rad))):
            raise TransformError(f"the transform from {frame!r} to {self.frame!r} is not finite")
        return Pose(x_m, y_m, yaw_rad).compose(pose)
