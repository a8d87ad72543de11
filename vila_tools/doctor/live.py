"""What the doctor goes by, heard on the graph of a robot that runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from vila_nav.msg import DecisionStats, Mission

from vila_core.doctor.gather import COMPRESSED, IMAGE, INFO, MISSION, ODOMETRY, STATS, TF, Gatherer
from vila_core.doctor.observations import Endpoint, HostClocks, Limits
from vila_core.errors import VilaError
from vila_ros.common.qos import latched_qos, sensor_qos
from vila_ros.common.topics import COMPRESSED_SUFFIX, MISSIONS

_DEPTH = 20
_PARAMETERS = ("navigator.max_image_age_s", "navigator.decision_deadline_s", "checkpoint")


class DoctorNode(Node):
    """Hears a robot; `discover` before `listen`, with a second in between, so that the graph is known.

    topics: what the robot calls `image`, `odom`, `cmd_vel`. gatherer: what was heard.
    """

    def __init__(self, namespace: str, topics: Mapping[str, str]) -> None:
        arguments = ["--ros-args", "-r", f"__ns:=/{namespace.strip('/')}"] if namespace.strip("/") else []
        super().__init__("doctor", cli_args=arguments)
        self._names = {name: self.resolve_topic_name(topic) for name, topic in topics.items()}
        self.gatherer = Gatherer()
        self.image_topic = self._names["image"]
        self._of_navigator: dict[str, Any] = {}
        self._asks: Any = self.create_client(GetParameters, "navigator/get_parameters")

    @property
    def limits(self) -> Limits:
        """What the navigator that runs holds its inputs to; the defaults if none was heard."""
        known, usual = self._of_navigator, Limits()
        return Limits(
            float(known.get(_PARAMETERS[0], usual.max_image_age_s)),
            float(known.get(_PARAMETERS[1], usual.decision_deadline_s)),
        )

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint of the navigator that runs, "" for the embedded one, None if none was heard."""
        return self._of_navigator.get(_PARAMETERS[2])

    def listen(self) -> None:
        """Subscribe to what is there; follow simulated time where there is some."""
        if self.count_publishers("/clock"):
            self.set_parameters([Parameter("use_sim_time", value=True)])
        image = self.image_topic
        if not self.count_publishers(image) and self.count_publishers(image + COMPRESSED_SUFFIX):
            self.image_topic = image + COMPRESSED_SUFFIX
        is_packed = self.image_topic.endswith(COMPRESSED_SUFFIX)
        raw = image.removesuffix(COMPRESSED_SUFFIX)
        self._hear(CompressedImage if is_packed else Image, self.image_topic, COMPRESSED if is_packed else IMAGE)
        self._hear(CameraInfo, f"{raw.rpartition('/')[0]}/camera_info", INFO)
        self._hear(Odometry, self._names["odom"], ODOMETRY)
        self._hear(DecisionStats, "navigator/stats", STATS)
        self._hear(Mission, MISSIONS, MISSION)
        self._hear_commands()
        self._hear_transforms()
        if self._asks.service_is_ready():
            request = GetParameters.Request(names=list(_PARAMETERS))
            self._asks.call_async(request).add_done_callback(self._on_parameters)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the ends of all topics on the graph but our own."""
        found = []
        for topic, _ in self.get_topic_names_and_types():
            for infos, is_publisher in (
                (self.get_publishers_info_by_topic(topic), True),
                (self.get_subscriptions_info_by_topic(topic), False),
            ):
                found += [_endpoint(topic, info, is_publisher) for info in infos if info.node_name != self.get_name()]
        return tuple(found)

    def silence(self, seconds: float) -> VilaError:
        """Say that nothing was heard, and what to do."""
        image, odom = self._names["image"], self._names["odom"]
        counts = ", ".join(f"{topic}: {self.count_publishers(topic)}" for topic in (image, odom))
        return VilaError(
            f"nothing was heard in {seconds:g} s; publishers of {counts}. Does the robot's driver run, in domain "
            f"{os.environ.get('ROS_DOMAIN_ID', '0')}, and under these names (--robot, --image, --namespace)?"
        )

    def clocks(self) -> HostClocks:
        """How far the clocks of this machine are ahead of the robot's."""
        now_ns, is_simulated = self.now_ns(), bool(self.get_parameter("use_sim_time").value)
        return HostClocks(is_simulated, time.time_ns() - now_ns, time.monotonic_ns() - now_ns)

    def now_ns(self) -> int:
        """The time by the clock that the robot's nodes have."""
        return int(self.get_clock().now().nanoseconds)

    def _hear(self, kind: Any, topic: str, name: str, qos: QoSProfile | None = None) -> None:
        take: Callable[[Any], None] = lambda message: self.gatherer.take(name, topic, message, self.now_ns())  # noqa: E731
        self.create_subscription(kind, topic, take, qos or sensor_qos(depth=_DEPTH))

    def _hear_commands(self) -> None:
        topic = self._names["cmd_vel"]
        infos = (*self.get_publishers_info_by_topic(topic), *self.get_subscriptions_info_by_topic(topic))
        is_plain = any(info.topic_type == "geometry_msgs/msg/Twist" for info in infos)
        name = "geometry_msgs/msg/" + ("Twist" if is_plain else "TwistStamped")
        self._hear(Twist if is_plain else TwistStamped, topic, name)

    def _hear_transforms(self) -> None:
        try:
            kind = import_module("tf2_msgs.msg").TFMessage
        except ImportError:
            return
        self._hear(kind, "/tf_static", TF, latched_qos(100))
        self._hear(kind, "/tf", TF, sensor_qos(depth=100))

    def _on_parameters(self, future: Any) -> None:
        answer = future.result()
        if answer is not None:
            values = map(parameter_value_to_python, answer.values)
            self._of_navigator = {
                name: value for name, value in zip(_PARAMETERS, values, strict=False) if value is not None
            }


def _endpoint(topic: str, info: Any, is_publisher: bool) -> Endpoint:
    profile = info.qos_profile
    return Endpoint(
        topic,
        f"{info.node_namespace.rstrip('/')}/{info.node_name}",
        is_publisher,
        profile.reliability == QoSReliabilityPolicy.RELIABLE,
        profile.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL,
    )
