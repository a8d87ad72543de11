"""Real processes, and then one of them is killed, hangs, or time jumps back: the robot stands, and stays so."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from pathlib import Path
from typing import ClassVar

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from sensor_msgs.msg import Image
from vila_nav.msg import Mission
from vila_nav.srv import SetInstruction

from vila_core.testing import Unicycle, make_frame
from vila_core.types import VelocityCommand
from vila_ros.common.conversions import image_from_frame, message_from_odometry, stamp_from_ns
from vila_ros.common.qos import reliable_qos
from vila_ros.common.velocity import velocity_from_message
from vila_tools.session.processes import NodeSpec, ProcessGroup

pytestmark = pytest.mark.slow
PERIOD_S = 0.02
BLIND = {"obstacles.sources": "", "obstacles.required": False}
TOLERANCE_S = 0.4
JUMP_TOLERANCE_S = 0.9
HICCUP_S = 0.5
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


class Base(Node):
    """A robot with odometry and a camera that obeys its last command for ever; its clock can be set back."""

    def __init__(self) -> None:
        super().__init__("base")
        self.body, self.command, self.offset_s = Unicycle(), VelocityCommand(), 0.0
        self.commands: list[tuple[float, VelocityCommand]] = []
        self.mission: Mission | None = None
        self._images = 0
        self._odometry = self.create_publisher(OdometryMsg, "odom", reliable_qos())
        self._image = self.create_publisher(Image, "image_raw", reliable_qos(1))
        self.set_instruction = self.create_client(SetInstruction, "navigator/set_instruction")
        self.create_subscription(TwistStamped, "cmd_vel", self._on_velocity, reliable_qos())
        self.create_subscription(Mission, "navigator/mission", lambda m: setattr(self, "mission", m), reliable_qos())
        self.create_timer(PERIOD_S, self._on_timer)

    def instruct(self) -> None:
        if self.set_instruction.service_is_ready():
            self.set_instruction.call_async(SetInstruction.Request(instruction="go on"))

    def _on_velocity(self, message: TwistStamped) -> None:
        self.command = velocity_from_message(message)
        self.commands.append((time.monotonic(), self.command))

    def _on_timer(self) -> None:
        now_ns = self.get_clock().now().nanoseconds + round(self.offset_s * 1e9)
        odometry = dataclasses.replace(self.body.drive(self.command, PERIOD_S), stamp_ns=now_ns)
        self._odometry.publish(message_from_odometry(odometry))
        self._images += 1
        image = image_from_frame(make_frame(seed=self._images))
        image.header.stamp = stamp_from_ns(now_ns)
        self._image.publish(image)


class Robot:
    """The base, and the processes that drive it."""

    SPECS: ClassVar = {
        "controller": NodeSpec("controller", "vila_ros.controller.node"),
        "governor": NodeSpec("governor", "vila_ros.governor.node", parameters=BLIND),
        "watchdog": NodeSpec("watchdog", "vila_ros.watchdog.node"),
        "navigator": NodeSpec("navigator", "endless_navigator"),
    }

    def __init__(self, base: Base, nodes: ProcessGroup, wait_until) -> None:
        self.base, self._nodes, self._wait_until = base, nodes, wait_until
        for name in self.SPECS:
            self.start(name)

    def start(self, name: str) -> None:
        self._nodes.start(self.SPECS[name])

    def signal(self, name: str, number: int) -> None:
        os.kill(self._nodes.process_id(name), number)

    def shares_memory(self, name: str) -> bool:
        maps = Path(f"/proc/{self._nodes.process_id(name)}/maps").read_text(encoding="utf-8")
        return "/dev/shm/fast" in maps

    def drive(self) -> None:
        """Give an instruction, again if its mission ends: who was just started is not there at once."""

        def drives() -> bool:
            if self.base.mission is None or not self.base.mission.running:
                self.base.instruct()
                time.sleep(0.3)
            return self.base.command.linear_mps > 0.1

        self._wait_until(drives, self._words)

    def stands(self, since_s: float, tolerance_s: float, lateness) -> None:
        """The last command that moves it comes within the tolerance; then zero, for a second at least.

        A busy machine may have the watchdog stop a robot whose governor then goes on: that zero is not the last word.
        """
        self._wait_until(lambda: self.base.command.is_zero and time.monotonic() > self._moved_s() + 1.0, self._words)
        assert self._moved_s() - since_s <= tolerance_s + lateness.since(since_s), self._words()

    def _moved_s(self) -> float:
        return max(at_s for at_s, command in list(self.base.commands) if not command.is_zero)

    def stays(self, since_s: float, seconds: float = 1.0) -> None:
        self._wait_until(lambda: time.monotonic() > since_s + seconds)
        assert all(command.is_zero for at_s, command in self.base.commands if at_s > since_s), self._words()

    def _words(self) -> str:
        logs = (self._nodes.log_file(name).read_text() for name in self.SPECS)
        return f"{self.base.commands[-5:]} {self.base.mission}\n" + "\n".join(logs)


@pytest.fixture
def robot(spinner, ros_environment, tmp_path, wait_until):
    """A robot that can be told to drive, and then does so until it is told otherwise."""
    (tmp_path / "endless_navigator.py").write_text(NAVIGATOR)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    base = spinner.add(Base())
    with ProcessGroup({**ros_environment, "PYTHONPATH": path}, tmp_path / "log") as nodes:
        yield Robot(base, nodes, wait_until)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT], ids=lambda number: number.name)
def test_whoever_is_killed_the_robot_stands_until_a_new_instruction(robot, lateness, number) -> None:
    for victim in Robot.SPECS:
        robot.drive()
        at_s = time.monotonic()
        robot.signal(victim, number)
        robot.stands(at_s, TOLERANCE_S, lateness)
        robot.start(victim)  # as launch does
        robot.stays(time.monotonic(), 2.0)


@pytest.mark.long
def test_whoever_hangs_the_robot_stands_until_a_new_instruction(robot, lateness) -> None:
    for victim in Robot.SPECS:
        robot.drive()
        at_s = time.monotonic()
        robot.signal(victim, signal.SIGSTOP)
        robot.stands(at_s, TOLERANCE_S, lateness)
        robot.signal(victim, signal.SIGCONT)
        robot.stays(time.monotonic(), 2.0)


def test_nobody_waits_for_the_watchdog_or_the_controller(robot) -> None:
    """Who is stopped or killed as it reads shared memory holds up, for seconds, who writes to it there."""
    robot.drive()
    assert {name for name in Robot.SPECS if robot.shares_memory(name)} == {"governor", "navigator"}


@pytest.mark.long
def test_whoever_hangs_for_half_a_second_ends_the_mission(robot) -> None:
    """Too short for a watcher to call it dead, long enough for the robot to have been stopped."""
    for victim in Robot.SPECS:
        robot.drive()
        robot.signal(victim, signal.SIGSTOP)
        time.sleep(HICCUP_S)
        robot.signal(victim, signal.SIGCONT)
        robot.stays(time.monotonic(), 2.0)


def test_a_clock_that_jumps_back_stops_the_robot(robot, lateness) -> None:
    robot.drive()
    at_s = time.monotonic()
    robot.base.offset_s = -30.0
    robot.stands(at_s, JUMP_TOLERANCE_S, lateness)
