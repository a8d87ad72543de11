"""The camera's thread: takes each image, raw or compressed."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from functools import partial

import cv2
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from vila_core.errors import FrameError
from vila_ros.common.conversions import frame_from_image
from vila_ros.common.helper_node import make_helper, spin
from vila_ros.common.qos import sensor_qos, subscription_events
from vila_ros.common.topics import AUTO, COMPRESSED, COMPRESSED_SUFFIX, IMAGE
from vila_ros.page.config import PageConfig
from vila_ros.page.pictures import Picture, Pictures, encode

_LOOK_S = 1.0  # between two looks at who publishes
_MOST_BYTES = 300_000  # of a JPEG that is passed on as it came


class PageCamera:
    """Puts the images of a topic, with the owner's remappings, into pictures.

    Messages are taken as they lie in the middleware, and read only if somebody wants the picture: of most the stamp
    alone counts. on_error is told of bad images, in any thread.
    """

    def __init__(
        self, owner: Node, config: PageConfig, pictures: Pictures, on_error: Callable[[FrameError], None]
    ) -> None:
        self._owner, self._config, self._pictures, self._on_error = owner, config, pictures, on_error
        named = owner.resolve_topic_name(IMAGE)
        self._raw = named.removesuffix(COMPRESSED_SUFFIX) or named
        self._is_compressed = named != self._raw or config.image_transport == COMPRESSED
        self._node, self._executor = make_helper(owner, f"{owner.get_name()}_camera")
        self._subscription = self._subscribe()
        if named == self._raw and config.image_transport == AUTO:
            self._node.create_timer(_LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        cv2.setNumThreads(1)  # threads for one small picture would only wait for each other
        self._thread = threading.Thread(target=spin, args=(self._executor,), name="camera", daemon=True)
        self._thread.start()

    @property
    def topic(self) -> str:
        """The topic that is taken now."""
        return self._raw + COMPRESSED_SUFFIX * self._is_compressed

    def stop(self) -> None:
        """End the thread and the subscription."""
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(2.0)
        self._node.destroy_node()

    def _subscribe(self) -> Subscription:
        kind, topic = CompressedImage if self._is_compressed else Image, self.topic
        events = subscription_events(self._owner, topic, "image_reliability")
        qos = sensor_qos(self._config.image_reliability)
        return self._node.create_subscription(
            kind, topic, partial(self._on_image, kind), qos, event_callbacks=events, raw=True
        )

    def _look(self) -> None:
        """Take compressed images where they are published: they need not be encoded here."""
        wanted = self._node.count_publishers(self._raw + COMPRESSED_SUFFIX) > 0
        if wanted != self._is_compressed and (wanted or self._node.count_publishers(self._raw)):
            before, self._is_compressed = self._subscription, wanted
            self._subscription = self._subscribe()
            self._node.destroy_subscription(before)

    def _on_image(self, kind: type[Image] | type[CompressedImage], message: bytes) -> None:
        received_s, stamp_ns = time.monotonic(), _stamp_ns(message)
        age_s = (self._owner.get_clock().now().nanoseconds - stamp_ns) / 1e9
        self._pictures.add(Picture(stamp_ns, partial(self._jpeg, message, kind), len(message), age_s, received_s))

    def _jpeg(self, serialized: bytes, kind: type[Image] | type[CompressedImage]) -> bytes:
        message = deserialize_message(serialized, kind)
        if isinstance(message, CompressedImage):
            data = bytes(message.data)
            if data.startswith(b"\xff\xd8") and len(data) <= _MOST_BYTES:
                return data
        try:
            return encode(frame_from_image(message, topic=self.topic).image, self._config.picture_width_px)
        except FrameError as err:
            self._on_error(err)
            return b""


def _stamp_ns(serialized: bytes) -> int:
    """The stamp of a message that begins with a std_msgs/Header, in CDR: behind 4 bytes that tell their order."""
    seconds, nanoseconds = struct.unpack_from("<iI" if serialized[1] & 1 else ">iI", serialized, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)
