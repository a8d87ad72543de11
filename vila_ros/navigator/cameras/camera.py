"""A camera's own thread: images are taken from the middleware there, and nowhere else.

A single-threaded executor with nothing but the image subscription loses fewer images than a shared
one, and a slow callback elsewhere delays none.
"""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable

from builtin_interfaces.msg import Time
from rclpy.clock import Clock, ClockType
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from vila_core.engine.backend import ModelInfo
from vila_core.errors import ConfigError, FrameError
from vila_core.types import Frame
from vila_ros.common.conversions import frame_from_image, ns_from_stamp
from vila_ros.common.helper_node import make_helper, spin
from vila_ros.common.qos import sensor_qos, subscription_events, weak_publishers
from vila_ros.common.topics import AUTO, COMPRESSED, COMPRESSED_SUFFIX, RAW
from vila_ros.navigator.cameras.camera_config import Camera
from vila_ros.navigator.cameras.transport import TransportChoice

MESSAGES = {RAW: Image, COMPRESSED: CompressedImage}
_LOOK_S = 0.5  # between two looks at who publishes


class CameraReader:
    """Subscribes to a camera's topic (with the owner's remappings) on a helper node and thread.

    A topic whose name ends with /compressed is taken as it is, whatever transport is configured. helper: the name of
    that node. model: who is shown the frames. on_frame: gets each frame in the camera's thread; may raise FrameError.
    on_error: gets each FrameError, whoever raised it, in the same thread. on_stamp: gets the stamp of each message,
    good or bad, before. is_wanted: by its stamp in ns; an image that is not wanted is not decoded. Raises ConfigError
    for a topic that this process uses for something else.
    """

    def __init__(
        self,
        owner: Node,
        camera: Camera,
        helper: str,
        *,
        model: ModelInfo,
        on_frame: Callable[[Frame], None],
        on_error: Callable[[FrameError], None],
        on_stamp: Callable[[Time], None] = lambda _: None,
        is_wanted: Callable[[int], bool] = lambda _: True,
    ) -> None:
        self._owner, self._camera, self._model = owner, camera, model
        self._on_frame, self._on_error, self._on_stamp = on_frame, on_error, on_stamp
        self._is_wanted = is_wanted
        self._newest_ns: int | None = None
        self._clock_epoch = 0
        named = owner.resolve_topic_name(camera.topic)
        raw = named.removesuffix(COMPRESSED_SUFFIX) or named
        self._topics = {RAW: raw, COMPRESSED: raw + COMPRESSED_SUFFIX}
        self._is_named_compressed = named != raw
        self._choice = TransportChoice(COMPRESSED if self._is_named_compressed else camera.config.transport)
        self._node, self._executor = make_helper(owner, helper)
        try:
            self._subscription = self._subscribe()
        except rclpy_implementation.RCLError as err:
            self._executor.shutdown()
            self._node.destroy_node()
            if "incompatible type" not in str(err):  # it may be that security does not allow it
                raise
            raise ConfigError(f"{self.topic} cannot be a camera's topic: {' '.join(str(err).split())}") from err
        if self._choice.is_free:
            self._node.create_timer(_LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._thread = threading.Thread(target=spin, args=(self._executor,), name=f"camera {camera.name}", daemon=True)

    def start(self) -> None:
        """Begin to take images."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread and the subscription."""
        self._executor.shutdown(timeout_sec=timeout_s)
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._node.destroy_node()

    @property
    def topic(self) -> str:
        """The topic that is taken now."""
        return self._topics[self._choice.chosen]

    @property
    def transport(self) -> str:
        """How the images come now: raw or compressed."""
        return self._choice.chosen

    def publisher_count(self) -> int:
        """Return how many publishers of the topic are known."""
        return self._node.count_publishers(self.topic)

    def silence(self, age_s: float, note: str = "") -> str:
        """Say that no image came for so long, inf if none ever did, and what to do as far as the graph shows it.

        note: more to say of the publishers.
        """
        since = "no image yet" if math.isinf(age_s) else f"no image for {age_s:.1f} s"
        remedy = self._remedy()
        return f"{since} on {self.topic} ({self.publisher_count()} publishers{note})" + (remedy and f"; {remedy}")

    def _remedy(self) -> str:
        found = {info.topic_type for info in self._node.get_publishers_info_by_topic(self.topic)}
        wanted = f"sensor_msgs/msg/{MESSAGES[self.transport].__name__}"
        if found and wanted not in found:
            return f"it carries {', '.join(sorted(found))}, not {wanted}: choose a camera's topic"
        if self._camera.config.reliability == "reliable" and (weak := weak_publishers(self._node, self.topic)):
            parameter = f"{self._camera.parameters}reliability"
            return f"{', '.join(weak)} offers best_effort: set the parameter {parameter} to best_effort"
        other = self._topics[self._choice.other]
        if found or self._choice.is_free or not (count := self._node.count_publishers(other)):
            return ""
        parameter = f"set the parameter {self._camera.parameters}transport to {self._choice.other} or {AUTO}"
        return f"{other} has {count}: {'name that topic' if self._is_named_compressed else parameter}"

    def _subscribe(self) -> Subscription:
        events = subscription_events(self._owner, self.topic, f"{self._camera.parameters}reliability")
        qos = sensor_qos(self._camera.config.reliability)
        kind = MESSAGES[self.transport]
        return self._node.create_subscription(kind, self.topic, self._on_image, qos, event_callbacks=events)

    def _look(self) -> None:
        """Take the other topic if that one alone is published."""
        others = self._node.count_publishers(self._topics[self._choice.other])
        if not self._choice.note(self.publisher_count(), others):
            return
        before, name, log = self._subscription, self._camera.name, self._owner.get_logger()
        try:
            self._subscription = self._subscribe()
        except rclpy_implementation.RCLError as err:  # where security does not allow it
            log.error(f"camera {name}: {self.topic} cannot be taken: {' '.join(str(err).split())}")
            self._choice.take_back()
            return
        self._node.destroy_subscription(before)
        log.info(f"camera {name}: images come from {self.topic}, which alone is published")

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._on_stamp(message.header.stamp)
        if not self._is_wanted(ns_from_stamp(message.header.stamp)):
            return
        try:
            frame = self._dated(frame_from_image(message, self._camera.name, self.topic))
            self._on_frame(self._camera.as_shown(frame, self._model))
        except FrameError as err:
            self._on_error(err)

    def _dated(self, frame: Frame) -> Frame:
        """Return the frame in its clock_epoch: stamps that went back may come again."""
        if frame.shows_clock_reset(self._newest_ns):
            self._clock_epoch += 1
            self._newest_ns = None
        self._newest_ns = max(frame.stamp_ns, self._newest_ns or 0)
        return dataclasses.replace(frame, clock_epoch=self._clock_epoch)
