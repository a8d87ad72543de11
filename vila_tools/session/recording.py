"""What happened, kept: a node that hears the whole run, and a bag that Foxglove opens."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import Odometry as OdometryMsg
from numpy.typing import NDArray
from PIL import Image as Picture
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan
from std_msgs.msg import String
from vila_nav.msg import DecisionStats, GovernorState, Mission, NavAction, TemporalEvent

from vila_core.files.writing import written_whole
from vila_core.types import Odometry
from vila_ros.common.conversions import frame_from_image, odometry_from_message
from vila_ros.common.qos import latched_qos, reliable_qos, sensor_qos
from vila_ros.common.velocity import is_stamped, velocity_type
from vila_ros.recorder.bag_file import BagFile, Channel, kind_of

_JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True)
class Recorded:
    """A message as it was heard. time_ns: simulated time of its receipt."""

    topic: str
    time_ns: int
    message: Any


class Recorder(Node):
    """Hears sensors, odometry, tf and all that our nodes tell; keeps all, images as JPEG.

    qos: what the publishers of each topic offered. tf is heard where its messages are installed.
    """

    def __init__(self) -> None:
        super().__init__("recorder", parameter_overrides=[Parameter("use_sim_time", value=True)])
        self.records: list[Recorded] = []
        self.images: list[tuple[int, bytes]] = []  # time_ns, JPEG
        self.odometry: list[Odometry] = []
        self.newest: dict[str, Any] = {}  # message by topic
        self.qos: dict[str, tuple[QoSProfile, ...]] = {}
        self._levels: dict[str, bytes] = {}  # of the diagnostics, by node
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, reliable_qos(10))
        self.create_subscription(Image, "camera/image_raw", self._on_image, sensor_qos())
        self.create_subscription(OdometryMsg, "odom", self._on_odometry, sensor_qos(depth=5))
        for kind, topic in (
            (NavAction, "navigator/action"),
            (NavAction, "controller/execution"),
            (DecisionStats, "navigator/stats"),
            (velocity_type(is_stamped("auto")), "cmd_vel"),
            (Mission, "navigator/mission"),
            (GovernorState, "governor/state"),
            (TemporalEvent, "navigator/events"),
            (String, "simulator/scripted_events"),
        ):
            self.create_subscription(kind, topic, partial(self._note, f"/{topic}"), reliable_qos(100))
        for kind, topic in ((LaserScan, "scan"), (CameraInfo, "camera/camera_info")):
            self.create_subscription(kind, topic, partial(self._note, f"/{topic}"), sensor_qos())
        if (kind := _transforms()) is not None:
            self.create_subscription(kind, "/tf", partial(self._note, "/tf"), reliable_qos(100))
            self.create_subscription(kind, "/tf_static", partial(self._note, "/tf_static"), latched_qos(100))

    def is_ready(self, node: str) -> bool:
        """Return True if the node's last diagnostics told of no error: it has its clock, images, odometry."""
        return self._levels.get(node, DiagnosticStatus.ERROR) != DiagnosticStatus.ERROR

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self._levels.update((status.name, status.level) for status in message.status)

    def _on_image(self, message: Image) -> None:
        jpeg = jpeg_from_image(frame_from_image(message).image)
        compressed = CompressedImage(header=message.header, format="jpeg", data=jpeg)
        self.images.append((self._keep("/camera/image_raw/compressed", compressed, "/camera/image_raw"), jpeg))

    def _on_odometry(self, message: OdometryMsg) -> None:
        self.odometry.append(odometry_from_message(message))
        self._keep("/odom", message)

    def _note(self, topic: str, message: Any) -> None:
        self._keep(topic, message)

    def _keep(self, topic: str, message: Any, heard_on: str = "") -> int:
        time_ns = self.get_clock().now().nanoseconds
        if topic not in self.qos:
            publishers = self.get_publishers_info_by_topic(heard_on or topic)
            self.qos[topic] = tuple(publisher.qos_profile for publisher in publishers)
        self.records.append(Recorded(topic, time_ns, message))
        self.newest[topic] = message
        return time_ns


def _transforms() -> Any:
    """The type of tf's messages, None where they are not installed."""
    try:
        return import_module("tf2_msgs.msg").TFMessage
    except ImportError:
        return None


def jpeg_from_image(image: NDArray[np.uint8]) -> bytes:
    """Return the picture [H, W, 3] RGB as JPEG."""
    buffer = io.BytesIO()
    Picture.fromarray(image).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def write_bag(path: Path, records: Iterable[Recorded], qos: Mapping[str, Sequence[QoSProfile]] | None = None) -> None:
    """Write the messages as an MCAP bag of the ROS 2 profile, with their definitions inside.

    qos: what the publishers of each topic offered, so that `ros2 bag play` offers the same.
    Raises MissingDependencyError if a message's definition is not installed, OutputError where it cannot be written,
    and what the records raise; no bag is left then.
    """
    with written_whole(path) as made, made.open("wb") as file:
        bag = BagFile(file)
        channels: dict[str, Channel] = {}
        for record in records:
            if record.topic not in channels:
                offered = tuple((qos or {}).get(record.topic, ()))
                channels[record.topic] = Channel(record.topic, kind_of(record.message), offered)
            bag.add(channels[record.topic], record.time_ns, serialize_message(record.message))
        bag.finish()
