"""The simulator as a process, as it runs on a user's machine: what it publishes and how it obeys."""

from __future__ import annotations

import subprocess
import time

import numpy as np
import pytest
from conftest import HANG_S

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")
pytest.importorskip("vila_sim.mujoco.simulator")

from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2
from std_srvs.srv import Trigger

from vila_core.control.governor.obstacle_config import ObstacleConfig
from vila_core.control.governor.point_sources import points_from_cloud
from vila_core.control.governor.transforms import from_mount
from vila_core.types import Odometry
from vila_ros.common.conversions import frame_from_image, ns_from_stamp, odometry_from_message
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_sim.episodes.scenario import make_scenario
from vila_tools.session.processes import NodeSpec

pytestmark = pytest.mark.slow
INSTRUCTION = "go to the blue chair"


class Client(Node):
    """Hears everything, drives by cmd_vel."""

    def __init__(self) -> None:
        super().__init__("client")
        self.images: list[Image] = []
        self.infos: list[CameraInfo] = []
        self.scans: list[LaserScan] = []
        self.clouds: list[PointCloud2] = []
        self.odometry: list[Odometry] = []
        self.clock_ns: list[int] = []
        self.create_subscription(Image, "camera/image_raw", self.images.append, sensor_qos())
        self.create_subscription(CameraInfo, "camera/camera_info", self.infos.append, sensor_qos())
        self.create_subscription(LaserScan, "scan", self.scans.append, sensor_qos())
        self.create_subscription(PointCloud2, "points", self.clouds.append, sensor_qos())
        self.create_subscription(
            OdometryMsg, "odom", lambda m: self.odometry.append(odometry_from_message(m)), sensor_qos(depth=5)
        )
        self.create_subscription(Clock, "/clock", lambda m: self.clock_ns.append(ns_from_stamp(m.clock)), sensor_qos())
        self.velocity = self.create_publisher(TwistStamped, "cmd_vel", reliable_qos(1))
        self.reset = self.create_client(Trigger, "simulator/reset")
        self.twist: TwistStamped | None = None
        self.create_timer(0.05, self._on_timer)

    def _on_timer(self) -> None:
        if self.twist is not None:
            self.velocity.publish(self.twist)


@pytest.fixture(scope="module")
def process(ros_environment):
    parameters = {"instruction": INSTRUCTION, "seed": 4, "camera.width_px": 96, "camera.height_px": 64}
    spec = NodeSpec("simulator", "vila_ros.simulator.node", parameters=parameters)
    process = subprocess.Popen(spec.command(), env=ros_environment)
    yield process
    process.terminate()
    assert process.wait(HANG_S) == 0, "the simulator did not end in good order"


@pytest.fixture
def client(process, spinner, wait_until) -> Client:
    client = spinner.add(Client())

    def is_heard() -> bool:
        assert process.poll() is None, "the simulator has ended"
        return bool(client.images and client.infos and client.scans and client.odometry)

    wait_until(is_heard, "the simulator")
    wait_until(lambda: client.velocity.get_subscription_count() and client.reset.service_is_ready())
    return client


def test_it_publishes_what_a_robot_has(client: Client, wait_until) -> None:
    wait_until(lambda: len(client.images) >= 10 and len(client.scans) >= 5 and client.clouds)
    frame = frame_from_image(client.images[-1])
    assert frame.image.shape == (64, 96, 3) and frame.image.std() > 5
    info = client.infos[-1]
    assert (info.width, info.height) == (96, 64) and info.k[0] == pytest.approx(48.0)  # 90 degrees
    assert client.images[-1].header.frame_id == "camera_optical"
    ranges = np.array(client.scans[-1].ranges)
    assert len(ranges) == 180 and np.isfinite(ranges).mean() > 0.9 and ranges.min() > 0.15
    near = points_from_cloud(client.clouds[-1], from_mount((0, 0, 0.25, 0, 0)), ObstacleConfig())
    assert len(near) > 20 and np.hypot(*near.T).min() > 0.15


@pytest.mark.parametrize(
    ("topic", "rate_hz"), [("images", 10), ("odometry", 30), ("scans", 10), ("clouds", 10), ("clock_ns", 50)]
)
def test_rates_in_simulated_time(client: Client, wait_until, topic: str, rate_hz: float) -> None:
    wait_until(lambda: client.clock_ns and client.clock_ns[-1] - client.clock_ns[0] > 2e9)
    stamps_ns = np.array([stamp_ns_of(message) for message in getattr(client, topic)])
    ten_ns = 10e9 / rate_hz
    in_that_time = [np.count_nonzero((stamps_ns >= first) & (stamps_ns < first + ten_ns)) for first in stamps_ns]
    assert max(in_that_time) == pytest.approx(10, abs=2)  # the best of them: a busy machine loses some


def stamp_ns_of(message) -> int:
    """When it was made: clocks are kept as a number, odometry as ours, all else as it came."""
    if isinstance(message, int):
        return message
    return message.stamp_ns if isinstance(message, Odometry) else ns_from_stamp(message.header.stamp)


def test_stamps_grow_and_agree_with_the_clock(client: Client, wait_until) -> None:
    wait_until(lambda: len(client.odometry) > 20)
    stamps = [o.stamp_ns for o in client.odometry]
    assert stamps == sorted(set(stamps)) and stamps[0] > 0
    assert abs(stamps[-1] - client.clock_ns[-1]) < 2e8


def test_the_start_is_that_of_the_scenario(client: Client, wait_until) -> None:
    start = make_scenario(INSTRUCTION, 4).start
    assert client.odometry[-1].pose.distance_m(start) < 0.01


def test_it_drives_by_cmd_vel_and_stops_when_nobody_commands(client: Client, wait_until, lateness) -> None:
    turning = TwistStamped()
    turning.twist.angular.z = 0.5
    client.twist = turning
    wait_until(lambda: client.odometry[-1].angular_rps > 0.4, what="the robot to turn")
    client.twist = None
    last_ns = client.clock_ns[-1]
    begun = time.monotonic()
    wait_until(lambda: abs(client.odometry[-1].angular_rps) < 0.02, what="the robot to stand")
    assert client.odometry[-1].stamp_ns - last_ns <= 0.7e9 + lateness.since(begun) * 1e9


def test_reset_puts_the_robot_back_and_time_goes_on(client: Client, wait_until) -> None:
    start = make_scenario(INSTRUCTION, 4).start
    turning = TwistStamped()
    turning.twist.angular.z = 1.0
    client.twist = turning
    wait_until(lambda: abs(client.odometry[-1].pose.yaw_rad - start.yaw_rad) > 0.3)
    client.twist = None
    before_ns = client.clock_ns[-1]
    future = client.reset.call_async(Trigger.Request())
    wait_until(future.done)
    assert future.result().success
    wait_until(lambda: client.odometry[-1].stamp_ns > before_ns + 5e8)
    assert client.odometry[-1].pose.yaw_rad == pytest.approx(start.yaw_rad, abs=0.01)
    assert client.clock_ns == sorted(client.clock_ns)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"instruction": "go home"}, ["'go home'", "red", "chair"]),
        pytest.param({"realtime_factor": -1.0}, ["realtime_factor = -1.0"], marks=pytest.mark.long),
        pytest.param({"camera.width": 3}, ["'camera.width'", "camera.width_px"], marks=pytest.mark.long),
    ],
)
def test_what_cannot_be_simulated_is_refused(ros_environment, parameters, words) -> None:
    spec = NodeSpec("simulator", "vila_ros.simulator.node", parameters=parameters)
    done = subprocess.run(spec.command(), env=ros_environment, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 2 and all(word in done.stderr for word in words), done.stderr
