"""Decisions while the robot moves, over DDS: navigator, controller, governor, and a base that obeys the governor."""

from __future__ import annotations

import threading
import time

import pytest

pytest.importorskip("rclpy")

from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from vila_nav.action import NavigateInstruction
from vila_nav.msg import Mission, NavAction
from vila_nav.srv import SetInstruction

from vila_core.actions.grammar import SENTENCES
from vila_core.control.reasons import MotionFault
from vila_core.testing import ScriptedBackend, Unicycle, make_frame
from vila_core.types import VelocityCommand
from vila_ros.common.conversions import image_from_frame, message_from_odometry
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_ros.common.velocity import velocity_from_message
from vila_ros.controller.node import ControllerNode
from vila_ros.governor.node import GovernorNode
from vila_ros.navigator.node import NavigatorNode
from vila_ros.watchdog.node import WatchdogNode

STOP, FAR, LEFT = SENTENCES[0], SENTENCES[3], SENTENCES[4]
_TIMER_S = 0.02
_THINKS_S = 0.6


class ThinkingBackend(ScriptedBackend):
    """Takes its time for each decision."""

    def _next(self, prompt):
        threading.Event().wait(_THINKS_S)
        return super()._next(prompt)


class Base(Node):
    """A robot that obeys cmd_vel, and tells of its camera and its wheels."""

    def __init__(self) -> None:
        super().__init__("base")
        self.body, self.command = Unicycle(), VelocityCommand()
        self.actions: list[NavAction] = []
        self.reports: list[NavAction] = []
        self.missions: list[Mission] = []
        self._frames = 0
        self._images = self.create_publisher(Image, "image_raw", sensor_qos())
        self._odometry = self.create_publisher(OdometryMsg, "odom", reliable_qos())
        self.create_subscription(TwistStamped, "cmd_vel", self._on_velocity, reliable_qos())
        self.create_subscription(NavAction, "navigator/action", self.actions.append, reliable_qos())
        self.create_subscription(NavAction, "controller/execution", self.reports.append, reliable_qos())
        self.create_subscription(Mission, "navigator/mission", self.missions.append, reliable_qos())
        self.set_instruction = self.create_client(SetInstruction, "navigator/set_instruction")
        self.create_timer(_TIMER_S, self._on_odometry_due)
        self.create_timer(0.05, self._on_image_due)

    def replaced(self) -> list[NavAction]:
        return [report for report in self.reports if report.fault == MotionFault.REPLACED]

    def _on_velocity(self, message: TwistStamped) -> None:
        self.command = velocity_from_message(message)

    def _on_odometry_due(self) -> None:
        message = message_from_odometry(self.body.drive(self.command, _TIMER_S))
        message.header.stamp = self.get_clock().now().to_msg()
        self._odometry.publish(message)

    def _on_image_due(self) -> None:
        self._frames += 1
        message = image_from_frame(make_frame(seed=self._frames))
        message.header.stamp = self.get_clock().now().to_msg()
        self._images.publish(message)


def test_a_mission_is_driven_by_decisions_on_the_way(spinner, wait_until, tmp_path, lateness) -> None:
    values = {"checkpoint": str(tmp_path), "navigator.timing": "continuous", "navigator.watch_camera": False}
    navigator = NavigatorNode(
        [Parameter(name, value=value) for name, value in values.items()],
        load=lambda *_, **__: ThinkingBackend(FAR, LEFT, FAR, STOP),
    )
    navigator.bring_up()
    governor = GovernorNode([Parameter("obstacles.required", value=False)])
    base = Base()
    for node in (WatchdogNode(), governor, ControllerNode(), navigator, base):
        spinner.add(node)
    wait_until(base.set_instruction.service_is_ready, what="the navigator")
    wait_until(lambda: navigator.active.motion.is_ready and navigator.active.latest.image, what="controller and camera")
    wait_until(navigator.active.governor._awaits_mission, what="the governor to hear the navigator")

    def begin() -> bool:
        task = base.executor.create_task(base.set_instruction.call_async, SetInstruction.Request(instruction="go on"))
        wait_until(task.done)
        wait_until(task.result().done, what="an answer to the instruction")
        return task.result().result().success

    begun_s = time.monotonic()
    wait_until(begin, what="the navigator to be ready")
    wait_until(lambda: any(mission.running for mission in base.missions), what="the mission")
    wait_until(lambda: not base.missions[-1].running, what="the end")
    end = base.missions[-1]
    assert end.outcome == NavigateInstruction.Result.OUTCOME_REACHED, end.error_msg
    kinds = [action.kind for action in base.actions]
    assert kinds[-1] == NavAction.KIND_STOP
    assert NavAction.KIND_HOLD not in kinds
    if lateness.since(begun_s) < 0.1:  # a machine that runs us late finds the robot standing, as it should
        assert base.replaced()
    wait_until(lambda: base.command.is_zero)
    told_m = sum(action.distance_m for action in base.actions)
    assert base.body.pose.x_m <= told_m + 0.05
