"""Real processes, and then one of them is killed, hangs, or time jumps back: the robot stands still."""

from __future__ import annotations

import dataclasses
import os
import signal
import time

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import String

from vila_core.testing import Unicycle
from vila_core.types import VelocityCommand
from vila_ros.common.conversions import message_from_odometry, stamp_from_ns
from vila_ros.common.qos import reliable_qos
from vila_ros.common.velocity import velocity_from_message
from vila_tools.session.processes import NodeSpec, ProcessGroup

pytestmark = pytest.mark.slow
PERIOD_S = 0.02
TOLERANCE_S = 0.9  # heartbeat or odometry timeout 0.5 s, and what two processes add
NAVIGATOR = """
import sys
from vila_core.actions.grammar import SENTENCES
from vila_core.testing import ScriptedBackend
from vila_ros.navigator.node import NavigatorNode
from vila_ros.common.node_main import run_node

def make():
    node = NavigatorNode(load=lambda *_, **__: ScriptedBackend(SENTENCES[3]))
    node.bring_up()
    return node

if __name__ == "__main__":
    sys.exit(run_node(make, "navigator"))
"""


class Body(Node):
    """A robot with odometry and a camera, which does what cmd_vel says; its clock can be set back."""

    def __init__(self) -> None:
        super().__init__("body")
        self.body, self.command, self.offset_s = Unicycle(), VelocityCommand(), 0.0
        self.commands_after: list[tuple[float, VelocityCommand]] = []
        self._images = 0
        self._odometry = self.create_publisher(OdometryMsg, "odom", reliable_qos())
        self._image = self.create_publisher(Image, "image_raw", reliable_qos(1))
        self.instruction = self.create_publisher(String, "navigator/instruction", reliable_qos(1))
        self.create_subscription(TwistStamped, "cmd_vel_nav", self._on_velocity, reliable_qos())
        self.create_timer(PERIOD_S, self._on_timer)

    def _on_velocity(self, message: TwistStamped) -> None:
        self.command = velocity_from_message(message)
        self.commands_after.append((time.monotonic(), self.command))

    def _on_timer(self) -> None:
        now_ns = self.get_clock().now().nanoseconds + round(self.offset_s * 1e9)
        odometry = dataclasses.replace(self.body.drive(self.command, PERIOD_S), stamp_ns=now_ns)
        self._odometry.publish(message_from_odometry(odometry))
        self._images += 1
        image = Image(height=48, width=64, encoding="rgb8", step=192, data=bytes([self._images % 256]) * (48 * 192))
        image.header.stamp = stamp_from_ns(now_ns)
        self._image.publish(image)


@pytest.fixture
def driving(spinner, ros_environment, tmp_path, monkeypatch, wait_until):
    """The body, driven by a navigator and a controller, each a process of its own."""
    (tmp_path / "endless_navigator.py").write_text(NAVIGATOR)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    body = spinner.add(Body())
    with ProcessGroup({**ros_environment, "PYTHONPATH": path}, tmp_path / "log") as nodes:
        nodes.start(NodeSpec("controller", "vila_ros.controller.node"))
        navigator = nodes.start(NodeSpec("navigator", "endless_navigator", parameters={"checkpoint": str(tmp_path)}))
        wait_until(lambda: body.instruction.get_subscription_count() > 0, "the navigator to be there")
        wait_until(lambda: body.count_publishers("controller/execution") > 0, "the controller to be there")

        def moves() -> bool:
            if body.command.is_zero:
                body.instruction.publish(String(data="go on"))
                time.sleep(0.5)
            return body.command.linear_mps > 0.1

        wait_until(moves, "the robot to drive")
        yield body, navigator


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_navigator_that_dies_or_hangs_stops_the_robot(driving, wait_until, lateness, number: int) -> None:
    body, navigator = driving
    at = time.monotonic()
    os.kill(navigator, number)
    try:
        stands_still(body, at, wait_until, lateness)
    finally:
        os.kill(navigator, signal.SIGCONT)


def test_a_clock_that_jumps_back_stops_the_robot(driving, wait_until, lateness) -> None:
    body, _ = driving
    at = time.monotonic()
    body.offset_s = -30.0
    stands_still(body, at, wait_until, lateness)


def stands_still(body: Body, since_s: float, wait_until, lateness) -> None:
    """Zero within the tolerance, and zero it stays."""
    wait_until(lambda: body.command.is_zero, "zero velocity")
    last_s = since_s + TOLERANCE_S + lateness.since(since_s)
    wait_until(lambda: time.monotonic() > last_s + 1.0)
    late = [command for at_s, command in body.commands_after if at_s > last_s]
    assert late and all(command.is_zero for command in late)
