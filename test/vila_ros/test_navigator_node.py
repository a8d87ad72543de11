"""The navigator with a scripted model: instructions in by every door, actions out, holds when in doubt."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
from collections.abc import Callable

import numpy as np
import psutil
import pytest
from conftest import HANG_S

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import Odometry as OdometryMsg
from nav_msgs.msg import Path
from parameter_client import ParameterClient
from rclpy.action import ActionClient
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String
from vila_nav.action import NavigateInstruction
from vila_nav.msg import DecisionStats, GovernorState, NavAction, NavigatorStatus
from vila_nav.srv import CancelInstruction, SetInstruction

from vila_core.actions.grammar import SENTENCES
from vila_core.control.reasons import MotionFault
from vila_core.errors import BackendError, CheckpointError, ConfigError, NotFiniteError, VilaError
from vila_core.history.policy import is_blank
from vila_core.navigator import Navigator
from vila_core.testing import SCRIPTED_INFO, ScriptedBackend, make_frame
from vila_core.types import Frame, HoldReason, Odometry, Pose, Vocabulary
from vila_ros.common.conversions import frame_from_image, image_from_frame, message_from_odometry, ns_from_stamp
from vila_ros.common.qos import latched_qos, reliable_qos, sensor_qos
from vila_ros.navigator.mission.client_watch import ClientWatch
from vila_ros.navigator.node import NavigatorNode

Result = NavigateInstruction.Result
STOP, FORWARD, LEFT = SENTENCES[0], SENTENCES[1], SENTENCES[4]
_TIMER_S = 0.05


class Robot(Node):
    """Camera, odometry and controller in one; each action is done as soon as it comes."""

    def __init__(self) -> None:
        super().__init__("controller")
        self.images_on = self.odometry_on = self.controller_on = True
        self.encoding = "rgb8"
        self.image_offset_ns = 0
        self.pose = Pose()
        self.actions: list[NavAction] = []
        self.stats: list[DecisionStats] = []
        self.heartbeats: list[Header] = []
        self.diagnostics: list[DiagnosticStatus] = []
        self.picture = lambda: make_frame(self.now_ns()).image  # what the camera shows
        self.speed_mps = 0.0
        self._image = self.create_publisher(Image, "image_raw", sensor_qos())
        self._odometry = self.create_publisher(OdometryMsg, "odom", reliable_qos())
        self._execution = self.create_publisher(NavAction, "controller/execution", reliable_qos())
        self.instruction = self.create_publisher(String, "navigator/instruction", reliable_qos())
        self.create_subscription(NavAction, "navigator/action", self._on_action, reliable_qos())
        self.create_subscription(DecisionStats, "navigator/stats", self.stats.append, reliable_qos())
        self.create_subscription(Header, "navigator/heartbeat", self.heartbeats.append, reliable_qos())
        self.create_subscription(
            DiagnosticArray, "/diagnostics", lambda m: self.diagnostics.extend(m.status), reliable_qos()
        )
        self.goals = ActionClient(self, NavigateInstruction, "navigator/navigate")
        self.end, self.fault = NavAction.STATE_DONE, 0  # of each action
        self.set_instruction = self.create_client(SetInstruction, "navigator/set_instruction")
        self.cancel_instruction = self.create_client(CancelInstruction, "navigator/cancel_instruction")
        self.create_timer(_TIMER_S, self._on_timer)

    def moves(self) -> list[NavAction]:
        return [a for a in self.actions if a.kind in (NavAction.KIND_MOVE_FORWARD, NavAction.KIND_TURN)]

    def holds(self) -> list[int]:
        return [a.hold_reason for a in self.actions if a.kind == NavAction.KIND_HOLD]

    def ready(self) -> bool:
        publishers = (self._image, self._odometry, self._execution)
        return (
            all(p.get_subscription_count() > 0 for p in publishers)
            and self.goals.server_is_ready()
            and self.set_instruction.service_is_ready()
            and self.cancel_instruction.service_is_ready()
            and all(self.count_publishers(f"navigator/{t}") > 0 for t in ("action", "stats", "heartbeat"))
        )

    def now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _on_timer(self) -> None:
        now_ns = self.now_ns()
        self.pose = self.pose.advanced(self.speed_mps * _TIMER_S)
        if self.odometry_on:
            self._odometry.publish(message_from_odometry(Odometry(now_ns, self.pose)))
        if self.images_on:
            image = image_from_frame(Frame(self.picture(), now_ns + self.image_offset_ns))
            image.encoding = self.encoding
            self._image.publish(image)

    def _on_action(self, message: NavAction) -> None:
        self.actions.append(message)
        if not self.controller_on or message.kind in (NavAction.KIND_HOLD, NavAction.KIND_STOP):
            return
        if self.end == NavAction.STATE_DONE:
            self.pose = self.pose.advanced(message.distance_m).turned(message.angle_rad)
        message.fault = self.fault
        for state in (NavAction.STATE_RUNNING, self.end):
            message.state = state
            self._execution.publish(message)


class Goal:
    """A goal on its way."""

    def __init__(self, robot: Robot, text: str, wait_until: Callable[..., float], **limits) -> None:
        self._wait, self._robot = wait_until, robot
        self.feedback: list[NavigateInstruction.Feedback] = []
        request = NavigateInstruction.Goal(instruction=text, **limits)
        future = self._spun(robot.goals.send_goal_async, request, lambda m: self.feedback.append(m.feedback))
        wait_until(future.done, what="the goal to be accepted")
        self.handle = future.result()
        assert self.handle.accepted
        self._result = self._spun(self.handle.get_result_async)

    def result(self) -> tuple[int, Result]:
        self._wait(self._result.done, "the goal's result")
        return self._result.result().status, self._result.result().result

    def _spun(self, call: Callable, *arguments):
        """Call in the thread that spins: from another, an answer may come before rclpy noted that it is waited for."""
        task = self._robot.executor.create_task(call, *arguments)
        self._wait(task.done)
        return task.result()


@pytest.fixture
def start(spinner, wait_until, tmp_path):
    """start(backend, **parameters): a robot and an active navigator that know each other."""

    def begin(backend, /, **parameters) -> Robot:
        values = {"checkpoint": str(tmp_path), "require_governor": False} | {
            n.replace("__", "."): v for n, v in parameters.items()
        }
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = NavigatorNode(overrides, load=lambda *_, **__: backend)
        try:
            node.bring_up()
        except VilaError:
            node.destroy_node()  # it would be another one of its name
            raise
        robot = Robot()
        robot.navigator = node
        spinner.add(node)
        spinner.add(robot)
        wait_until(robot.ready, what="the graph to be complete")
        wait_until(lambda: node.active.latest.image, what="the first image")
        wait_until(lambda: node.count_clients("navigator/navigate/_action/send_goal"), what="the client to be known")
        return robot

    return begin


@pytest.fixture
def goal(wait_until):
    return lambda robot, text="go to the red chair", **limits: Goal(robot, text, wait_until, **limits)


class SlowBackend(ScriptedBackend):
    """Answers only when it is allowed to."""

    def __init__(self, *script) -> None:
        super().__init__(*script)
        self.allowed = threading.Event()
        self.asked = threading.Event()

    def _next(self, prompt):
        self.asked.set()
        assert self.allowed.wait(HANG_S)
        return super()._next(prompt)


def test_a_goal_is_followed_to_the_models_stop(start, goal, wait_until) -> None:
    robot = start(ScriptedBackend(FORWARD, LEFT, FORWARD, STOP))
    status, result = (running := goal(robot)).result()
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert (result.outcome, result.error_code, result.decisions) == (Result.OUTCOME_REACHED, Result.ERROR_NONE, 4)
    assert result.distance_m == pytest.approx(0.5, abs=1e-3)
    kinds = [NavAction.KIND_MOVE_FORWARD, NavAction.KIND_TURN, NavAction.KIND_MOVE_FORWARD, NavAction.KIND_STOP]
    assert [a.kind for a in robot.actions] == kinds
    assert robot.actions[0].distance_m == 0.25 and robot.actions[1].angle_rad == pytest.approx(np.radians(15))
    told = lambda: [f for f in running.feedback if f.decision.state == NavAction.STATE_COMMANDED]  # noqa: E731
    wait_until(lambda: len(robot.stats) == 4 and len(told()) == 4)
    stamps = [ns_from_stamp(a.header.stamp) for a in robot.actions]
    assert stamps == sorted(set(stamps)) and stamps[0] > 0
    assert [ns_from_stamp(s.header.stamp) for s in robot.stats] == stamps
    assert [ns_from_stamp(f.image_stamp) for f in told()] == stamps
    assert {f.decision.id for f in running.feedback if f.decision.state == NavAction.STATE_RUNNING} <= {1, 2, 3}
    assert all(s.latency_ms > 0 and s.image_age_ms >= 0 for s in robot.stats)
    assert [s.id for s in robot.stats] == [a.id for a in robot.actions]


def test_nothing_moves_without_an_instruction(start, wait_until) -> None:
    robot = start(ScriptedBackend(FORWARD))
    wait_until(lambda: robot.diagnostics, what="diagnostics")
    assert robot.actions == [] and robot.heartbeats == []
    assert robot.diagnostics[-1].message == "idle"


def test_an_instruction_by_topic_and_its_cancellation_by_service(start, wait_until) -> None:
    robot = start(
        ScriptedBackend(LEFT), instruction_topic=True, mission__max_rotation_rad=1000.0, mission__max_decisions=1000
    )
    wait_until(robot.instruction.get_subscription_count)
    robot.instruction.publish(String(data="go to the door"))
    wait_until(lambda: len(robot.moves()) >= 3)
    future = robot.cancel_instruction.call_async(CancelInstruction.Request())
    wait_until(future.done)
    assert future.result().success
    wait_until(lambda: robot.actions[-1].kind == NavAction.KIND_HOLD)
    count = len(robot.actions)
    future = robot.cancel_instruction.call_async(CancelInstruction.Request())
    wait_until(future.done)
    assert not future.result().success and "no instruction" in future.result().error_msg
    assert len(robot.actions) == count


@pytest.mark.parametrize("text", ["", "   ", "x" * 1000, "go <image> there", "a<|eot_id|>b"])
def test_a_bad_instruction_is_refused_by_every_door(start, goal, wait_until, text: str) -> None:
    robot = start(ScriptedBackend(FORWARD))
    status, result = goal(robot, text).result()
    assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, Result.ERROR_BAD_INSTRUCTION) and result.error_msg
    future = robot.set_instruction.call_async(SetInstruction.Request(instruction=text))
    wait_until(future.done)
    assert (future.result().success, future.result().error_code) == (False, Result.ERROR_BAD_INSTRUCTION)
    assert robot.actions == []


def test_what_the_model_does_not_know_is_refused_and_the_mission_that_runs_goes_on(start, goal, wait_until) -> None:
    known = Vocabulary("go to the {thing}", colours=(("red", ()),), kinds=(("chair", ()),))
    backend = ScriptedBackend(LEFT, info=dataclasses.replace(SCRIPTED_INFO, vocabulary=known))
    robot = start(backend, mission__max_rotation_rad=1000.0, mission__max_decisions=1000)
    running = goal(robot, "go to the red chair")
    _, result = goal(robot, "water the flowers").result()
    assert result.error_code == Result.ERROR_BAD_INSTRUCTION and "it knows 1 kinds of things" in result.error_msg
    count = len(robot.moves())
    wait_until(lambda: len(robot.moves()) > count, "the mission to go on")
    running.handle.cancel_goal_async()
    assert running.result()[1].error_code == Result.ERROR_CANCELED


def test_limits_that_make_no_sense_are_a_bad_instruction(start, goal) -> None:
    _, result = goal(start(ScriptedBackend(FORWARD)), max_duration_s=-3.0).result()
    assert result.error_code == Result.ERROR_BAD_INSTRUCTION and "max_duration_s = -3.0" in result.error_msg


def test_a_newer_instruction_preempts(start, goal, wait_until) -> None:
    robot = start(ScriptedBackend(LEFT, LEFT, LEFT, STOP))
    robot.controller_on = False
    first = goal(robot)
    wait_until(lambda: robot.moves())
    robot.controller_on = True
    second = goal(robot, "go to the blue bed")
    status, result = first.result()
    assert (status, result.outcome, result.error_code) == (
        GoalStatus.STATUS_ABORTED,
        Result.OUTCOME_STOPPED,
        Result.ERROR_PREEMPTED,
    )
    assert second.result()[0] == GoalStatus.STATUS_SUCCEEDED
    assert robot.actions[1].kind == NavAction.KIND_HOLD  # stands still before it takes up the new one


def test_cancel_holds_the_robot_and_ends_the_heartbeat(start, goal, wait_until) -> None:
    robot = start(ScriptedBackend(FORWARD))
    robot.controller_on = False
    running = goal(robot)
    wait_until(lambda: robot.moves() and robot.heartbeats)
    canceling = running.handle.cancel_goal_async()
    assert wait_until(lambda: robot.actions[-1].kind == NavAction.KIND_HOLD) < 0.3
    wait_until(canceling.done)
    status, result = running.result()
    assert (status, result.outcome, result.error_code) == (
        GoalStatus.STATUS_CANCELED,
        Result.OUTCOME_STOPPED,
        Result.ERROR_CANCELED,
    )
    beats, seen = len(robot.heartbeats), len(robot.diagnostics)
    wait_until(lambda: len(robot.diagnostics) > seen)
    assert len(robot.heartbeats) <= beats + 1


def test_garbage_never_moves_the_robot(start, goal) -> None:
    garbage = ("", "move", "should I stop? move forward 75 cm")
    free_text = dataclasses.replace(SCRIPTED_INFO, prompt_style="vila", chat_template="qwen2")
    robot = start(ScriptedBackend(*garbage, info=free_text))
    status, result = goal(robot).result()
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, Result.OUTCOME_FAILED)
    assert result.error_code == Result.ERROR_BAD_REPLIES and "move forward 75 cm" in result.error_msg
    assert robot.moves() == [] and result.decisions == 0
    assert robot.holds()[:3] == [HoldReason.UNPARSEABLE_REPLY] * 3


@pytest.mark.parametrize("error", [BackendError("out of memory"), RuntimeError("boom"), KeyError("x")])
def test_a_failing_model_never_moves_the_robot(start, goal, error: Exception) -> None:
    robot = start(ScriptedBackend(error))
    _, result = goal(robot).result()
    assert result.error_code == Result.ERROR_BACKEND_ERROR
    assert robot.moves() == [] and set(robot.holds()[:3]) == {HoldReason.BACKEND_ERROR}


def test_numbers_that_are_not_finite_hold_with_their_own_code_until_they_are(start, goal) -> None:
    line = "the scores of the replies are not finite: it began in layer 3 of the language model"
    robot = start(ScriptedBackend(NotFiniteError(line), NotFiniteError(line), FORWARD, STOP))
    status, _ = goal(robot).result()
    assert status == GoalStatus.STATUS_SUCCEEDED and len(robot.moves()) == 1
    held = [action for action in robot.actions if action.kind == NavAction.KIND_HOLD][:2]
    assert [action.hold_reason for action in held] == [HoldReason.NOT_FINITE] * 2
    assert all(line in action.detail for action in held)


@pytest.mark.parametrize("error", [BackendError("out of memory"), RuntimeError("boom")])
def test_after_a_failure_a_newer_image_is_waited_for(start, goal, error: Exception) -> None:
    robot = start(ScriptedBackend(error))
    goal(robot).result()
    failed = [a for a in robot.actions if a.hold_reason == HoldReason.BACKEND_ERROR]
    stamps_ns = [ns_from_stamp(action.header.stamp) for action in failed]
    assert stamps_ns[0] > 0 and stamps_ns == sorted(set(stamps_ns))


def test_it_works_ahead_while_a_mission_runs_and_only_then(start, goal, wait_until) -> None:
    backend = ScriptedBackend(FORWARD)
    robot = start(backend, history__policy="streaming")
    assert not backend.encoded and not backend.prefilled
    running = goal(robot)
    wait_until(lambda: len(backend.prefilled) >= 3)
    running.handle.cancel_goal_async()
    running.result()
    prompts = [prompt for prompt in backend.prompts if prompt.visuals]
    assert len(backend.prefilled) <= len(prompts)
    read = {prompt.text for prompt in backend.prefilled}
    assert any(prompt.text.startswith(tuple(read)) for prompt in prompts)


def test_work_ahead_that_fails_stops_no_mission(start, goal) -> None:
    backend = ScriptedBackend(FORWARD, FORWARD, STOP)
    backend.prefill = lambda prompt: (_ for _ in ()).throw(RuntimeError("boom"))
    _, result = goal(start(backend, history__policy="streaming")).result()
    assert result.outcome == Result.OUTCOME_REACHED and result.decisions == 3


def test_a_late_decision_is_dropped(start, goal, wait_until) -> None:
    backend = SlowBackend(FORWARD)
    robot = start(backend, navigator__decision_deadline_s=0.4)
    running = goal(robot)
    wait_until(lambda: HoldReason.LATE_DECISION in robot.holds())
    backend.allowed.set()
    wait_until(lambda: robot.navigator.active.decisions.late)
    wait_until(lambda: robot.stats and robot.stats[-1].late_answers == 1, "the late answer to be told")
    wait_until(lambda: robot.moves())
    late = [a for a in robot.moves() if ns_from_stamp(a.header.stamp) <= ns_from_stamp(robot.actions[0].header.stamp)]
    assert late == []
    running.handle.cancel_goal_async()
    running.result()


def test_a_wrong_encoding_holds_and_then_aborts(start, goal, wait_until) -> None:
    robot = start(ScriptedBackend(FORWARD), mission__image_timeout_s=1.0)
    robot.encoding = "h264"
    wait_until(
        lambda: (
            "image" in robot.navigator.active.latest.image_fault and not robot.navigator.active.latest.is_image_fresh
        )
    )
    _, result = goal(robot).result()
    assert result.error_code == Result.ERROR_IMAGE_LOST and "'h264'" in result.error_msg and "rgb8" in result.error_msg
    assert robot.moves() == [] and robot.holds()[0] == HoldReason.BAD_IMAGE
    assert robot.heartbeats == []


def test_a_camera_that_stops_holds_the_robot_and_resumes_when_it_returns(start, goal, wait_until, lateness) -> None:
    robot = start(ScriptedBackend(FORWARD, STOP))
    robot.controller_on = False
    running = goal(robot)
    wait_until(lambda: robot.moves())
    robot.images_on = False
    cut = time.monotonic()
    wait_until(lambda: robot.actions[-1].kind == NavAction.KIND_HOLD)
    assert time.monotonic() - cut < 0.9 + lateness.since(cut)
    assert robot.holds() == [HoldReason.STALE_IMAGE]
    beats = len(robot.heartbeats)
    robot.images_on = True
    assert running.result()[0] == GoalStatus.STATUS_SUCCEEDED
    assert len(robot.heartbeats) > beats


def test_a_camera_that_stays_away_aborts(start, goal, wait_until) -> None:
    robot = start(ScriptedBackend(LEFT), mission__image_timeout_s=1.0)
    running = goal(robot)
    wait_until(lambda: robot.moves())
    robot.images_on = False
    _, result = running.result()
    assert result.error_code == Result.ERROR_IMAGE_LOST


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (lambda seen: lambda: seen[-1], HoldReason.FROZEN_IMAGE),
        (lambda seen: iter(seen[-20:] * 99).__next__, HoldReason.REPEATED_IMAGE),
        (lambda seen: lambda: np.zeros_like(seen[-1]), HoldReason.BLANK_IMAGE),
        (lambda seen: lambda: seen[-1] // 64 + 90, HoldReason.BLANK_IMAGE),
    ],
    ids=["frozen", "loop", "black", "covered"],
)
def test_a_camera_that_lies_holds_the_moving_robot_at_once(start, goal, wait_until, lateness, lie, reason) -> None:
    robot = start(ScriptedBackend(FORWARD), mission__image_timeout_s=1.0)
    seen = []
    robot.picture = lambda: seen.append(make_frame(robot.now_ns()).image) or seen[-1]
    wait_until(lambda: len(seen) > 20)
    robot.controller_on = False  # its motion goes on
    running = goal(robot)
    wait_until(lambda: robot.moves())
    robot.speed_mps = 0.3
    wait_until(lambda: robot.pose.x_m > 0.3)
    assert robot.holds() == []
    robot.picture, begun_m, begun_s = lie(seen), robot.pose.x_m, time.monotonic()
    wait_until(lambda: robot.holds())
    driven_m = robot.pose.x_m - begun_m
    beats = len(robot.heartbeats)
    assert robot.holds() == [reason]
    assert driven_m <= 0.15 + robot.speed_mps * lateness.since(begun_s)
    robot.speed_mps = 0.0
    _, result = running.result()
    assert result.error_code == Result.ERROR_IMAGE_LOST and "image" in result.error_msg
    assert len(robot.heartbeats) <= beats + 1 and len(robot.moves()) == 1


def test_a_camera_that_shows_what_is_there_again_is_trusted_again(start, goal, wait_until) -> None:
    robot = start(ScriptedBackend(FORWARD, STOP))
    robot.controller_on = False
    running = goal(robot)
    wait_until(lambda: robot.moves())
    honest, robot.picture = robot.picture, lambda: np.zeros((48, 64, 3), np.uint8)
    robot.speed_mps = 0.3
    wait_until(lambda: robot.holds())
    robot.speed_mps, robot.picture = 0.0, honest
    assert running.result()[0] == GoalStatus.STATUS_SUCCEEDED
    assert robot.holds() == [HoldReason.BLANK_IMAGE]


@pytest.mark.parametrize(("offset_s", "word"), [(5, "future"), (-5, "old")])
def test_stamps_from_another_time_never_move_the_robot(start, goal, wait_until, offset_s: int, word: str) -> None:
    robot = start(ScriptedBackend(FORWARD), mission__image_timeout_s=0.5)
    robot.image_offset_ns = offset_s * 1_000_000_000
    wait_until(
        lambda: (
            robot.navigator.active.latest.image
            and abs(robot.navigator.active.latest.image.stamp_ns - robot.now_ns()) > 4e9
        )
    )
    _, result = goal(robot).result()
    assert result.error_code == Result.ERROR_IMAGE_LOST and word in result.error_msg
    assert robot.moves() == []


def test_missing_odometry_aborts(start, goal) -> None:
    robot = start(ScriptedBackend(LEFT), mission__odometry_timeout_s=0.5)
    robot.odometry_on = False
    _, result = goal(robot).result()
    assert result.error_code == Result.ERROR_ODOMETRY_LOST


def test_a_missing_controller_aborts(start, goal) -> None:
    robot = start(ScriptedBackend(LEFT), mission__controller_timeout_s=0.5)
    robot.controller_on = False
    _, result = goal(robot).result()
    assert result.error_code == Result.ERROR_CONTROLLER_LOST


def test_a_look_round_that_shows_nothing_ends_as_not_found(start, goal) -> None:
    robot = start(ScriptedBackend(LEFT))
    _, result = goal(robot).result()
    assert result.error_code == Result.ERROR_NOT_FOUND and "looked round once" in result.error_msg


def test_limits_of_the_goal_hold(start, goal) -> None:
    robot = start(ScriptedBackend(FORWARD))
    _, result = goal(robot, max_decisions=3).result()
    assert (result.error_code, result.decisions) == (Result.ERROR_TOO_MANY_DECISIONS, 3)
    _, result = goal(robot, max_distance_m=0.6).result()
    assert result.error_code == Result.ERROR_TOO_FAR


def test_nobody_listens_to_the_topic_unless_that_is_said(start) -> None:
    robot = start(ScriptedBackend(LEFT))
    assert robot.count_subscribers("navigator/instruction") == 0


@pytest.mark.parametrize(
    ("parameters", "source"),
    [({"instruction_topic": True}, "topic"), ({}, "service: voice"), ({}, "action: page")],
)
def test_an_instruction_keeps_its_source(start, goal, wait_until, parameters, source: str) -> None:
    robot = start(ScriptedBackend(LEFT), **parameters)
    robot.controller_on = False
    if source == "topic":
        wait_until(robot.instruction.get_subscription_count)
        robot.instruction.publish(String(data="go to the door"))
    elif source == "action: page":
        goal(robot, "go to the door", source=" page\n")
    else:
        robot.set_instruction.call_async(SetInstruction.Request(instruction="go to the door", source="voice"))
    wait_until(lambda: robot.navigator.active.missions.current)
    assert robot.navigator.active.missions.current.instruction.source == source
    assert robot.navigator.active._navigator.instruction.source == source


def test_what_the_model_was_asked_is_told_so_that_it_can_be_asked_again(start, goal, wait_until) -> None:
    backend = ScriptedBackend(FORWARD, LEFT, FORWARD, STOP)
    robot, frames = start(backend), []
    robot.create_subscription(Image, "navigator/frames", frames.append, reliable_qos(100))
    wait_until(lambda: robot.navigator.active._outputs._frames.get_subscription_count())
    goal(robot).result()
    wait_until(lambda: len(robot.stats) == len(backend.prompts) == 4)
    for prompt, told in zip(backend.prompts, robot.stats, strict=True):
        assert told.prompt_sha256 == hashlib.sha256(prompt.text.encode()).hexdigest()
        shown = [0 if is_blank(visual.frame) else visual.frame.stamp_ns for visual in prompt.visuals]
        assert [ns_from_stamp(stamp) for stamp in told.frames] == shown
        assert list(told.frame_visuals) == list(range(len(shown)))
        assert [None if tokens < 0 else tokens for tokens in told.visual_tokens] == [v.tokens for v in prompt.visuals]
        assert len(told.allowed) == len(SENTENCES) and any(told.allowed)
    used = (visual.frame for prompt in backend.prompts for visual in prompt.visuals)
    real = {frame.stamp_ns: frame.image for frame in used if not is_blank(frame)}
    wait_until(lambda: len(frames) >= len(real))
    assert [ns_from_stamp(frame.header.stamp) for frame in frames] == sorted(real)  # each once
    for frame in frames:
        assert np.array_equal(frame_from_image(frame).image, real[ns_from_stamp(frame.header.stamp)])


def test_decisions_are_shown_to_who_listens(start, goal, wait_until) -> None:
    robot, pictures, paths = start(ScriptedBackend(FORWARD, FORWARD, STOP)), [], []
    robot.create_subscription(CompressedImage, "navigator/debug_image/compressed", pictures.append, reliable_qos())
    robot.create_subscription(Path, "navigator/path", paths.append, reliable_qos())
    wait_until(lambda: robot.navigator.configured.outputs.debug.wants_pictures)
    robot.speed_mps = 0.2
    goal(robot).result()
    wait_until(lambda: len(pictures) == len(robot.stats) == 3 and paths)
    assert [picture.header.stamp for picture in pictures] == [stats.header.stamp for stats in robot.stats]
    assert frame_from_image(pictures[-1]).image.shape[1] == 640
    assert paths[-1].header.frame_id == "odom"


def test_refused_actions_are_counted_and_end_the_mission_by_their_fault(start, goal, wait_until) -> None:
    robot = start(ScriptedBackend(FORWARD))
    robot.end, robot.fault = NavAction.STATE_REFUSED, int(MotionFault.ODOMETRY_SILENT)
    _, result = goal(robot).result()
    assert result.error_code == Result.ERROR_ODOMETRY_LOST and "3 motions in a row" in result.error_msg
    robot.end, robot.fault = NavAction.STATE_ABORTED, int(MotionFault.ODOMETRY_JUMP)
    _, result = goal(robot).result()
    assert result.error_code == Result.ERROR_ODOMETRY_FAULT and result.decisions == 1
    wait_until(lambda: robot.stats)
    assert robot.stats[-1].refused_actions == 3
    seen = len(robot.diagnostics)
    wait_until(lambda: len(robot.diagnostics) > seen)
    assert {v.key: v.value for v in robot.diagnostics[-1].values}["refused_actions"] == "3"


@pytest.mark.parametrize(
    ("end", "fault", "is_in_the_way"),
    [
        (NavAction.STATE_ABORTED, MotionFault.STALLED, True),
        (NavAction.STATE_ABORTED, MotionFault.HELD_UP, False),
        (NavAction.STATE_REFUSED, MotionFault.LATE, False),
    ],
)
def test_a_motion_that_ends_for_another_reason_says_nothing_of_the_floor(
    start, goal, monkeypatch, end, fault, is_in_the_way
) -> None:
    interrupted: list[bool] = []
    monkeypatch.setattr(Navigator, "interrupt", lambda self: interrupted.append(True))
    robot = start(ScriptedBackend(FORWARD))
    robot.end, robot.fault = end, int(fault)
    goal(robot).result()
    before_the_end = len(interrupted) - 1  # whoever waits for a decision then does not any more
    assert (before_the_end == 0) if is_in_the_way else (before_the_end > 0)


def test_a_stop_at_once_is_an_arrival_only_if_the_model_was_sure(start, goal) -> None:
    _, result = goal(start(ScriptedBackend(STOP, probability=0.93))).result()
    assert result.outcome == Result.OUTCOME_REACHED and "at once, with probability 0.93" in result.error_msg


def test_a_stop_at_once_that_was_not_sure_is_none(start, goal) -> None:
    _, result = goal(start(ScriptedBackend(STOP, probability=0.42))).result()
    assert (result.outcome, result.error_code) == (
        Result.OUTCOME_FAILED,
        Result.ERROR_NOT_MOVED,
    ) and "0.42" in result.error_msg


def test_stamps_that_jump_forward_end_the_mission(start, goal, wait_until) -> None:
    robot = start(ScriptedBackend(FORWARD), mission__max_distance_m=0.0, mission__max_decisions=100000)
    running = goal(robot)
    wait_until(lambda: robot.moves())
    robot.image_offset_ns = 60_000_000_000
    _, result = running.result()
    assert result.error_code == Result.ERROR_CLOCK_JUMP and "images' stamp ran" in result.error_msg
    assert robot.actions[-1].kind == NavAction.KIND_HOLD


def test_diagnostics_tell_model_speed_and_the_last_hold(start, goal, wait_until) -> None:
    robot = start(ScriptedBackend(RuntimeError("boom")), backend="torch", mission__max_backend_errors=1000)
    running = goal(robot)
    wait_until(lambda: any(d.level == DiagnosticStatus.WARN for d in robot.diagnostics))
    status = next(d for d in robot.diagnostics if d.level == DiagnosticStatus.WARN)
    values = {v.key: v.value for v in status.values}
    assert values["checkpoint"] == "scripted" and values["backend"] == "torch" and values["precision"] == "none"
    assert values["kernels"] == "none: a script needs none"
    assert values["last_hold"] == "BACKEND_ERROR" and "boom" in values["last_hold_detail"]
    running.handle.cancel_goal_async()
    running.result()


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("auto", "bfloat16 is computed 80 times slower than float32 here"),
        ("bfloat16", "computed 80 times slower than float32 on this device; precision 'auto' takes float32"),
    ],
)
def test_diagnostics_tell_why_it_is_the_precision(start, wait_until, asked: str, reason: str) -> None:
    info = dataclasses.replace(SCRIPTED_INFO, precision="float32", precision_reason=reason)
    robot = start(ScriptedBackend(LEFT, info=info), precision=asked)
    wait_until(lambda: robot.diagnostics)
    values = {v.key: v.value for v in robot.diagnostics[-1].values}
    assert values["precision"] == f"float32: {reason}"


def test_the_lifecycle_holds_the_robot_and_can_go_round(start, goal, wait_until) -> None:
    backend = ScriptedBackend(LEFT, LEFT, STOP)
    robot = start(backend)
    robot.controller_on = False
    running = goal(robot)
    wait_until(lambda: robot.moves())
    assert robot.navigator.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    _, result = running.result()
    assert result.error_code == Result.ERROR_NOT_ACTIVE and robot.actions[-1].kind == NavAction.KIND_HOLD
    assert backend.closed
    _, result = goal(robot).result()
    assert result.error_code == Result.ERROR_NOT_ACTIVE
    backend.closed = False
    robot.controller_on = True
    assert robot.navigator.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert goal(robot).result()[0] == GoalStatus.STATUS_SUCCEEDED


@pytest.mark.parametrize(
    ("parameters", "error", "words"),
    [
        ({"checkpoint": "/nowhere/at/all"}, CheckpointError, ["/nowhere/at/all", "checkpoint"]),
        ({"image_reliability": "maybe"}, ConfigError, ["'maybe'", "best_effort"]),
        ({"navigator.max_image_age_s": 0.0}, ConfigError, ["max_image_age_s = 0.0"]),
        ({"navigator.reply": "guess"}, ConfigError, ["'guess'", "auto, choice, free"]),
        ({"history.policy": "nav"}, ConfigError, ["'nav'", "navila, streaming, window"]),
        ({"history.window_frames": 4, "history.kept_frames": 4}, ConfigError, ["kept_frames = 4", "less than"]),
        ({"backend": "abacus"}, ConfigError, ["'abacus'", "torch"]),
    ],
)
def test_what_cannot_work_is_refused_at_start(ros, tmp_path, parameters, error, words) -> None:
    values = {"checkpoint": str(tmp_path)} | parameters
    made: list[NavigatorNode] = []
    with pytest.raises(error) as caught:
        made.append(NavigatorNode([Parameter(name, value=value) for name, value in values.items()]))
        made[0].bring_up()
    for node in made:
        node.destroy_node()
    assert all(word in str(caught.value) for word in words)


def test_an_unknown_parameter_is_refused_at_once(ros) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'mission\.max_decisions'"):
        NavigatorNode([Parameter("mission.max_decision", value=3)])


def test_how_far_a_motion_got_is_told_while_it_runs(start, goal, wait_until) -> None:
    robot = start(ScriptedBackend(FORWARD, STOP))
    robot.controller_on = False
    running = goal(robot)
    wait_until(lambda: robot.moves())
    report = robot.moves()[0]
    for report.executed_m in (0.1, 0.2):
        report.state = NavAction.STATE_RUNNING
        robot._execution.publish(report)
    wait_until(lambda: [f.decision.executed_m for f in running.feedback] == [0.0, 0.1, 0.2])
    report.state, robot.pose = NavAction.STATE_DONE, robot.pose.advanced(0.25)
    robot._execution.publish(report)
    assert running.result()[0] == GoalStatus.STATUS_SUCCEEDED


FORGED = {
    "controller/execution": lambda robot: NavAction(id=robot.moves()[0].id, state=NavAction.STATE_DONE),
    "governor/state": lambda robot: GovernorState(
        state=GovernorState.STATE_READY, mission_id=robot.navigator.active.governor.mission_id
    ),
}


@pytest.mark.parametrize("topic", FORGED)
def test_who_speaks_for_controller_or_governor_ends_the_mission(start, goal, spinner, wait_until, topic) -> None:
    robot = start(ScriptedBackend(FORWARD))
    stranger = spinner.add(Node("stranger"))
    robot.controller_on = False  # the motion takes its time
    running = goal(robot)
    wait_until(lambda: robot.moves())
    report = robot.moves()[0]
    report.state, report.executed_m = NavAction.STATE_RUNNING, 0.1
    robot._execution.publish(report)
    wait_until(
        lambda: running.feedback and running.feedback[-1].decision.executed_m > 0, what="the controller to be heard"
    )
    forged = FORGED[topic](robot)
    publisher = stranger.create_publisher(type(forged), topic, reliable_qos())
    forging = stranger.create_timer(_TIMER_S, lambda: publisher.publish(forged))
    status, result = running.result()
    stranger.destroy_timer(forging)
    assert status == GoalStatus.STATUS_ABORTED and result.error_code == Result.ERROR_NOT_AUTHORIZED
    assert f"/stranger publishes /{topic} too" in result.error_msg
    assert len(robot.moves()) == 1  # what was forged led to no further one


class Onlooker(Node):
    """Somebody who comes late, and wants to know what the navigator does."""

    def __init__(self, name: str = "onlooker") -> None:
        super().__init__(name)
        self.seen: list[NavigatorStatus] = []
        self.create_subscription(NavigatorStatus, "navigator/status", self.seen.append, latched_qos(10))


def test_the_status_tells_latecomers_what_the_navigator_does(start, goal, spinner, wait_until) -> None:
    robot = start(ScriptedBackend(FORWARD, STOP))
    onlooker = spinner.add(Onlooker())
    wait_until(lambda: onlooker.seen)
    assert onlooker.seen[-1].state == NavigatorStatus.STATE_READY and onlooker.seen[-1].detail == SCRIPTED_INFO.name
    goal(robot).result()
    wait_until(lambda: len(onlooker.seen) == 3)
    ready, navigating, arrived = onlooker.seen
    assert navigating.state == NavigatorStatus.STATE_NAVIGATING and navigating.instruction == "go to the red chair"
    assert arrived.state == NavigatorStatus.STATE_READY and arrived.mission_id == navigating.mission_id > 0
    assert arrived.detail.startswith("REACHED, NONE") and arrived.instruction == ""
    robot.navigator.trigger_deactivate()
    wait_until(lambda: onlooker.seen[-1].state == NavigatorStatus.STATE_INACTIVE)
    robot.navigator.trigger_activate()
    wait_until(lambda: onlooker.seen[-1].state == NavigatorStatus.STATE_READY)
    assert onlooker.seen[-2].state == NavigatorStatus.STATE_LOADING
    assert {status.run for status in onlooker.seen} == {ready.run}
    spinner.remove(robot.navigator)
    again = NavigatorNode([Parameter("checkpoint", value="/")], load=lambda *_, **__: ScriptedBackend(STOP))
    spinner.add(again).bring_up()
    wait_until(lambda: onlooker.seen[-1].run > ready.run, what="the next run's status")


def test_a_second_navigator_does_not_work_until_the_first_has_gone(start, goal, spinner, wait_until) -> None:
    robot = start(ScriptedBackend(FORWARD, STOP))
    second = NavigatorNode([Parameter("checkpoint", value="/")], load=lambda *_, **__: ScriptedBackend(STOP))
    with pytest.raises(VilaError, match=r"another /navigator is there, on .*, process .*: end one"):
        second.bring_up()
    spinner.add(second)
    assert goal(robot).result()[0] == GoalStatus.STATUS_SUCCEEDED
    spinner.remove(robot.navigator)
    second.bring_up()


def test_a_goal_whose_client_has_gone_ends_and_the_robot_stands(start, goal, wait_until, monkeypatch) -> None:
    robot = start(ScriptedBackend(FORWARD), mission__controller_timeout_s=60.0)
    robot.controller_on = False
    running = goal(robot)
    wait_until(lambda: robot.moves())
    monkeypatch.setattr(ClientWatch, "is_gone", lambda _: True)  # what it sees is tested beside it
    _, result = running.result()
    assert result.error_code == Result.ERROR_CLIENT_GONE and "left the graph for 2 s" in result.error_msg
    wait_until(lambda: robot.holds() == [HoldReason.NO_INSTRUCTION])


@pytest.mark.long
@pytest.mark.slow
def test_memory_stays_where_it_is_however_often_the_model_is_loaded(ros) -> None:
    node = NavigatorNode([Parameter("autostart", value=False)])
    resident = []
    for _ in range(8):
        for name in ("configure", "activate", "deactivate", "cleanup"):
            assert getattr(node, f"trigger_{name}")() == TransitionCallbackReturn.SUCCESS
        resident.append(psutil.Process().memory_info().rss / 1e6)
    node.destroy_node()
    assert resident[-1] - resident[1] < 40, resident  # it was 120 while the collector came by itself, in MB


@pytest.fixture
def parameters(spinner, wait_until):
    return spinner.add(ParameterClient("navigator", wait_until))


def test_limits_that_are_set_count_for_the_mission_that_runs_and_the_next(start, goal, wait_until, parameters) -> None:
    robot = start(ScriptedBackend(LEFT, probability=0.6))
    first = goal(robot)
    wait_until(lambda: len(robot.moves()) >= 2, what="motions")
    assert parameters.set({"mission.max_decisions": 1, "navigator.min_probability": 0.5}).successful
    seen = len(robot.moves())
    wait_until(lambda: len(robot.moves()) > seen + 2, what="the mission to go on")
    assert parameters.set({"navigator.min_probability": 0.9, "heartbeat_rate_hz": 50.0}).successful
    _, result = first.result()
    assert result.error_code == Result.ERROR_BAD_REPLIES and result.decisions > 1
    assert HoldReason.LOW_PROBABILITY in robot.holds()
    assert parameters.set({"navigator.min_probability": 0.0}).successful
    _, result = goal(robot).result()
    assert result.error_code == Result.ERROR_TOO_MANY_DECISIONS and result.decisions == 1


def test_what_cannot_be_set_is_told(start, parameters) -> None:
    start(ScriptedBackend(STOP))
    for values, said in (
        ({"navigator.min_probability": 1.0}, "min_probability = 1.0: must be at least 0 and below 1"),
        ({"navigator.min_probability": 1.5}, "out of range"),
        ({"navigator.watch_camera": False}, "read-only"),
        ({"events.window_s": 5.0}, "read-only"),
        ({"events.rate_hz": 5.0, "mission.max_decisions": 0}, "out of range"),
        ({"require_governor": False}, "read-only"),
    ):
        result = parameters.set(values)
        assert not result.successful and said in result.reason
    assert parameters.get("events.rate_hz") == 2.0


def test_what_is_set_before_it_is_configured_or_between_two_activations_counts_then(
    spinner, wait_until, tmp_path, parameters
) -> None:
    values = [Parameter("checkpoint", value=str(tmp_path)), Parameter("require_governor", value=False)]
    node = NavigatorNode(values, load=lambda *_, **__: ScriptedBackend(STOP))
    spinner.add(node)
    assert not parameters.set({"navigator.max_instruction_chars": 0}).successful
    assert parameters.set({"navigator.max_instruction_chars": 20, "heartbeat_rate_hz": 10.0}).successful
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert parameters.set({"navigator.max_image_age_s": 2.0, "events.rate_hz": 4.0}).successful
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert (node.configured.navigation.max_instruction_chars, node.configured.navigation.max_image_age_s) == (20, 2.0)
    assert (
        node.active._ticks.timer_period_ns == 100_000_000
        and node.configured.events._timer.timer_period_ns == 250_000_000
    )
    assert parameters.set({"heartbeat_rate_hz": 20.0, "events.rate_hz": 8.0}).successful
    assert (
        node.active._ticks.timer_period_ns == 50_000_000
        and node.configured.events._timer.timer_period_ns == 125_000_000
    )
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert parameters.set({"heartbeat_rate_hz": 40.0, "navigator.max_image_age_s": 1.0}).successful
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert node.active._ticks.timer_period_ns == 25_000_000 and node.configured.navigation.max_image_age_s == 1.0
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
    assert parameters.set({"heartbeat_rate_hz": 30.0, "mission.max_decisions": 7}).successful
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node._inputs.config.max_decisions == 7 and node.configured.node.heartbeat_rate_hz == 30.0
