"""Where sensors are mounted: by parameters, else by tf2, else by /tf_static itself where tf2 is not installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

from rclpy.node import Node
from rclpy.time import Time

from vila_core.control.governor.obstacle_config import ObstacleConfig
from vila_core.control.governor.transforms import (
    BODY_FROM_OPTICAL,
    IDENTITY,
    StaticTransforms,
    Transform,
    from_mount,
    from_quaternion,
)
from vila_ros.common.qos import latched_qos


class Frames(Protocol):
    """Who knows the transforms between frames."""

    def find(self, base: str, frame: str) -> Transform | None:
        """Return the transform of a frame's points into the base frame, None if it is not known."""

    def close(self) -> None:
        """Listen no longer."""


class Mounts:
    """Answers where the sensor of a message is; `close` ends what listens to tf."""

    def __init__(self, node: Node, config: ObstacleConfig) -> None:
        self._config = config
        self._frames = make_frames(node)

    @property
    def has_tf(self) -> bool:
        """True if frames are known by tf."""
        return self._frames is not None

    def find(self, source: str, frame: str) -> Transform | None:
        """Return the transform of a source's points into base_frame, None if nobody knows it.

        Points of a depth image are those of its optical frame. A laser without a mount, where there is no tf, is taken
        to be at the origin of base_frame; what a cloud or a depth image shows would then be the floor, or over it.
        """
        mount = self._config.mount(source)
        if mount is not None:
            given = from_mount(mount)
            return given.after(BODY_FROM_OPTICAL) if source == "depth" else given
        if frame.lstrip("/") == self._config.base_frame:
            return IDENTITY
        if self._frames is not None:
            return self._frames.find(self._config.base_frame, frame.lstrip("/"))
        return IDENTITY if source == "scan" else None

    def close(self) -> None:
        """Listen to tf no longer."""
        if self._frames is not None:
            self._frames.close()


def make_frames(node: Node) -> Frames | None:
    """Return a listener of tf2, or of /tf_static alone; None where not even tf2's messages are installed."""
    tf2_ros = _installed("tf2_ros")
    if tf2_ros is not None:
        return _Tf2Frames(tf2_ros, node)
    messages = _installed("tf2_msgs.msg")
    return None if messages is None else _StaticFrames(messages.TFMessage, node)


class _Tf2Frames:
    def __init__(self, tf2_ros: Any, node: Node) -> None:
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)
        self._errors = tf2_ros.TransformException

    def find(self, base: str, frame: str) -> Transform | None:
        try:
            return _transform(self._buffer.lookup_transform(base, frame, Time()).transform)
        except self._errors:
            return None

    def close(self) -> None:
        self._listener.unregister()


class _StaticFrames:
    def __init__(self, kind: type, node: Node) -> None:
        self._known = StaticTransforms()
        self._node = node
        self._subscription = node.create_subscription(kind, "/tf_static", self._on_transforms, latched_qos(100))

    def find(self, base: str, frame: str) -> Transform | None:
        return self._known.find(base, frame)

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)

    def _on_transforms(self, message: Any) -> None:
        for stamped in message.transforms:
            transform = _transform(stamped.transform)
            if transform is not None:
                self._known.note(stamped.header.frame_id.lstrip("/"), stamped.child_frame_id.lstrip("/"), transform)


def _transform(message: Any) -> Transform | None:
    t, q = message.translation, message.rotation
    return from_quaternion((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))


def _installed(name: str) -> Any:
    """The module, None if it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        return None
