"""The sensors that the governor stops by: subscriptions that turn their messages into points around the robot."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import ROSClock
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2

from vila_core.control.governor.obstacle_config import ObstacleConfig
from vila_core.control.governor.point_sources import (
    SensorError,
    points_from_cloud,
    points_from_depth,
    points_from_scan,
)
from vila_core.control.governor.transforms import Transform
from vila_core.control.limits import MAX_FUTURE_S
from vila_ros.common.conversions import ns_from_stamp
from vila_ros.common.qos import sensor_qos, subscription_events
from vila_ros.governor.mounts import Mounts

TOPICS = {"scan": "scan", "cloud": "points", "depth": "depth"}
_MIN_PERIOD_NS = 40_000_000  # of clouds and depth images, which take milliseconds: what comes sooner is left out
_MAX_SIMULATED_FUTURE_S = 0.25  # simulated time comes in steps

Note = Callable[[str, NDArray[np.float32], int], None]


class ObstacleSources:
    """Subscribes to the sensors of the configuration; each good measurement goes to `note`.

    note: gets the source's name, points [N, 2] float32 in base_frame, and when they were measured on the steady clock,
    in the node's own executor.
    """

    def __init__(self, node: Node, config: ObstacleConfig, note: Note) -> None:
        self._node, self._config, self._note = node, config, note
        self._mounts = Mounts(node, config)
        self._info: CameraInfo | None = None
        self._taken_ns: dict[str, int] = {}
        self._faults = {name: f"no message on {node.resolve_topic_name(TOPICS[name])}" for name in config.source_names}
        self._subscriptions = [self._subscribe(name) for name in config.source_names]
        if "depth" in config.source_names:
            self._subscriptions.append(self._listen(CameraInfo, "depth/camera_info", self._on_info, "depth"))

    def reconfigure(self, config: ObstacleConfig) -> None:
        """Read measurements by another configuration of the same sensors."""
        self._config = config

    def faults(self) -> str:
        """Return in words what is wrong with the last message of each source, empty if nothing is."""
        return "; ".join(f"{name}: {fault}" for name, fault in self._faults.items() if fault)

    def close(self) -> None:
        """End the subscriptions."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())
        self._mounts.close()

    def _subscribe(self, source: str) -> Subscription:
        kind, read = {
            "scan": (LaserScan, points_from_scan),
            "cloud": (PointCloud2, points_from_cloud),
            "depth": (Image, self._read_depth),
        }[source]
        return self._listen(kind, TOPICS[source], lambda message: self._take(source, message, read), source)

    def _listen(self, kind: type, topic: str, callback: Callable[[Any], None], source: str) -> Subscription:
        events = subscription_events(self._node, topic, f"obstacles.{source}_reliability")
        qos = sensor_qos(self._config.reliability_of(source))
        return self._node.create_subscription(kind, topic, callback, qos, event_callbacks=events)

    def _on_info(self, message: CameraInfo) -> None:
        self._info = message

    def _take(self, source: str, message: Any, read: Callable[..., NDArray[np.float32]]) -> None:
        now_ns = time.monotonic_ns()
        if source != "scan" and now_ns - self._taken_ns.get(source, now_ns - _MIN_PERIOD_NS) < _MIN_PERIOD_NS:
            return
        self._taken_ns[source] = now_ns
        try:
            age_ns = self._age_ns(message)
            points = read(message, self._mount(source, message), self._config)
        except SensorError as err:
            self._tell(source, str(err))
            return
        self._tell(source, "")
        self._note(source, points, now_ns - age_ns)

    def _age_ns(self, message: Any) -> int:
        """The message's age, 0 if its stamp lies a little ahead. Raises SensorError for one that can't be used."""
        clock = self._node.get_clock()
        now_ns = clock.now().nanoseconds
        age_ns = now_ns - ns_from_stamp(message.header.stamp)
        if now_ns == 0:
            raise SensorError("simulated time is not known yet")
        if age_ns > self._config.source_timeout_s * 1e9:
            raise SensorError(f"stamped {age_ns / 1e9:.2f} s ago, at most {self._config.source_timeout_s:g} s")
        is_simulated = isinstance(clock, ROSClock) and clock.ros_time_is_active
        if -age_ns > (_MAX_SIMULATED_FUTURE_S if is_simulated else MAX_FUTURE_S) * 1e9:
            raise SensorError(f"stamped {-age_ns / 1e9:.2f} s in the future: the clocks disagree")
        return max(age_ns, 0)

    def _mount(self, source: str, message: Any) -> Transform:
        frame = message.header.frame_id
        mount = self._mounts.find(source, frame)
        if mount is None:
            where = "tf has no transform of it" if self._mounts.has_tf else "there is no tf"
            base = self._config.base_frame
            raise SensorError(f"frame {frame[:80]!r} is not known in {base}, {where}: set {source}_mount")
        return mount

    def _read_depth(self, image: Image, mount: Transform, config: ObstacleConfig) -> NDArray[np.float32]:
        if self._info is None:
            raise SensorError(f"no message on {self._node.resolve_topic_name('depth/camera_info')}")
        return points_from_depth(image, self._info, mount, config)

    def _tell(self, source: str, fault: str) -> None:
        """Keep what is wrong; log once when it begins and once when it is over."""
        before, self._faults[source] = self._faults[source], fault
        if fault and (not before or before.startswith("no message")):
            self._node.get_logger().warning(f"{source} ignored: {fault}")
        elif before and not fault:
            self._node.get_logger().info(f"{source} is measured")
