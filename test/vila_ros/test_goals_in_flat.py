"""The simulated flat's robot, led by the embedded model and driven by others: to goal poses, and by Nav2's action."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")
pytest.importorskip("vila_sim.mujoco.simulator")

from conftest import HANG_S
from geometry_msgs.msg import PoseStamped, TwistStamped
from goal_robot import Mission, pose_of
from nav2_interface import nav2_messages
from nav2_server import Nav2Server
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.parameter import Parameter
from vila_nav.action import NavigateInstruction
from vila_nav.msg import NavAction

from vila_core.types import Pose, VelocityCommand, wrap_angle
from vila_ros.common.conversions import odometry_from_message
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_ros.navigator.node import NavigatorNode

INSTRUCTION, SEED = "go to the red chair", 3
NEAR_M, NEAR_RAD = 0.04, 0.05


class Base(Node):
    """Drives to `target` by cmd_vel: turns to it, goes there, turns to its heading."""

    def __init__(self) -> None:
        super().__init__("base")
        self.target: Pose | None = None
        self.pose: Pose | None = None
        self.ends: list[NavAction] = []
        self._velocity = self.create_publisher(TwistStamped, "cmd_vel", reliable_qos(1))
        self.create_subscription(OdometryMsg, "odom", self._on_odometry, sensor_qos())
        self.create_subscription(PoseStamped, "goal_pose", self._on_goal, reliable_qos(1))
        self.create_subscription(NavAction, "navigator/execution", self._on_report, reliable_qos())
        self.goals = ActionClient(self, NavigateInstruction, "navigator/navigate")
        self.create_timer(0.05, self._drive)

    def is_at(self, goal: Pose) -> bool:
        near = self.pose.distance_m(goal) < NEAR_M
        return near and abs(wrap_angle(goal.yaw_rad - self.pose.yaw_rad)) < NEAR_RAD

    def _on_odometry(self, message: OdometryMsg) -> None:
        self.pose = odometry_from_message(message).pose

    def _on_goal(self, message: PoseStamped) -> None:
        self.target = pose_of(message)

    def _on_report(self, message: NavAction) -> None:
        if message.state != NavAction.STATE_RUNNING:
            self.ends.append(message)

    def _drive(self) -> None:
        command = VelocityCommand()
        if self.target is not None and self.pose is not None and not self.is_at(self.target):
            command = _toward(self.pose, self.target)
        message = TwistStamped()
        message.twist.linear.x, message.twist.angular.z = float(command.linear_mps), float(command.angular_rps)
        self._velocity.publish(message)


def _toward(pose: Pose, target: Pose) -> VelocityCommand:
    left_m = pose.distance_m(target)
    heading_rad = math.atan2(target.y_m - pose.y_m, target.x_m - pose.x_m) if left_m > NEAR_M else target.yaw_rad
    off_rad = wrap_angle(heading_rad - pose.yaw_rad)
    ahead = left_m > NEAR_M and abs(off_rad) < 0.5
    turn_rps = max(-1.0, min(1.0, 4.0 * off_rad))
    return VelocityCommand(min(0.4, 3.0 * left_m) if ahead else 0.0, turn_rps)


class FlatNav2(Nav2Server):
    """Has come as the base has."""

    def has_come(self, goal: Pose) -> bool:
        return self._robot.is_at(goal)


@pytest.fixture
def simulator(ros_environment, ros):
    topics = ["-r", "camera/image_raw:=image_raw", "-p", f"seed:={SEED}", "-p", f"instruction:={INSTRUCTION}"]
    process = subprocess.Popen([sys.executable, "-m", "vila_ros.simulator.node", "--ros-args", *topics])
    yield process
    process.terminate()
    process.wait(HANG_S)


@pytest.mark.long
@pytest.mark.parametrize("output", ["goal_pose", "nav2"])
def test_the_embedded_model_finds_its_way_though_others_drive(
    simulator, spinner, wait_until, monkeypatch, output: str
) -> None:
    messages = nav2_messages("kilted")
    monkeypatch.setitem(sys.modules, "nav2_msgs.action", messages)
    navigator = NavigatorNode([Parameter("output", value=output), Parameter("use_sim_time", value=True)])
    navigator.bring_up()
    base = Base()
    for node in (navigator, base):
        spinner.add(node)
    if output == "nav2":
        spinner.add(FlatNav2(messages.NavigateToPose, base))
    wait_until(lambda: navigator.active.latest.image and base.pose and navigator.active.motion.is_ready, "the flat")
    wait_until(base.goals.server_is_ready)
    result = Mission(base, wait_until, INSTRUCTION).result()
    assert result.outcome == NavigateInstruction.Result.OUTCOME_REACHED, result.error_msg
    assert result.distance_m > 1.0 and len(base.ends) >= 4
    for end in base.ends:
        assert end.state == NavAction.STATE_DONE, end.detail
        done, wanted = (end.executed_m, end.distance_m) if end.distance_m else (end.executed_rad, end.angle_rad)
        assert done == pytest.approx(wanted, abs=0.1)
