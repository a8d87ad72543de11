"""What the simulated robot's sensors tell, on the topics of a real robot, each at its rate of simulated time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2
from std_msgs.msg import Header, String

from vila_core.types import Frame
from vila_ros.common.conversions import image_from_frame, message_from_odometry, stamp_from_ns
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_ros.simulator.lasers import cloud_message, scan_message
from vila_ros.simulator.transforms import make_transforms
from vila_ros.simulator.world import SimulatorNodeConfig
from vila_sim.events.stage import Playback
from vila_sim.mujoco.simulator import Simulator
from vila_sim.robot import SCAN_MAX_M, CameraConfig, RobotConfig
from vila_sim.truth import GLIMPSED_PIXELS, PLAIN_PIXELS, Truth

Scripted = tuple[Playback, float]  # what is played, and the time of the script


class Outputs:
    """Publishes camera, odometry, scan, points and tf, and what goes on where something is scripted.

    In the simulation thread. A laser that nobody hears does not turn.
    """

    def __init__(self, node: Node, config: SimulatorNodeConfig, camera: CameraConfig, robot: RobotConfig) -> None:
        self._config, self._camera = config, camera
        self._scripted: Scripted | None = None
        image_qos = sensor_qos(config.image_reliability)
        self._images = node.create_publisher(Image, "camera/image_raw", image_qos)
        self._camera_infos = node.create_publisher(CameraInfo, "camera/camera_info", image_qos)
        self._odometries = node.create_publisher(OdometryMsg, "odom", reliable_qos(5))
        self._scans = node.create_publisher(LaserScan, "scan", sensor_qos())
        self._clouds = node.create_publisher(PointCloud2, "points", sensor_qos())
        self._transforms = make_transforms(node, config, camera, robot)
        if config.scripted_events:
            self._scripted_events = node.create_publisher(String, "~/scripted_events", reliable_qos(100))
        self._schedule = (
            _Due(config.odometry_rate_hz, self._publish_odometry),
            _Due(config.image_rate_hz, self._publish_image),
            _Due(config.scan_rate_hz, self._publish_scan),
            _Due(config.cloud_rate_hz, self._publish_cloud),
        )

    def publish(self, simulator: Simulator, scripted: Scripted | None) -> None:
        """Publish what is due. scripted: what is played now, if anything is."""
        self._scripted = scripted
        for due in self._schedule:
            if due.is_due(simulator.time_ns):
                due.publish(simulator)

    def _publish_odometry(self, simulator: Simulator) -> None:
        odometry = simulator.odometry()
        self._odometries.publish(message_from_odometry(odometry, self._config.odometry_frame, self._config.base_frame))
        if self._transforms is not None:
            self._transforms.publish(odometry)

    def _publish_image(self, simulator: Simulator) -> None:
        frame = Frame(simulator.render(), simulator.time_ns)
        image = image_from_frame(frame, self._config.camera_frame)
        self._images.publish(image)
        info = camera_info(self._camera)
        info.header = image.header
        self._camera_infos.publish(info)
        if self._scripted is not None:
            self._publish_truth(frame.stamp_ns, *self._scripted)

    def _publish_truth(self, stamp_ns: int, playback: Playback, script_s: float) -> None:
        """Publish what goes on in an image that was just published."""
        at_s = script_s if math.isfinite(script_s) else None
        told = {"stamp_ns": stamp_ns, "script_s": at_s} | _going_on(playback.truth())
        self._scripted_events.publish(String(data=json.dumps(told)))

    def _publish_scan(self, simulator: Simulator) -> None:
        if not self._scans.get_subscription_count():
            return
        ranges = simulator.scan(self._config.scan_rays, 2 * math.pi, SCAN_MAX_M)
        self._scans.publish(scan_message(ranges, self._laser_header(simulator), self._config.scan_rate_hz))

    def _publish_cloud(self, simulator: Simulator) -> None:
        if not self._clouds.get_subscription_count():
            return
        self._clouds.publish(cloud_message(simulator.cloud(), self._laser_header(simulator)))

    def _laser_header(self, simulator: Simulator) -> Header:
        return Header(stamp=stamp_from_ns(simulator.time_ns), frame_id=self._config.scan_frame)


class _Due:
    """Something to be published at a rate of simulated time."""

    def __init__(self, rate_hz: float, publish: Callable[[Simulator], None]) -> None:
        self._period_ns = round(1e9 / rate_hz)
        self._next_ns = 0
        self.publish = publish

    def is_due(self, time_ns: int) -> bool:
        """Return True once a period; at once if the time has gone back."""
        if self._next_ns - self._period_ns <= time_ns < self._next_ns:
            return False
        self._next_ns = max(self._next_ns + self._period_ns, time_ns - self._period_ns)
        if self._next_ns > time_ns + self._period_ns:
            self._next_ns = time_ns + self._period_ns
        return True


def _going_on(truth: Truth) -> dict[str, list[list[str]]]:
    """What goes on in view, as [verb, colour, kind]: plainly, and at least glimpsed."""
    least = {"goes_on": PLAIN_PIXELS, "glimpsed": GLIMPSED_PIXELS}
    return {key: [[verb, *pair] for verb, pair in truth.goes_on(pixels)] for key, pixels in least.items()}


def camera_info(camera: CameraConfig) -> CameraInfo:
    """Return the intrinsics of the simulated pinhole camera: no distortion, centre in the middle."""
    focal, cx, cy = camera.focal_px, camera.width_px / 2, camera.height_px / 2
    return CameraInfo(
        height=camera.height_px,
        width=camera.width_px,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=[focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )
