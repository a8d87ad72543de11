"""All that navigates, started by `launch` itself; skipped where it is not installed, as on the ROS wheels."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")
pytest.importorskip("launch_ros")
pytest.importorskip("vila_sim.mujoco.simulator")

from conftest import HANG_S
from rclpy.node import Node
from vila_nav.msg import NavigatorStatus

from vila_ros.common.qos import latched_qos

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

file, *arguments = sys.argv[1:]
given = [tuple(argument.split(":=")) for argument in arguments]
included = IncludeLaunchDescription(PythonLaunchDescriptionSource(file), launch_arguments=given)
service = LaunchService(argv=arguments)
service.include_launch_description(LaunchDescription([included]))
sys.exit(service.run())
"""


class Onlooker(Node):
    """Sees what the navigator does."""

    def __init__(self, namespace: str = "") -> None:
        super().__init__("onlooker", namespace=namespace)
        self.seen: list[NavigatorStatus] = []
        self.create_subscription(NavigatorStatus, "navigator/status", self.seen.append, latched_qos(10))

    def is_ready(self, after_run: int = 0) -> bool:
        last = self.seen[-1] if self.seen else None
        return last is not None and last.run > after_run and last.state == NavigatorStatus.STATE_READY


@pytest.fixture
def launched(ros_environment, tmp_path):
    """launched(file, *arguments): the process of launch, and where what it tells goes."""
    processes = []

    def start(name: str, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
        output = tmp_path / "launch.log"
        command = [sys.executable, "-c", LAUNCH, str(ROOT / "launch" / name), *arguments]
        environment = ros_environment | {"ROS_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
        with output.open("wb") as file:
            process = subprocess.Popen(
                command, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        processes.append(process)
        return process, output

    yield start
    for process in processes:
        for child in [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []:
            child.kill()
        process.kill()
        process.wait(HANG_S)


def node_process(launch: subprocess.Popen[bytes], name: str) -> int:
    (found,) = (
        child.pid for child in psutil.Process(launch.pid).children() if f"{name}_node" in " ".join(child.cmdline())
    )
    return found


def two_free_ports() -> int:
    """The first of two ports, one behind the other, on which nobody listens."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return int(port)


def serves_a_page(port: int) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5.0) as answer:
        return b"<title>vila_nav</title>" in answer.read()
    return False


def test_a_killed_navigator_comes_back_active_and_ctrl_c_ends_all_in_order(launched, spinner, wait_until) -> None:
    onlooker = spinner.add(Onlooker("fleet/one"))
    launch, output = launched("simulation.launch.py", "seed:=3", "namespace:=fleet/one")
    wait_until(onlooker.is_ready, output.read_text)
    first = onlooker.seen[-1].run
    os.kill(node_process(launch, "navigator"), signal.SIGKILL)
    wait_until(lambda: onlooker.is_ready(after_run=first), output.read_text)
    os.killpg(launch.pid, signal.SIGINT)  # as a terminal does
    status = launch.wait(HANG_S)
    text = output.read_text()
    assert status == 0, text
    ended = [line for line in text.splitlines() if "process has finished cleanly" in line]
    assert len(ended) == 5, text
    assert "Traceback" not in text and "escalating" not in text and text.count("process has died") == 1, text


def test_a_fleet_comes_up_with_pages_and_bags_and_ends(launched, spinner, wait_until, tmp_path) -> None:
    port = two_free_ports()
    onlookers = [spinner.add(Onlooker(f"robot_{number}")) for number in range(2)]
    more = ("page:=true", f"page_port:={port}", "record:=true")
    launch, output = launched("fleet.launch.py", "robots:=2", "seed:=3", *more)
    wait_until(lambda: all(onlooker.is_ready() for onlooker in onlookers), output.read_text)
    wait_until(lambda: serves_a_page(port) and serves_a_page(port + 1), output.read_text)
    os.killpg(launch.pid, signal.SIGINT)
    assert launch.wait(HANG_S) == 0, output.read_text()
    assert output.read_text().count("process has finished cleanly") == 14, output.read_text()
    runs = sorted(str(file.parents[1].relative_to(tmp_path)) for file in tmp_path.rglob("*.mcap"))
    assert runs == ["vila_nav/robot_0", "vila_nav/robot_1"]


def test_a_page_is_served_beside_a_robot_that_runs(launched, wait_until) -> None:
    port = two_free_ports()
    launch, output = launched("page.launch.py", f"page_port:={port}")
    wait_until(lambda: serves_a_page(port), output.read_text)
    os.killpg(launch.pid, signal.SIGINT)
    assert launch.wait(HANG_S) == 0, output.read_text()


def test_a_recorder_is_started_beside_a_robot_that_runs(launched, spinner, wait_until, tmp_path) -> None:
    robot = spinner.add(Onlooker())
    robot.create_publisher(NavigatorStatus, "navigator/status", latched_qos(1)).publish(NavigatorStatus())
    launch, output = launched("recorder.launch.py", f"folder:={tmp_path / 'runs'}")
    wait_until(lambda: [*(tmp_path / "runs").rglob("*.mcap")], output.read_text)
    os.killpg(launch.pid, signal.SIGINT)
    assert launch.wait(HANG_S) == 0, output.read_text()


def test_a_robot_that_is_not_known_ends_the_launch_with_those_that_are(launched) -> None:
    launch, output = launched("navigation.launch.py", "robot:=turtlebot")
    assert launch.wait(HANG_S) == 1
    assert "unknown robot 'turtlebot'; did you mean 'turtlebot4'" in output.read_text()
