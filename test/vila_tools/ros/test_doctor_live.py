"""`vila doctor` beside a robot that runs: what it hears, a drive, and graphs on which nothing is to be heard."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from conftest import HANG_S

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from vila_core.testing import make_frame
from vila_core.types import Frame, Odometry, Pose, VelocityCommand
from vila_ros.common.conversions import image_from_frame, message_from_odometry
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_ros.common.velocity import velocity_from_message
from vila_tools.doctor.drive import OdometryDrive

_PERIOD_S = 0.05


class Base(Node):
    """A camera and a base that obeys at once; scale: of what odometry tells of it."""

    def __init__(self, scale: float = 1.0, *, sees: bool = True) -> None:
        super().__init__("base")
        self.pose, self.command, self.commands = Pose(), VelocityCommand(), []
        self._scale, self._sees, self._number = scale, sees, 0
        self._images = self.create_publisher(Image, "camera/image_raw", sensor_qos())
        self._infos = self.create_publisher(CameraInfo, "camera/camera_info", sensor_qos())
        self._odometry = self.create_publisher(OdometryMsg, "odom", reliable_qos())
        self.create_subscription(TwistStamped, "cmd_vel", self._on_command, reliable_qos(1))
        self.create_timer(_PERIOD_S, self._on_timer)

    def _on_command(self, message: TwistStamped) -> None:
        self.command = velocity_from_message(message)
        self.commands.append(self.command)

    def _on_timer(self) -> None:
        self.pose = self.pose.advanced(self.command.linear_mps * _PERIOD_S).turned(self.command.angular_rps * _PERIOD_S)
        now_ns = self.get_clock().now().nanoseconds
        pose = Pose(self._scale * self.pose.x_m, self._scale * self.pose.y_m, self.pose.yaw_rad)
        odometry = Odometry(now_ns, pose, self._scale * self.command.linear_mps, self.command.angular_rps)
        self._odometry.publish(message_from_odometry(odometry))
        self._number += 1
        if self._sees and self._number % 2:
            image = image_from_frame(Frame(make_frame(now_ns).image, now_ns), "eye")
            self._images.publish(image)
            focal = image.width / 2
            info = CameraInfo(
                width=image.width, height=image.height, k=[focal, 0.0, 0.0, 0.0, focal, 0.0, 0.0, 0.0, 1.0]
            )
            info.header = image.header
            self._infos.publish(info)


def doctor(environment, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "vila_tools.cli", "doctor", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG_S, check=False)


def findings(done: subprocess.CompletedProcess) -> dict[str, dict[str, str]]:
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout.splitlines()[-1])["findings"]


def test_a_graph_on_which_nothing_is_heard_is_one_line(ros, ros_environment):
    done = doctor(ros_environment, "--seconds", "1")
    lines = [line for line in done.stderr.splitlines() if line.startswith("vila: ")]
    assert done.returncode == 2 and len(lines) == 1, done.stderr
    assert "nothing was heard in 1 s" in lines[0] and "/camera/image_raw: 0" in lines[0]


def test_a_robot_that_stands_is_judged_as_far_as_that_goes(ros, ros_environment, spinner):
    spinner.add(Base())
    told = findings(doctor(ros_environment, "--seconds", "3"))
    levels = {name: finding["level"] for name, finding in told.items()}
    for name in ("image rate", "encoding", "field of view", "odometry rate", "camera clock", "odometry clock", "qos"):
        assert levels[name] == "green", told[name]
    assert levels["orientation"] == levels["odometry scale"] == levels["left right"] == "unknown"
    assert levels["disk"] != "unknown" and levels["kernels"] != "unknown"


@pytest.mark.long
def test_a_publisher_that_does_not_fit_is_named(ros, ros_environment, spinner):
    spinner.add(Base())
    viewer = spinner.add(Node("viewer"))
    viewer.create_subscription(Image, "camera/image_raw", lambda _: None, reliable_qos(1))
    told = findings(doctor(ros_environment, "--seconds", "2"))["qos"]
    assert told["level"] == "red" and "/base offers best_effort, /viewer asks for reliable" in told["text"]


@pytest.mark.long
def test_a_drive_tells_sign_and_scale_and_ends_in_zeros(ros, ros_environment, spinner):
    base = spinner.add(Base(scale=0.5))
    done = doctor(ros_environment, "--seconds", "1", "--drive")
    told = findings(done)
    assert told["odometry sign"]["level"] == "green", told["odometry sign"]
    assert told["odometry scale"]["level"] == "red" and "driven 0.5" in told["odometry scale"]["text"]
    assert done.returncode == 1
    assert base.commands[-1].is_zero and base.command.is_zero
    assert 0.3 < base.pose.distance_m(Pose()) < 0.7 and abs(base.pose.yaw_rad) < math.radians(30)


def test_nobody_drives_beside_another(ros, ros_environment, spinner):
    base = spinner.add(Base())
    driver = spinner.add(Node("driver"))
    driver.create_publisher(TwistStamped, "cmd_vel", 1)
    done = doctor(ros_environment, "--seconds", "1", "--drive")
    assert done.returncode == 2 and "no drive: /driver publishes /cmd_vel too" in done.stderr
    assert not base.commands


def test_a_drive_ends_when_odometry_falls_silent_runs_away_or_another_drives(ros, spinner, wait_until):
    base, node = spinner.add(Base()), spinner.add(Node("doctor"))
    wait_until(lambda: node.get_subscriptions_info_by_topic("/cmd_vel"))
    here = Odometry(1, Pose())

    silent = OdometryDrive(node, "cmd_vel", "stamped")
    silent.tick(here, 0.0)
    silent.tick(here, 1.0)
    assert silent.is_over and "fell silent" in silent.fault

    away = OdometryDrive(node, "cmd_vel", "stamped")
    away.tick(here, 0.0)
    away.tick(Odometry(2, Pose(0.9)), 0.0)
    assert away.is_over and "more than 0.8 m" in away.fault

    drive = OdometryDrive(node, "cmd_vel", "stamped")
    drive.tick(here, 0.0)
    assert not drive.is_over
    other = spinner.add(Node("other"))
    other.create_publisher(TwistStamped, "cmd_vel", 1)
    wait_until(lambda: (drive.tick(here, 0.0), drive.is_over)[1])
    assert "/other publishes /cmd_vel too" in drive.fault
    wait_until(lambda: base.commands and base.commands[-1].is_zero)
