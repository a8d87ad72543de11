"""The camera's own thread: images are taken from the middleware there, and nowhere else.

A single-threaded executor with nothing but the image subscription loses fewer images than a shared
one, and a slow callback elsewhere delays none.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

from builtin_interfaces.msg import Time
from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image

from vila_core.errors import FrameError
from vila_core.types import Frame
from vila_ros.common.conversions import frame_from_image
from vila_ros.common.qos import sensor_qos, subscription_events


class CameraReader:
    """Subscribes to the owner's image topic (with its remappings) on a helper node and thread.

    on_frame: gets each frame in the camera's thread; may raise FrameError. on_error: gets each
    FrameError, whoever raised it, in the same thread. on_stamp: gets the stamp of each message, good or bad, before.
    """

    def __init__(
        self,
        owner: Node,
        topic: str,
        *,
        reliability: str,
        camera: str,
        on_frame: Callable[[Frame], None],
        on_error: Callable[[FrameError], None],
        on_stamp: Callable[[Time], None] = lambda _: None,
    ) -> None:
        self._camera = camera
        self._on_frame = on_frame
        self._on_error = on_error
        self._on_stamp = on_stamp
        self._newest_ns: int | None = None
        self._clock_epoch = 0
        self.topic = owner.resolve_topic_name(topic)
        self._node = Node(
            f"{owner.get_name()}_camera",
            namespace=owner.get_namespace(),
            context=owner.context,
            use_global_arguments=False,  # a remapped __node would give both nodes one name
            start_parameter_services=False,
            enable_rosout=False,
        )
        events = subscription_events(owner, self.topic)
        self._node.create_subscription(
            Image, self.topic, self._on_image, sensor_qos(reliability), event_callbacks=events
        )
        self._executor = SingleThreadedExecutor(context=owner.context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="camera", daemon=True)

    def start(self) -> None:
        """Begin to take images."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread and the subscription."""
        self._executor.shutdown(timeout_sec=timeout_s)
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._node.destroy_node()

    def publisher_count(self) -> int:
        """Return how many publishers of the topic are known."""
        return self._node.count_publishers(self.topic)

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except (ShutdownException, ExternalShutdownException):
            return

    def _on_image(self, message: Image) -> None:
        self._on_stamp(message.header.stamp)
        try:
            self._on_frame(self._dated(frame_from_image(message, self._camera)))
        except FrameError as err:
            self._on_error(err)

    def _dated(self, frame: Frame) -> Frame:
        """Return the frame in its clock_epoch: stamps that went back may come again."""
        if frame.shows_clock_reset(self._newest_ns):
            self._clock_epoch += 1
            self._newest_ns = None
        self._newest_ns = max(frame.stamp_ns, self._newest_ns or 0)
        return dataclasses.replace(frame, clock_epoch=self._clock_epoch)
