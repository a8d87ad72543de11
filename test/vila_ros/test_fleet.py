"""Two simulated robots in two namespaces, each with all that navigates: one clock, two missions that end well."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")
pytest.importorskip("vila_sim.mujoco.simulator")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from vila_nav.action import NavigateInstruction
from vila_nav.msg import GovernorState

from vila_core.types import Odometry
from vila_ros.common.conversions import ns_from_stamp, odometry_from_message, stamp_from_ns
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_ros.common.resources import share_file
from vila_tools.session.processes import NodeSpec, ProcessGroup

pytestmark = pytest.mark.slow
ROBOTS = ("robot_0", "robot_1")
OTHER_CLOCK = "/elsewhere/clock"
STACK = '''
"""All that navigates with one robot, the model scripted, in one process: ten would be many for a small machine."""

import math
import signal
import threading

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from vila_core.actions.grammar import format_action
from vila_core.testing import ScriptedBackend
from vila_core.types import Stop, Turn
from vila_ros.controller.node import ControllerNode
from vila_ros.governor.node import GovernorNode
from vila_ros.navigator.node import NavigatorNode
from vila_ros.watchdog.node import WatchdogNode

REPLIES = (format_action(Turn(math.radians(45))),) * 2 + (format_action(Stop()),)


def main():
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    navigator = NavigatorNode(load=lambda *_, **__: ScriptedBackend(*REPLIES, probability=0.9))
    nodes = [ControllerNode(), GovernorNode(), WatchdogNode(), navigator]
    executors = [SingleThreadedExecutor() for _ in nodes]
    threads = []
    for node, executor in zip(nodes, executors):
        executor.add_node(node)
        threads.append(threading.Thread(target=executor.spin))
        threads[-1].start()
    navigator.bring_up()
    stopping.wait()
    for node, executor, thread in zip(nodes, executors, threads):
        executor.shutdown()
        thread.join()
        node.destroy_node()
    rclpy.try_shutdown()


main()
'''


class Client(Node):
    """Tells each robot where to go, and hears the clock and both odometries."""

    def __init__(self) -> None:
        super().__init__("client", parameter_overrides=[Parameter("use_sim_time", value=True)])
        self.navigators: dict[str, Any] = {}
        self.results: dict[str, NavigateInstruction.Result] = {}
        self.odometry: dict[str, Odometry] = {}
        self.governors: set[str] = set()
        self.clock_ns: list[int] = []
        self.create_subscription(Clock, "/clock", lambda m: self.clock_ns.append(ns_from_stamp(m.clock)), sensor_qos())
        self._levels: dict[str, bytes] = {}  # of the diagnostics, by node
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, reliable_qos(10))
        for robot in ROBOTS:
            self._listen(robot)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self._levels.update((status.name, status.level) for status in message.status)

    def _listen(self, robot: str) -> None:
        def on_odometry(message: OdometryMsg) -> None:
            self.odometry[robot] = odometry_from_message(message)

        self.create_subscription(OdometryMsg, f"/{robot}/odom", on_odometry, sensor_qos(depth=5))
        self.create_subscription(
            GovernorState, f"/{robot}/governor/state", lambda _: self.governors.add(robot), reliable_qos()
        )
        self.navigators[robot] = ActionClient(self, NavigateInstruction, f"/{robot}/navigator/navigate")

    def is_content(self, robot: str) -> bool:
        """Whether navigator and controller have told, and of no error: clock, images and odometry are good."""
        levels = (self._levels.get(f"/{robot}/{node}") for node in ("navigator", "controller"))
        return all(level not in (None, DiagnosticStatus.ERROR) for level in levels)

    def is_up(self, robot: str) -> bool:
        has_all = robot in self.odometry and robot in self.governors and self.navigators[robot].server_is_ready()
        return has_all and self.count_publishers(f"/{robot}/controller/execution") > 0

    def send(self, robot: str) -> None:
        """Send the robot's goal; its result will be in `results`."""

        def keep(future: Any) -> None:
            self.results[robot] = future.result().result

        goal = NavigateInstruction.Goal(instruction="turn and stop", max_duration_s=60.0)
        sent = self.navigators[robot].send_goal_async(goal)
        sent.add_done_callback(lambda future: future.result().get_result_async().add_done_callback(keep))


@pytest.fixture
def start(ros_environment, tmp_path) -> Iterator[Any]:
    """start(publish_clock, publish_clock): starts robot_0 and robot_1, their simulators with or without a clock."""
    (tmp_path / "scripted_stack.py").write_text(STACK)
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    parameters = share_file("config/simulation.yaml")
    with ExitStack() as stack:
        processes = stack.enter_context(ProcessGroup({**ros_environment, "PYTHONPATH": paths}, tmp_path / "log"))

        def start(*publish_clock: bool) -> ProcessGroup:
            for number, (robot, publishes) in enumerate(zip(ROBOTS, publish_clock, strict=True)):
                world = {"seed": number, "publish_clock": publishes, "camera.width_px": 64, "camera.height_px": 64}
                world |= {"scan_rays": 90, "cloud_rate_hz": 5.0}
                images = {"image_raw": "camera/image_raw", "__ns": f"/{robot}"}
                processes.start(
                    NodeSpec(f"simulator_{number}", "vila_ros.simulator.node", parameters, world, {"__ns": f"/{robot}"})
                )
                processes.start(NodeSpec(f"stack_{number}", "scripted_stack", parameters, {}, images))
            return processes

        yield start


def drive(client: Client, processes: ProcessGroup, wait_until, is_ready) -> dict[str, NavigateInstruction.Result]:
    """Once both robots are up and ready, send both goals; their results."""

    def waiting() -> list[str]:
        processes.check()
        return [robot for robot in ROBOTS if not (client.is_up(robot) and is_ready(robot))]

    wait_until(lambda: not waiting(), lambda: f"not ready: {waiting()}")
    for robot in ROBOTS:
        client.send(robot)
    wait_until(lambda: len(client.results) == len(ROBOTS), lambda: f"results of {list(client.results)} alone")
    return client.results


@pytest.mark.long
def test_two_robots_with_one_clock_both_finish_their_missions(start, spinner, wait_until) -> None:
    client = spinner.add(Client())
    results = drive(client, start(True, False), wait_until, client.is_content)
    told = {robot: (result.outcome, result.error_msg) for robot, result in results.items()}
    assert all(outcome == NavigateInstruction.Result.OUTCOME_REACHED for outcome, _ in told.values()), told
    assert all(result.decisions == 3 for result in results.values())
    assert client.clock_ns == sorted(client.clock_ns)


class Clockwork(Node):
    """Publishes a clock as it is told, and hears the robot that follows it."""

    def __init__(self) -> None:
        super().__init__("clockwork")
        self.time_ns, self.step_ns, self.ticks = 100 * 10**9, 0, 0
        self.stamps_ns: list[int] = []
        self._ticker = self.create_publisher(Clock, OTHER_CLOCK, sensor_qos())
        self.create_subscription(
            OdometryMsg, "odom", lambda m: self.stamps_ns.append(ns_from_stamp(m.header.stamp)), sensor_qos(depth=5)
        )
        self.create_timer(0.02, self._on_timer)

    def _on_timer(self) -> None:
        self.ticks += 1
        self.time_ns += self.step_ns
        self._ticker.publish(Clock(clock=stamp_from_ns(self.time_ns)))


def test_a_simulator_follows_a_clock_through_jumps_and_stands_when_it_stands(
    ros_environment, tmp_path, spinner, wait_until
) -> None:
    parameters = {"publish_clock": False, "camera.width_px": 64, "camera.height_px": 64}
    with ProcessGroup(ros_environment, tmp_path / "log") as processes:
        remaps = {"/clock": OTHER_CLOCK}
        processes.start(NodeSpec("simulator", "vila_ros.simulator.node", parameters=parameters, remaps=remaps))
        clockwork = spinner.add(Clockwork())

        def is_with_the_clock() -> bool:
            processes.check()
            newest_ns = clockwork.stamps_ns[-1:]
            return bool(newest_ns) and abs(clockwork.time_ns - newest_ns[0]) < 2e8

        clockwork.step_ns = 20_000_000
        wait_until(is_with_the_clock, "odometry stamped by the clock that runs already")
        for jump_s in (-50, 1000):
            clockwork.time_ns += jump_s * 10**9
            wait_until(is_with_the_clock, f"odometry after the clock jumped {jump_s} s")
        clockwork.step_ns = 0
        heard, ticks = len(clockwork.stamps_ns), clockwork.ticks
        wait_until(lambda: clockwork.ticks > ticks + 100, "the clock to stand for two seconds")
        assert len(clockwork.stamps_ns) <= heard + 10  # it only catches up
        assert max(clockwork.stamps_ns) <= clockwork.time_ns
