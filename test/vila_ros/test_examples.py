"""The examples for those who write clients, as programs of their own beside a real navigator with a scripted model."""

from __future__ import annotations

import ast
import dataclasses
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from conftest import HANG_S
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from vila_nav.msg import NavAction

from vila_core.actions.grammar import SENTENCES
from vila_core.testing import SCRIPTED_INFO, ScriptedBackend, make_frame
from vila_core.types import Frame, Odometry, Pose
from vila_ros.common.conversions import image_from_frame, message_from_odometry
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_ros.navigator.node import NavigatorNode

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = sorted(path.name for path in EXAMPLES.glob("*.py"))
MOST_LINES = 64
STOP, FORWARD, LEFT = SENTENCES[0], SENTENCES[1], SENTENCES[4]
QUERY = "the lamp is on"
PERIOD_S = 0.05
QUICK = {"events.period_s": PERIOD_S, "events.window_s": 2.0, "events.rate_hz": 20.0, "events.min_duration_s": 0.1}


class Lamp(ScriptedBackend):
    """A model with a relevance head, which sees by the image's brightness whether the lamp is on."""

    def __init__(self, *script: str) -> None:
        super().__init__(*script, info=dataclasses.replace(SCRIPTED_INFO, relevance_period_s=PERIOD_S))
        self.relevances = {QUERY: lambda frame: float(frame.image.mean() > 128)}


class Robot(Node):
    """Camera, odometry and a controller that takes half a second for each action, and never ends if it is `slow`."""

    def __init__(self) -> None:
        super().__init__("controller")
        self.is_lit = self.is_slow = False
        self._pose, self._running, self._left = Pose(), NavAction(), 0
        self._images = self.create_publisher(Image, "image_raw", sensor_qos())
        self._odometries = self.create_publisher(OdometryMsg, "odom", reliable_qos())
        self._reports = self.create_publisher(NavAction, "controller/execution", reliable_qos())
        self.create_subscription(NavAction, "navigator/action", self._on_action, reliable_qos())
        self.create_timer(PERIOD_S, self._on_timer)

    def _on_action(self, message: NavAction) -> None:
        self._running, self._left = (
            message,
            10 if message.kind in (NavAction.KIND_MOVE_FORWARD, NavAction.KIND_TURN) else 0,
        )

    def _on_timer(self) -> None:
        now_ns = self.get_clock().now().nanoseconds
        self._odometries.publish(message_from_odometry(Odometry(now_ns, self._pose)))
        picture = make_frame(now_ns).image // 2 + np.uint8(120 if self.is_lit else 0)
        self._images.publish(image_from_frame(Frame(picture, now_ns)))
        if not self._left:
            return
        self._left -= 0 if self.is_slow else 1
        self._running.state = NavAction.STATE_RUNNING if self._left else NavAction.STATE_DONE
        if not self._left:
            self._pose = self._pose.advanced(self._running.distance_m).turned(self._running.angle_rad)
        self._reports.publish(self._running)


class Example:
    """One of the programs while it runs; what it prints, line by line."""

    def __init__(self, environment: dict[str, str], name: str, *arguments: str) -> None:
        command = [sys.executable, str(EXAMPLES / name), *arguments]
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    def has_said(self, words: str) -> bool:
        return any(words in line for line in self.lines)

    def end(self) -> tuple[int, str]:
        status = self.process.wait(HANG_S)
        self._reader.join(HANG_S)
        return status, "".join(self.lines)


@pytest.fixture
def run(ros_environment) -> Iterator:
    """run(name, argument, ...): starts an example, which is ended with the test."""
    running: list[Example] = []

    def run(name: str, *arguments: str) -> Example:
        running.append(Example(ros_environment, name, *arguments))
        return running[-1]

    yield run
    for example in running:
        example.process.kill()
        example.end()


@pytest.fixture
def start(spinner, wait_until, tmp_path):
    """start(reply, ...): a robot and an active navigator whose model says these, the last one again and again."""

    def start(*replies: str) -> Robot:
        values = {"checkpoint": str(tmp_path), "require_governor": False, **QUICK}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = NavigatorNode(overrides, load=lambda *_, **__: Lamp(*replies))
        node.bring_up()
        spinner.add(node)
        robot = spinner.add(Robot())
        wait_until(
            lambda: node.active.latest.image and node.active.latest.odometry and node.active.motion.is_ready,
            "image and odometry",
        )
        return robot

    return start


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short_and_needs_rclpy_and_our_messages_alone(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    assert len(text.splitlines()) < MOST_LINES
    modules = [node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    modules += [n.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for n in node.names]
    assert {module.split(".")[0] for module in modules} - set(sys.stdlib_module_names) == {"rclpy", "vila_nav"}
    assert (EXAMPLES / name).stat().st_mode & 0o111


def test_an_instruction_is_sent_and_followed_to_its_end(start, run) -> None:
    start(FORWARD, LEFT, STOP)
    status, said = run("follow_instruction.py", "go to the red chair").end()
    assert status == 0, said
    assert [line.split()[:2] for line in said.splitlines()[-4:-1]] == [["1", "forward"], ["2", "turn"], ["3", "stop"]]
    assert "arrived after 0.25 m: 0" in said.splitlines()[-1]


def test_an_instruction_that_is_refused_is_told_with_its_code(start, run) -> None:
    start(STOP)
    status, said = run("follow_instruction.py", " ").end()
    assert status == 1 and "failed after 0.00 m: 701" in said, said


def test_ctrl_c_cancels_the_own_goal_before_the_client_ends(start, run, wait_until) -> None:
    start(FORWARD).is_slow = True
    example = run("follow_instruction.py", "go on")
    wait_until(lambda: example.has_said("forward"), lambda: "".join(example.lines))
    example.process.send_signal(signal.SIGINT)
    status, said = example.end()
    assert status == 1 and "stopped after 0.00 m: 704" in said, said


def test_anybodys_instruction_can_be_canceled(start, run, wait_until) -> None:
    start(FORWARD).is_slow = True
    assert run("cancel_instruction.py").end()[0] == 1  # there is none
    follower = run("follow_instruction.py", "go on")
    wait_until(lambda: follower.has_said("forward"), lambda: "".join(follower.lines))
    status, said = run("cancel_instruction.py").end()
    assert status == 0 and "the robot stands" in said
    status, said = follower.end()
    assert status == 1 and ": 704" in said, said


def test_events_are_printed_as_they_begin_and_end(start, run, wait_until) -> None:
    robot = start(STOP)
    example = run("watch_events.py", QUERY)
    wait_until(lambda: example.has_said("watching"), lambda: "".join(example.lines))
    robot.is_lit = True
    wait_until(lambda: example.has_said(f"{QUERY}: goes on"), lambda: "".join(example.lines))
    robot.is_lit = False
    wait_until(lambda: example.has_said(f"{QUERY}: is over"), lambda: "".join(example.lines))
    example.process.send_signal(signal.SIGINT)
    assert example.end()[0] == 0


def test_one_event_is_waited_for(start, run, wait_until) -> None:
    robot = start(STOP)
    example = run("wait_for_event.py", str(HANG_S), QUERY)
    wait_until(lambda: example.has_said("watching"), lambda: "".join(example.lines))
    robot.is_lit = True
    status, said = example.end()
    assert status == 0 and "seen at" in said, said


def test_an_event_that_does_not_come_and_a_query_that_cannot_be(start, run) -> None:
    start(STOP)
    status, said = run("wait_for_event.py", "0.5", QUERY).end()
    assert status == 1 and "not within 0.5 s" in said, said
    status, said = run("wait_for_event.py", "0.5", " ").end()
    assert status == 2 and said.splitlines()[-1].startswith("721"), said
