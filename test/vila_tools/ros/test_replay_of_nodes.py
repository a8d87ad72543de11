"""A run of the real navigator, kept by the real recorder, decided again: every bit is there."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from vila_nav.msg import NavAction
from vila_nav.srv import SetInstruction, WatchEvent

from vila_core.testing import make_frame
from vila_core.types import Frame, Odometry, Pose
from vila_ros.common.conversions import image_from_frame, message_from_odometry
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_ros.navigator.node import NavigatorNode
from vila_ros.recorder.node import RecorderNode
from vila_tools.cli import main as vila

DECISIONS, DRIVES_S = 8, 0.3


class Robot(Node):
    """Camera, odometry and controller in one; each action takes DRIVES_S.

    What the navigator does in that time, replay takes for done: prompts that were prefilled have other last bits.
    """

    def __init__(self) -> None:
        super().__init__("controller")  # whose reports count
        self.pose, self.actions, self.told = Pose(), 0, 0
        self.driving: list[tuple[float, NavAction]] = []  # and when each action is done
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, reliable_qos())
        self._image = self.create_publisher(Image, "image_raw", sensor_qos())
        self._odometry = self.create_publisher(OdometryMsg, "odom", reliable_qos())
        self._execution = self.create_publisher(NavAction, "controller/execution", reliable_qos())
        self.create_subscription(NavAction, "navigator/action", self._on_action, reliable_qos())
        self.client = self.create_client(SetInstruction, "navigator/set_instruction")
        self.watching = self.create_client(WatchEvent, "navigator/watch")
        self.create_timer(0.05, self._on_timer)

    def is_heard(self) -> bool:
        publishers = (self._image, self._odometry, self._execution)
        servers = (self.client, self.watching)
        return all(one.get_subscription_count() > 1 for one in publishers) and all(
            one.service_is_ready() for one in servers
        )

    def _on_timer(self) -> None:
        now_ns = self.get_clock().now().nanoseconds
        self._odometry.publish(message_from_odometry(Odometry(now_ns, self.pose)))
        while self.driving and self.driving[0][0] <= time.monotonic():
            self._execution.publish(self.driving.pop(0)[1])
        self._image.publish(image_from_frame(Frame(make_frame(now_ns, height=96, width=96).image, now_ns)))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.told += any(status.name == "/navigator" for status in message.status)

    def _on_action(self, message: NavAction) -> None:
        self.actions += 1
        if message.kind == NavAction.KIND_HOLD:
            return
        self.pose = self.pose.advanced(message.distance_m).turned(message.angle_rad)
        message.state = NavAction.STATE_DONE
        self.driving.append((time.monotonic() + DRIVES_S, message))


@pytest.mark.parametrize("policy", [pytest.param("navila", marks=pytest.mark.long), "streaming"])
def test_every_bit_is_there_again(spinner, wait_until, tmp_path: Path, capsys, policy: str) -> None:
    recorder = RecorderNode([Parameter("folder", value=str(tmp_path)), Parameter("more_topics", value="image_raw")])
    values = {"require_governor": False, "history.policy": policy, "mission.max_rotation_rad": 1000.0}
    navigator = NavigatorNode([Parameter(name, value=value) for name, value in values.items()])
    navigator.bring_up()
    robot = Robot()
    for node in (recorder, navigator, robot):
        spinner.add(node)
    wait_until(robot.is_heard, "the graph to be complete")
    wait_until(lambda: navigator.count_subscribers("navigator/frames"), "the recorder to hear of frames")
    wait_until(lambda: navigator.active.latest.image, "the first image")
    watched = robot.watching.call_async(WatchEvent.Request(text="a person enters the room"))
    wait_until(watched.done, "the query to stand")
    told = robot.told
    wait_until(lambda: robot.told >= told + 2, "the navigator to tell of its machine")
    for _ in range(20):  # a model that says stop is told again
        asked = robot.client.call_async(SetInstruction.Request(instruction="go to the red chair"))
        wait_until(asked.done, "the instruction to be taken")
        before = robot.actions
        wait_until(
            lambda before=before: robot.actions >= before + DECISIONS or navigator.active.missions.current is None,
            "decisions",
        )
        if robot.actions >= DECISIONS:
            break
    spinner.remove(navigator)
    wait_until(lambda: recorder.writer.written, "something to be written")
    spinner.remove(recorder)
    assert recorder.writer.run is not None
    status = vila(["replay", str(recorder.writer.run.run)])
    captured = capsys.readouterr()
    report = json.loads(captured.out.splitlines()[-1])
    assert status == 0 and report["verdict"] == "identical", captured.out
    assert report["asked_again"] >= DECISIONS and report["same_machine"] is True
    assert (report["history_policy"], report["checkpoint"]) == (policy, "vila-nano")
