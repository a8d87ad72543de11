"""The page's node with ROS: what it hears is on its board, and what browsers ask for reaches the robot's nodes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from conftest import HANG_S
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool
from vila_nav.action import LocalizeEvent, NavigateInstruction
from vila_nav.msg import DecisionStats, GovernorState, Mission, NavAction, NavigatorStatus, TemporalEvent
from vila_nav.srv import CancelInstruction, UnwatchEvent, WatchEvent

from vila_core.types import Frame, Odometry, Pose
from vila_ros.common.conversions import image_from_frame, message_from_odometry, stamp_from_ns
from vila_ros.common.qos import latched_qos, reliable_qos, sensor_qos
from vila_ros.governor.node import GovernorNode
from vila_ros.navigator.mission.goals import GoalServer, conclude
from vila_ros.page.browser_requests import Ask, Cancel, Go, Unwatch, Watch
from vila_ros.page.node import PageNode

SECOND = 1_000_000_000


class Navigator(Node):
    """Offers what the navigator does, and keeps what it is asked for."""

    def __init__(self) -> None:
        super().__init__("navigator")
        self.asked: list[object] = []
        self.goals: list[object] = []
        self.outputs = {
            kind: self.create_publisher(kind, f"~/{topic}", qos)
            for kind, topic, qos in (
                (NavigatorStatus, "status", latched_qos()),
                (Mission, "mission", reliable_qos()),
                (NavAction, "action", reliable_qos()),
                (DecisionStats, "stats", reliable_qos()),
                (TemporalEvent, "events", latched_qos(100)),
            )
        }
        self.execution = self.create_publisher(NavAction, "controller/execution", reliable_qos())
        self.odom = self.create_publisher(OdometryMsg, "odom", sensor_qos())
        self.images = self.create_publisher(Image, "image_raw", sensor_qos())
        for kind, name in (
            (CancelInstruction, "cancel_instruction"),
            (WatchEvent, "watch"),
            (UnwatchEvent, "unwatch"),
        ):
            self.create_service(kind, f"~/{name}", self._answer)
        self._servers = [
            GoalServer(self, NavigateInstruction, "~/navigate", self.goals.append, lambda _: None),
            GoalServer(self, LocalizeEvent, "~/localize", self.goals.append, lambda _: None),
        ]

    def destroy_node(self) -> None:
        for server in self._servers:  # else it stays on the graph
            server.destroy()
        super().destroy_node()

    def _answer(self, request, response):
        self.asked.append(request)
        response.success = getattr(request, "text", "") != "<image>"
        if hasattr(response, "query_id"):
            response.query_id = "q1"
            response.error_code, response.error_msg = (0, "") if response.success else (721, "it holds a media token")
        return response

    def publish(self, message) -> None:
        self.outputs[type(message)].publish(message)


class Governor(Node):
    """Takes the emergency stop, and tells a state."""

    def __init__(self, state: int = GovernorState.STATE_READY, name: str = "governor") -> None:
        super().__init__(name)
        self.calls: list[tuple[bool, float]] = []
        self.obeys = True
        self._state = GovernorState(state=state)
        self._publisher = self.create_publisher(GovernorState, "governor/state", reliable_qos(1))
        self.create_service(SetBool, "~/emergency_stop", self._on_call)
        self.create_timer(0.05, lambda: self._publisher.publish(self._state))

    def _on_call(self, request, response):
        self.calls.append((request.data, time.monotonic()))
        response.success, response.message = self.obeys, "well" if self.obeys else "not now"
        return response


@pytest.fixture
def page(spinner) -> Iterator[PageNode]:
    node = PageNode()
    spinner.add(node)
    yield node


@pytest.fixture
def navigator(spinner, page, wait_until) -> Navigator:
    node = spinner.add(Navigator())
    ends = ("navigator/action", "navigator/stats", "navigator/mission", "controller/execution", "odom", "image_raw")
    wait_until(lambda: all(node.count_subscribers(topic) for topic in ends))
    wait_until(lambda: node.count_subscribers("governor/state") and node.count_subscribers("navigator/events"))
    wait_until(lambda: page._commands._navigate.server_is_ready() and page._commands._localize.server_is_ready())
    wait_until(lambda: page._commands._watch.service_is_ready() and page._commands._cancel.service_is_ready())
    return node


def of_kind(page: PageNode, kind: str) -> list:
    return [value for key, value in page.board.since(0)[0] if key.startswith(f"{kind}/") and value is not None]


# --- what it hears -------------------------------------------------------------------------------


def test_a_decision_is_shown_with_its_picture_its_probabilities_and_how_far_it_got(page, navigator, wait_until):
    image = np.full((48, 64, 3), 90, np.uint8)
    navigator.publish(NavigatorStatus(run=5, state=NavigatorStatus.STATE_NAVIGATING, detail="nano"))
    navigator.odom.publish(message_from_odometry(Odometry(SECOND, Pose(1.0, 2.0, 0.5), 0.1, 0.0)))
    wait_until(lambda: page.board.get("pose") and page.board.get("navigator"))
    wait_until(lambda: navigator.images.publish(image_from_frame(Frame(image, 7 * SECOND))) or page.pictures.newest)
    action = NavAction(id=3, mission_id=9, kind=NavAction.KIND_MOVE_FORWARD, distance_m=0.5, probability=0.75)
    action.header.stamp = stamp_from_ns(7 * SECOND)
    navigator.publish(action)
    navigator.publish(
        DecisionStats(id=3, latency_ms=12.0, probabilities=[0.0, 0.1, 0.75] + [0.0] * 7, dropped_frames=4)
    )
    action.state, action.executed_m = NavAction.STATE_RUNNING, 0.25
    navigator.execution.publish(action)
    wait_until(lambda: page.board.get("stats") and of_kind(page, "decision")[-1]["state"] == "running")
    wait_until(lambda: "probabilities" in of_kind(page, "decision")[-1])
    (decision,) = of_kind(page, "decision")
    assert (decision["key"], decision["words"], decision["probability"]) == ("5-3", "forward 50 cm", 0.75)
    assert (decision["done"], decision["wanted"], decision["part"]) == ("25 cm", "50 cm", 0.5)
    assert decision["at"] == [1.0, 2.0] and decision["probabilities"][2] == 0.75
    assert page.board.get("stats")["dropped_frames"] == 4
    jpeg = page.pictures.of_decision("5-3")
    assert jpeg is not None and jpeg.stamp_ns == 7 * SECOND and jpeg.jpeg.startswith(b"\xff\xd8")


def test_where_a_run_is_kept_is_told_if_a_command_can_name_it(page, navigator, spinner, wait_until):
    recorder = spinner.add(Node("recorder"))
    told = recorder.create_publisher(DiagnosticArray, "/diagnostics", reliable_qos())
    wait_until(told.get_subscription_count)
    for file, folder in (("/runs/2026-05-04_1/0001.mcap", "/runs/2026-05-04_1"), ("/runs/$(reboot)/0.mcap", "")):
        values = {"file": file, "messages": "5", "lost_messages": "0", "removed_files": "0"}
        pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
        message = DiagnosticArray(status=[DiagnosticStatus(name="/recorder", values=pairs)])
        told.publish(message)
        wait_until(lambda folder=folder: page.board.get("recording") == {"folder": folder})


def test_holds_for_one_reason_are_told_together(page, navigator, wait_until):
    for number in range(1, 6):
        navigator.publish(NavAction(id=number, kind=NavAction.KIND_HOLD, hold_reason=NavAction.HOLD_NO_IMAGE))
    wait_until(lambda: of_kind(page, "decision") and of_kind(page, "decision")[-1]["times"] == 5)
    (decision,) = of_kind(page, "decision")
    assert (decision["words"], decision["hold"]) == ("hold", "NO_IMAGE")


def test_numbers_that_cannot_be_and_unknown_ones_are_shown_and_break_nothing(page, navigator, spinner, wait_until):
    nan = float("nan")
    navigator.publish(NavAction(id=1, kind=77, state=99, fault=999, hold_reason=999, distance_m=nan, probability=nan))
    navigator.publish(DecisionStats(id=1, latency_ms=nan, probabilities=[nan]))
    spinner.add(Governor())._state = GovernorState(state=88, reason=888, speed_scale=nan)
    odometry = OdometryMsg()
    odometry.pose.pose.position.x = nan
    navigator.odom.publish(odometry)
    navigator.publish(TemporalEvent(event_id=1, probability=nan, method=9, label="<script>"))
    wait_until(lambda: of_kind(page, "event") and page.board.get("stats") and page.board.get("governor"))
    assert of_kind(page, "decision")[0]["words"] == "unknown" and page.board.get("governor")["state"] == "88"
    assert page.board.get("stats")["latency_ms"] is None and page.board.get("pose") is None


def test_missions_and_events_are_told_once_each_with_what_became_of_them(page, navigator, wait_until):
    for _ in range(3):
        navigator.publish(Mission(id=4, running=True, instruction="to the door", source="page"))
    navigator.publish(Mission(id=4, outcome=2, error_code=711, error_msg="stuck", instruction="to the door"))
    event = TemporalEvent(event_id=2, query_id="q1", label="door", open=True, probability=0.8)
    navigator.publish(event)
    event.open = False
    navigator.publish(event)
    wait_until(lambda: of_kind(page, "mission") and not of_kind(page, "mission")[0]["running"])
    wait_until(lambda: of_kind(page, "event") and not of_kind(page, "event")[0]["open"])
    (mission,), (event,) = of_kind(page, "mission"), of_kind(page, "event")
    assert (mission["outcome"], mission["error_code"], mission["error_msg"]) == ("failed", 711, "stuck")
    assert (event["label"], event["probability"]) == ("door", 0.8)


def test_a_compressed_camera_is_passed_on_as_it_came(spinner, wait_until):
    page = spinner.add(PageNode([Parameter("image_transport", value="compressed")]))
    camera = spinner.add(Node("camera"))
    publisher = camera.create_publisher(CompressedImage, "image_raw/compressed", sensor_qos())
    from vila_ros.page.pictures import encode

    data = encode(np.zeros((48, 64, 3), np.uint8), 640)
    message = CompressedImage(format="jpeg", data=data)
    wait_until(lambda: publisher.publish(message) or page.pictures.newest)
    assert page.pictures.newest.jpeg == data
    before = page.pictures.count
    for _ in range(5):
        publisher.publish(CompressedImage(format="jpeg", data=b"\x00 no picture"))
    publisher.publish(message)
    wait_until(lambda: publisher.publish(message) or page.pictures.count > before)


# --- what it asks for ----------------------------------------------------------------------------


def test_an_instruction_is_a_goal_of_the_action_and_its_end_is_told(page, navigator, wait_until):
    page._commands.submit(Go("to the red chair"))
    wait_until(lambda: navigator.goals)
    assert (navigator.goals[0].request.instruction, navigator.goals[0].request.source) == ("to the red chair", "page")
    result = NavigateInstruction.Result(outcome=2, error_code=711, error_msg="it does not move")
    conclude(navigator.goals[0], result, is_success=False)
    wait_until(lambda: of_kind(page, "note"))
    (note,) = of_kind(page, "note")
    assert (note["level"], note["text"]) == ("error", "“to the red chair”: 711 it does not move")


def test_a_question_about_the_past_is_answered(page, navigator, wait_until):
    page._commands.submit(Ask("the ball"))
    wait_until(lambda: navigator.goals)
    result = LocalizeEvent.Result(found=True, starts=[stamp_from_ns(3 * SECOND)], ends=[stamp_from_ns(5 * SECOND)])
    result.probabilities, result.searched_end = [0.75], stamp_from_ns(10 * SECOND)
    conclude(navigator.goals[0], result, is_success=True)
    wait_until(lambda: of_kind(page, "question")[0]["state"] == "answered")
    assert of_kind(page, "question")[0]["intervals"] == [[3.0, 5.0, 0.75]]


def test_queries_stand_until_they_are_ended_or_the_navigator_is_another(page, navigator, wait_until):
    navigator.publish(NavigatorStatus(run=1, state=NavigatorStatus.STATE_READY))
    wait_until(lambda: page.board.get("navigator"))
    page._commands.submit(Watch("the door opens"))
    wait_until(lambda: of_kind(page, "query") == [{"id": "q1", "text": "the door opens"}])
    page._commands.submit(Unwatch("q1"))
    wait_until(lambda: not of_kind(page, "query"))
    page._commands.submit(Watch("<image>"))
    wait_until(lambda: of_kind(page, "note") and "721 it holds a media token" in of_kind(page, "note")[-1]["text"])
    page._commands.submit(Watch("the door opens"))
    wait_until(lambda: of_kind(page, "query"))
    navigator.publish(NavigatorStatus(run=2, state=NavigatorStatus.STATE_READY))
    wait_until(lambda: not of_kind(page, "query"))


def test_cancel_cancels_whoevers_instruction(page, navigator, wait_until):
    page._commands.submit(Cancel())
    wait_until(lambda: CancelInstruction.Request() in navigator.asked)
    wait_until(lambda: of_kind(page, "note"))


def test_without_a_navigator_each_wish_is_answered_so(page, wait_until):
    commands = page._commands
    wait_until(lambda: not (commands._navigate.server_is_ready() or commands._localize.server_is_ready()))
    services = (commands._cancel, commands._watch, commands._unwatch)
    wait_until(lambda: not any(service.service_is_ready() for service in services))
    for command in (Go("x"), Cancel(), Watch("x"), Unwatch("x"), Ask("x")):
        page._commands.submit(command)
    wait_until(lambda: len(of_kind(page, "note")) == 5)
    assert all("there is no navigator" in note["text"] for note in of_kind(page, "note"))


# --- the emergency stop --------------------------------------------------------------------------


def test_the_governor_is_stopped_and_released(page, spinner, wait_until):
    governor = spinner.add(GovernorNode())
    wait_until(lambda: page._emergency._service.has_governor)
    page._emergency.press("pressed on the page")
    wait_until(lambda: (page.board.get("governor") or {}).get("emergency_stop"))
    assert governor._governor.emergency == {"service": "the service was called"}
    wait_until(lambda: page.board.get("emergency")["wanted"] == "")
    page._emergency.release()
    wait_until(lambda: not page.board.get("governor")["emergency_stop"])


def test_a_press_is_repeated_until_a_governor_is_there(page, navigator, spinner, wait_until):
    page._emergency.press("pressed on the page")
    wait_until(lambda: CancelInstruction.Request() in navigator.asked)  # meanwhile
    assert page.board.get("emergency")["wanted"] == "pressed on the page"
    governor = spinner.add(Governor())
    wait_until(lambda: governor.calls and governor.calls[0][0])
    wait_until(lambda: page.board.get("emergency")["wanted"] == "")


def test_a_press_that_is_refused_is_pressed_on_ends_the_instruction_and_is_told(page, navigator, spinner, wait_until):
    governor = spinner.add(Governor())
    governor.obeys = False
    wait_until(lambda: page._emergency._service.has_governor and page._listener.governor)
    page._emergency.press("pressed on the page")
    wait_until(lambda: len(governor.calls) > 3 and page.board.get("emergency")["answer"] == "not now")
    wait_until(lambda: CancelInstruction.Request() in navigator.asked)
    assert page.board.get("emergency")["wanted"] == "pressed on the page"
    governor.obeys = True
    wait_until(lambda: page.board.get("emergency")["wanted"] == "" and not page.board.get("emergency")["answer"])


def test_a_navigator_that_never_answers_hinders_no_cancellation_of_the_next(page, spinner, wait_until):
    hung = Node("navigator")  # on the graph, and run by nobody
    hung.create_service(CancelInstruction, "~/cancel_instruction", lambda request, response: response)
    wait_until(lambda: page._emergency._service.has_navigator)
    page._emergency.press("pressed on the page")  # there is no governor
    wait_until(lambda: page._emergency._service._cancel._pending_requests)
    navigator = spinner.add(Navigator())
    wait_until(lambda: CancelInstruction.Request() in navigator.asked)
    hung.destroy_node()


def test_it_is_pressed_though_another_holds_it_already(page, spinner, wait_until):
    """When the hardware's button is released, the page's press still stands."""
    governor = spinner.add(GovernorNode())
    wait_until(lambda: page._emergency._service.has_governor)
    governor._operator.press("topic", "emergency_stop is true")
    wait_until(lambda: (page.board.get("governor") or {}).get("emergency_stop"))
    page._emergency.press("pressed on the page")
    wait_until(lambda: set(governor._governor.emergency) == {"topic", "service"})
    page._emergency.release()
    wait_until(lambda: "it stays" in page.board.get("emergency")["answer"])
    assert set(governor._governor.emergency) == {"topic"}


@pytest.mark.parametrize("way", ["silent", "broken"])
def test_a_browser_that_holds_a_driving_robot_and_is_lost_stops_it(page, spinner, wait_until, lateness, way):
    governor = spinner.add(Governor(GovernorState.STATE_READY))
    wait_until(lambda: page._emergency._service.has_governor and page._listener.governor)
    begun_s = time.monotonic()
    page._deadman.hold(1, begun_s)
    if way == "broken":
        page._deadman.lose(1)
    wait_until(lambda: governor.calls)
    pressed, at_s = governor.calls[0]
    assert pressed and at_s - begun_s < 0.5 + lateness.since(begun_s)


def test_one_that_is_lost_as_its_mission_begins_stops_it(page, spinner, wait_until):
    governor = spinner.add(Governor(GovernorState.STATE_IDLE))
    wait_until(lambda: page._emergency._service.has_governor and page._listener.governor)
    page._deadman.hold(1, time.monotonic())
    page._deadman.lose(1)
    wait_until(lambda: page._emergency._lost_s is not None)
    assert not governor.calls
    governor._state.state = GovernorState.STATE_READY
    wait_until(lambda: governor.calls and governor.calls[0][0])


def test_nobody_but_the_governor_says_that_there_is_nothing_to_stop(page, spinner, wait_until):
    spinner.add(Governor(GovernorState.STATE_IDLE, name="stranger"))
    governor = spinner.add(Governor(GovernorState.STATE_READY))
    wait_until(lambda: page._emergency._service.has_governor and page._listener._authority.recent)
    page._deadman.hold(1, time.monotonic())
    page._deadman.lose(1)
    wait_until(lambda: governor.calls and governor.calls[0][0])
    assert page._listener.governor is None or page._listener.governor.state == GovernorState.STATE_READY


def test_one_that_comes_back_is_not_missed(page, spinner, wait_until):
    spinner.add(Governor(GovernorState.STATE_IDLE))
    wait_until(lambda: page._emergency._service.has_governor and page._listener.governor)
    page._deadman.hold(1, time.monotonic())
    page._deadman.lose(1)
    wait_until(lambda: page._emergency._lost_s is not None)
    wait_until(lambda: page._deadman.hold(2, time.monotonic()) or page._emergency._lost_s is None)
    page._deadman.let_go(2)


def test_a_browser_that_is_lost_while_no_mission_runs_stops_nobody(page, spinner, wait_until):
    governor = spinner.add(Governor(GovernorState.STATE_IDLE))
    wait_until(lambda: page._emergency._service.has_governor and page._listener.governor)
    page._deadman.hold(1, time.monotonic())
    wait_until(lambda: not page._deadman.is_held)
    page._emergency.release()  # is handled behind what a press would have been
    wait_until(lambda: governor.calls)
    assert [pressed for pressed, _ in governor.calls] == [False]


def test_a_page_that_ends_while_a_browser_holds_the_robot_stops_it(page, spinner, wait_until):
    governor = spinner.add(Governor(GovernorState.STATE_READY))
    wait_until(lambda: page._emergency._service.has_governor and page._listener.governor)
    page._deadman.hold(1, time.monotonic() + HANG_S)
    spinner.remove(page)
    wait_until(lambda: governor.calls and governor.calls[0][0])


# --- as a program --------------------------------------------------------------------------------


@pytest.fixture
def run_page(ros_environment):
    """run_page(*parameters): exit status and output of the node, which is to end by itself; more of its environment."""

    def run(*parameters: str, **more: str) -> tuple[int, str]:
        arguments = [word for parameter in parameters for word in ("-p", parameter)]
        done = subprocess.run(
            [sys.executable, "-m", "vila_ros.page.node", "--ros-args", *arguments],
            env=ros_environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=HANG_S,
        )
        return done.returncode, done.stdout

    return run


def fatal(output: str) -> str:
    """The one line that tells why."""
    lines = [line for line in output.splitlines() if line.strip()]
    (told,) = (line for line in lines if "[FATAL]" in line)
    assert "Traceback" not in output
    return told


def test_what_cannot_be_served_ends_in_one_line_and_status_2(run_page, tmp_path):
    pytest.importorskip("fastapi")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for parameters, words in (
            ((f"port:={port}",), f"127.0.0.1 port {port}: Address already in use; set `port`"),
            ((f"token_file:={tmp_path}/nowhere",), "nowhere"),
            (("host:=0.0.0.0",), "set token_file to a file that holds a secret, or generate_token to true"),
            (("prot:=80",), "did you mean 'port'?"),
        ):
            status, output = run_page(*parameters)
            assert status == 2 and words in fatal(output)


def test_without_its_libraries_the_extra_is_named(run_page, tmp_path):
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError('no', name='fastapi')\n")
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('no', name='uvicorn')\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    status, output = run_page(PYTHONPATH=path)
    assert status == 2 and "run `pip install '.[page]'`" in fatal(output)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_tells_its_address_and_ends_in_order(ros_environment, number, tmp_path):
    pytest.importorskip("fastapi")
    command = [sys.executable, "-m", "vila_ros.page.node", "--ros-args", "-p", "port:=0", "-p", "generate_token:=true"]
    process = subprocess.Popen(
        command, env=ros_environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        line = next(line for line in iter(partial(process.stdout.readline), "") if "the page is at" in line)
        assert "http://127.0.0.1:" in line and "#token=" in line
        process.send_signal(number)
        rest, _ = process.communicate(timeout=HANG_S)
    finally:
        process.kill()
    assert process.returncode == 0 and "Traceback" not in rest, rest
