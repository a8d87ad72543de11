"""The output `nav2` beside a server that behaves as Nav2's does: goals, feedback, errors, every way to be canceled."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from conftest import HANG_S

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from action_msgs.msg import GoalStatus, GoalStatusArray
from geometry_msgs.msg import TwistStamped
from goal_robot import GoalRobot, Mission, is_at, pose_of
from nav2_interface import nav2_messages
from nav2_server import Nav2Server
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import Bool
from vila_nav.action import NavigateInstruction
from vila_nav.msg import GovernorState, NavAction
from vila_nav.msg import Mission as MissionMsg
from vila_nav.srv import CancelInstruction

from vila_core.actions.grammar import SENTENCES
from vila_core.control.reasons import MotionFault, StopReason
from vila_core.errors import ConfigError
from vila_core.testing import ScriptedBackend
from vila_core.types import Decision, MoveForward, Pose
from vila_ros.common.qos import latched_qos, reliable_qos
from vila_ros.governor.node import GovernorNode
from vila_ros.navigator.motion import nav2_output
from vila_ros.navigator.motion.nav2_errors import CODES, abort_doubt
from vila_ros.navigator.node import NavigatorNode

Result = NavigateInstruction.Result
STOP, FORWARD_25, FORWARD_75, LEFT = SENTENCES[0], SENTENCES[1], SENTENCES[3], SENTENCES[6]
LEFT_RAD = math.radians(45.0)
OCCUPIED = (206, "The goal sent to the planner is in lethal space")


@pytest.fixture(params=["kilted"])
def messages(request, monkeypatch):
    """Nav2's messages, as where they are installed."""
    module = nav2_messages(request.param)
    monkeypatch.setitem(sys.modules, "nav2_msgs.action", module)
    return module


class Stage:
    """A robot, Nav2's server and an active navigator."""

    def __init__(self, robot: GoalRobot, nav2: Nav2Server, navigator: NavigatorNode, spinner, wait_until) -> None:
        self.robot, self.nav2, self.navigator, self.spinner, self.wait = robot, nav2, navigator, spinner, wait_until

    def begin(self) -> Mission:
        return Mission(self.robot, self.wait)

    def drive(self) -> Mission:
        """Begin a mission, and return as the robot drives."""
        running = self.begin()
        self.wait(lambda: self.robot.path_m > 0.05, "the robot to drive")
        return running

    @property
    def ends(self) -> list[tuple[int, int]]:
        return [(end.state, end.fault) for end in self.robot.ends()]


@pytest.fixture
def start(spinner, wait_until, tmp_path, messages):
    """start(*replies, **parameters): the stage, without a governor; with_nav2=False: without Nav2 as well."""

    def begin(*replies, with_nav2=True, **parameters) -> Stage:
        values = {"checkpoint": str(tmp_path), "output": "nav2", "navigator.watch_camera": False}
        values |= {name.replace("__", "."): value for name, value in parameters.items()}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        navigator = NavigatorNode(overrides, load=lambda *_, **__: ScriptedBackend(*replies))
        navigator.bring_up()
        robot = GoalRobot()
        nav2 = Nav2Server(messages.NavigateToPose, robot)
        for node in (navigator, robot, *([nav2] if with_nav2 else [])):
            spinner.add(node)
        if not with_nav2:
            nav2.destroy_node()
        wait_until(robot.ready, "the graph to be complete")
        wait_until(lambda: navigator.active.latest.image and navigator.active.latest.odometry, "images and odometry")
        wait_until(lambda: navigator.active.motion.is_ready or not with_nav2, "Nav2 to be known")
        return Stage(robot, nav2, navigator, spinner, wait_until)

    return begin


@pytest.mark.parametrize("messages", [pytest.param("humble", marks=pytest.mark.long), "kilted"], indirect=True)
def test_decisions_become_goals_of_nav2_and_the_robot_arrives(start) -> None:
    stage = start(FORWARD_75, LEFT, FORWARD_25, STOP, nav2_behavior_tree="patrol.xml")
    stage.wait(lambda: "Nav2: ready" in stage.robot.drivers)
    result = stage.begin().result()
    assert (result.outcome, result.error_code, result.decisions) == (Result.OUTCOME_REACHED, Result.ERROR_NONE, 4)
    assert result.distance_m == pytest.approx(1.0, abs=0.02)
    goals, actions = stage.nav2.goals, stage.robot.actions
    ways = [Pose(0.75, 0.0, 0.0), Pose(0.75, 0.0, LEFT_RAD), Pose(0.75, 0.0, LEFT_RAD).advanced(0.25)]
    assert [is_at(pose_of(goal.pose), way, within_m=0.01) for goal, way in zip(goals, ways, strict=True)] == [True] * 3
    assert [goal.pose.header.stamp for goal in goals] == [action.header.stamp for action in actions[:3]]
    assert {(goal.pose.header.frame_id, goal.behavior_tree) for goal in goals} == {("odom", "patrol.xml")}
    assert stage.ends == [(NavAction.STATE_DONE, MotionFault.NONE)] * 3
    assert stage.robot.ends()[0].executed_m == pytest.approx(0.75, abs=0.02)
    told = [report.detail for report in stage.robot.reports if report.state == NavAction.STATE_RUNNING]
    assert any("m to go, 0 recoveries" in detail for detail in told)
    assert not stage.nav2.canceled and not stage.nav2.preempted


# --- Nav2 does not get there ------------------------------------------------------------------------


def test_a_goal_where_something_stands_is_refused_by_nav2s_own_code_and_words(start) -> None:
    stage = start(FORWARD_75)
    stage.nav2.refuses = OCCUPIED
    result = stage.begin().result()
    assert result.error_code == Result.ERROR_BLOCKED and result.distance_m == pytest.approx(0.0, abs=1e-6)
    assert "206 (GOAL_OCCUPIED)" in result.error_msg and OCCUPIED[1] in result.error_msg
    assert stage.ends == [(NavAction.STATE_REFUSED, MotionFault.GOAL_REFUSED)] * 3
    assert OCCUPIED[1] in stage.robot.ends()[0].detail


@pytest.mark.long
@pytest.mark.parametrize("messages", ["humble"], indirect=True)
def test_humble_tells_no_code_and_that_is_said(start) -> None:
    stage = start(FORWARD_75)
    stage.nav2.refuses = OCCUPIED
    result = stage.begin().result()
    assert result.error_code == Result.ERROR_STUCK and "which this Nav2 does not tell" in result.error_msg
    assert stage.ends == [(NavAction.STATE_ABORTED, MotionFault.NAV2_FAILED)] * 3


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (105, Result.ERROR_STUCK),
        (106, Result.ERROR_BLOCKED),
        (9002, Result.ERROR_ODOMETRY_LOST),
        (9003, Result.ERROR_STUCK),
        (4711, Result.ERROR_STUCK),
        (0, Result.ERROR_STUCK),
    ],
)
def test_a_goal_that_nav2_gives_up_ends_the_mission_by_its_code(start, code: int, error: int) -> None:
    stage = start(FORWARD_75)
    stage.nav2.refuses = (code, "because")
    result = stage.begin().result()
    assert result.error_code == error and (str(code) in result.error_msg or code == 0)
    assert {state for state, _ in stage.ends} == {NavAction.STATE_ABORTED}


def test_nothing_is_sent_while_it_is_not_known_who_replaced_a_goal(start, monkeypatch) -> None:
    """An abort without a code may be of a goal that an operator replaced; a decision may be on its way just then."""
    monkeypatch.setattr(nav2_output, "_REPLACED_NS", 3600 * 10**9)
    stage = start(FORWARD_75)
    stage.nav2.refuses = (0, "")
    stage.begin()
    motion = stage.navigator.active.motion
    stage.wait(lambda: motion._aborted is not None, "Nav2 to abort")
    assert not motion.is_ready
    goals = len(stage.nav2.goals)
    motion.carry_out(Decision(MoveForward(0.25), stamp_ns=motion._aborted[0]), NavAction(id=4711))
    stage.wait(lambda: stage.ends, "the report")
    assert stage.ends == [(NavAction.STATE_REFUSED, MotionFault.NAV2_FAILED)]
    assert not motion.is_ready and len(stage.nav2.goals) == goals


def test_a_goal_of_others_that_is_over_at_once_is_noticed(start) -> None:
    client = start(FORWARD_75).navigator.active.motion._client
    over = GoalStatus(status=GoalStatus.STATUS_SUCCEEDED)
    over.goal_info.goal_id.uuid = [7] * 16
    client._listed = None  # what is listed first was over before we came
    client._on_status(GoalStatusArray(status_list=[over]))
    assert not client.is_foreign
    client._on_status(GoalStatusArray())
    client._on_status(GoalStatusArray(status_list=[over]))
    assert client.is_foreign
    client._foreign_ns -= 10**9
    assert not client.is_foreign


@pytest.mark.parametrize(
    ("result", "fault", "words"),
    [
        *[
            (SimpleNamespace(error_code=code, error_msg="why"), fault, f"{code} ({name}): why")
            for code, (name, fault) in CODES.items()
        ],
        (SimpleNamespace(error_code=206), MotionFault.GOAL_REFUSED, "206 (GOAL_OCCUPIED)"),  # Iron
        (SimpleNamespace(error_code=31), MotionFault.NAV2_FAILED, "31 (unknown to us)"),
        (SimpleNamespace(error_code=0, error_msg=""), MotionFault.NAV2_FAILED, "without an error code"),
        (SimpleNamespace(result=None), MotionFault.NAV2_FAILED, "does not tell"),
    ],
)
def test_every_code_has_a_fault(result, fault: MotionFault, words: str) -> None:
    doubt = abort_doubt(result)
    assert doubt.fault is fault and words in doubt.detail


def test_an_arrival_without_a_motion_is_none(start) -> None:
    stage = start(FORWARD_25, navigator__avoid_repeats=False)
    stage.nav2.tolerance_m, stage.nav2.drives = 0.3, False  # 25 cm are within it
    result = stage.begin().result()
    assert result.error_code == Result.ERROR_STUCK and "xy_goal_tolerance" in result.error_msg
    assert stage.ends == [(NavAction.STATE_ABORTED, MotionFault.MISSED)] * 3


# --- Nav2 is not there, silent, or dies -----------------------------------------------------------


def test_without_nav2_the_mission_ends(start) -> None:
    stage = start(FORWARD_25, with_nav2=False, mission__controller_timeout_s=0.5)
    result = stage.begin().result()
    assert (
        result.error_code == Result.ERROR_CONTROLLER_LOST and "no action server /navigate_to_pose" in result.error_msg
    )
    assert result.decisions == 0
    told = "Nav2: there is no action server /navigate_to_pose; is Nav2 running?"
    stage.wait(lambda: told in stage.robot.drivers, lambda: str(stage.robot.drivers))


def test_a_nav2_that_rejects_goals_ends_the_mission(start) -> None:
    stage = start(FORWARD_25)
    stage.nav2.is_active = False
    result = stage.begin().result()
    assert result.error_code == Result.ERROR_CONTROLLER_LOST and "is its bt_navigator active?" in result.error_msg
    assert stage.ends == [(NavAction.STATE_REFUSED, MotionFault.NOT_ACCEPTED)] * 3


def test_a_nav2_that_falls_silent_is_canceled(start, wait_until) -> None:
    stage = start(FORWARD_75, mission__controller_timeout_s=0.5)
    stage.nav2.speaks = stage.nav2.drives = False
    result = stage.begin().result()
    assert result.error_code == Result.ERROR_CONTROLLER_LOST and "nothing from Nav2 for 0.5 s" in result.error_msg
    wait_until(lambda: stage.nav2.canceled)


def test_a_goal_that_is_accepted_when_nobody_wants_it_any_more_is_canceled(start, wait_until) -> None:
    stage = start(FORWARD_75, mission__controller_timeout_s=0.5)
    stage.nav2.executor.remove_node(stage.nav2)  # it hears nothing for a while
    result = stage.begin().result()
    assert result.error_code == Result.ERROR_CONTROLLER_LOST
    assert not stage.nav2.goals
    stage.nav2.executor.add_node(stage.nav2)
    wait_until(lambda: stage.nav2.canceled)
    assert stage.robot.path_m < 0.3


def test_a_nav2_that_dies_ends_the_mission_and_a_new_one_serves_the_next(start, wait_until, messages) -> None:
    stage = start(FORWARD_75, FORWARD_75, STOP, mission__controller_timeout_s=0.5)
    running = stage.drive()
    stage.spinner.remove(stage.nav2)
    stage.robot.target = None
    result = running.result()
    assert result.error_code == Result.ERROR_CONTROLLER_LOST
    stage.nav2 = stage.spinner.add(Nav2Server(messages.NavigateToPose, stage.robot))
    wait_until(lambda: stage.navigator.active.motion.is_ready)
    assert stage.begin().result().outcome == Result.OUTCOME_REACHED


# --- somebody else drives -------------------------------------------------------------------------


OTHERS_M = 3.0


class Other(Node):
    """Another client of Nav2, as RViz is."""

    def __init__(self, kind) -> None:
        super().__init__("rviz")
        self._kind = kind
        self.client = ActionClient(self, kind, "navigate_to_pose")

    def send(self, wait_until):
        wait_until(self.client.server_is_ready)
        goal = self._kind.Goal()
        goal.pose.pose.position.y, goal.pose.pose.orientation.w = OTHERS_M, 1.0
        future = self._spun(wait_until, self.client.send_goal_async, goal)
        wait_until(future.done)
        return future.result()

    def cancel_all(self, wait_until) -> None:
        """As `ros2 service call /navigate_to_pose/_action/cancel_goal` with zeros does."""
        from action_msgs.srv import CancelGoal

        service = self.create_client(CancelGoal, "navigate_to_pose/_action/cancel_goal")
        wait_until(service.service_is_ready)
        self._spun(wait_until, service.call_async, CancelGoal.Request())

    def _spun(self, wait_until, call, *arguments):
        task = self.executor.create_task(call, *arguments)
        wait_until(task.done)
        return task.result()


@pytest.fixture
def other(spinner, messages):
    return spinner.add(Other(messages.NavigateToPose))


def test_who_sends_another_goal_has_taken_over(start, other, wait_until) -> None:
    stage = start(FORWARD_75)
    running = stage.drive()
    handle = other.send(wait_until)
    result = running.result()
    assert result.error_code == Result.ERROR_OPERATOR and "somebody else" in result.error_msg
    goals = list(stage.nav2.goals)  # a machine that is late may have had ours sent anew before
    assert stage.nav2.preempted and goals[-1].pose.pose.position.y == OTHERS_M
    refused = stage.begin().result()  # nor does a mission begin while the other one drives
    assert refused.error_code == Result.ERROR_OPERATOR and refused.decisions == 0
    assert stage.nav2.goals == goals and not stage.nav2.canceled
    other._spun(wait_until, handle.cancel_goal_async)
    wait_until(lambda: stage.navigator.active.motion.rival is None)


def test_who_cancels_our_goal_has_taken_over(start, other, wait_until) -> None:
    stage = start(FORWARD_75)
    running = stage.drive()
    other.cancel_all(wait_until)
    result = running.result()
    assert result.error_code == Result.ERROR_OPERATOR and "canceled" in result.error_msg
    assert stage.ends == [(NavAction.STATE_ABORTED, MotionFault.TAKEN_OVER)] and len(stage.nav2.goals) == 1


# --- what cancels Nav2's goal ---------------------------------------------------------------------


def cancel(stage: Stage, running: Mission) -> None:
    running.cancel()


def lose_images(stage: Stage, running: Mission) -> None:
    stage.robot.images_on = False


def freeze_camera(stage: Stage, running: Mission) -> None:
    picture = stage.robot.picture()
    stage.robot.picture = lambda: picture


def lose_odometry(stage: Stage, running: Mission) -> None:
    stage.robot.odometry_on = False


def unstamp_odometry(stage: Stage, running: Mission) -> None:
    stage.robot.odometry_stamped = False


def make_odometry_jump(stage: Stage, running: Mission) -> None:
    stage.robot.pose = Pose(5.0, 0.0, 0.0)


def deactivate(stage: Stage, running: Mission) -> None:
    stage.navigator.executor.create_task(stage.navigator.trigger_deactivate)


def shut_down(stage: Stage, running: Mission) -> None:
    stage.spinner.remove(stage.navigator)
    assert stage.nav2.canceled  # it was waited for


def take_long(stage: Stage, running: Mission) -> None:
    """See the parameter."""


def jump_forward(stage: Stage, running: Mission) -> None:
    stage.robot.offset_ns = 60_000_000_000


@pytest.mark.parametrize(
    ("cause", "parameters", "error"),
    [
        (cancel, {}, Result.ERROR_CANCELED),
        (lose_images, {}, Result.ERROR_IMAGE_LOST),
        (freeze_camera, {"navigator__watch_camera": True}, Result.ERROR_IMAGE_LOST),
        (lose_odometry, {}, Result.ERROR_ODOMETRY_LOST),
        (unstamp_odometry, {}, Result.ERROR_ODOMETRY_LOST),
        (make_odometry_jump, {}, Result.ERROR_ODOMETRY_FAULT),
        (jump_forward, {}, Result.ERROR_CLOCK_JUMP),
        (deactivate, {}, Result.ERROR_NOT_ACTIVE),
        (shut_down, {}, None),
        (take_long, {"mission__max_duration_s": 1.0}, Result.ERROR_TIMEOUT),
        (take_long, {"mission__max_distance_m": 0.3}, Result.ERROR_TOO_FAR),
        (take_long, {"goal__motion_timeout_s": 0.5}, Result.ERROR_STUCK),
    ],
)
def test_what_ends_a_motion_cancels_the_goal_in_nav2(start, wait_until, cause, parameters, error) -> None:
    stage = start(FORWARD_75, **parameters)
    running = stage.drive()
    cause(stage, running)
    wait_until(lambda: stage.nav2.canceled, "the goal to be canceled")
    if error is not None:
        assert running.result().error_code == error
        wait_until(lambda: not stage.nav2.is_busy)
        assert stage.nav2.canceled[0].x_m < 0.72 or cause is make_odometry_jump
        assert stage.robot.ends()[0].state == NavAction.STATE_ABORTED


def test_after_a_hold_the_mission_goes_on_with_another_goal(start, wait_until) -> None:
    stage = start(FORWARD_75, FORWARD_25, STOP)
    running = stage.drive()
    stage.robot.images_on = False
    wait_until(lambda: stage.nav2.canceled and stage.ends)
    stage.robot.images_on = True
    result = running.result()
    assert (result.outcome, result.decisions) == (Result.OUTCOME_REACHED, 3)
    assert len(stage.nav2.goals) == 2 and not stage.nav2.preempted
    assert stage.ends == [(NavAction.STATE_ABORTED, MotionFault.REPLACED), (NavAction.STATE_DONE, MotionFault.NONE)]
    stood = stage.nav2.canceled[0]
    assert is_at(pose_of(stage.nav2.goals[1].pose), stood.advanced(0.25), within_m=0.02)


SCRIPT = """
import sys
from nav2_interface import nav2_messages
sys.modules["nav2_msgs.action"] = nav2_messages("kilted")
from rclpy.parameter import Parameter
from vila_core.testing import ScriptedBackend
from vila_ros.common.node_main import run_node
from vila_ros.navigator.node import NavigatorNode

def make():
    values = {"output": "nav2", "navigator.watch_camera": False, "checkpoint": "/"}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = NavigatorNode(overrides, load=lambda *_, **__: ScriptedBackend(sys.argv[1]))
    node.bring_up()
    return node

sys.exit(run_node(make, "navigator"))
"""


def is_answered(robot: GoalRobot, client) -> bool:
    """Whether the navigator's answers reach the robot's clients, which it may be asked before it knows of them."""
    asked = robot.executor.create_task(client.call_async, CancelInstruction.Request())
    until_s = time.monotonic() + 2.0
    while time.monotonic() < until_s and not (asked.done() and asked.result().done()):
        time.sleep(0.01)
    return asked.done() and asked.result().done()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_navigator_that_is_told_to_end_cancels_its_goal_first(
    ros_environment, spinner, wait_until, messages, number: signal.Signals
) -> None:
    environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")])}
    navigator = subprocess.Popen([sys.executable, "-c", SCRIPT, FORWARD_75], env=environment)
    try:
        robot = spinner.add(GoalRobot())
        nav2 = spinner.add(Nav2Server(messages.NavigateToPose, robot))
        wait_until(robot.ready, "the navigator's process")
        client = robot.create_client(CancelInstruction, "navigator/cancel_instruction")
        wait_until(lambda: is_answered(robot, client), "the navigator to know who asks")
        Mission(robot, wait_until)
        wait_until(lambda: robot.path_m > 0.05)
        navigator.send_signal(number)
        wait_until(lambda: nav2.canceled)
        assert navigator.wait(HANG_S) == 0 and nav2.canceled[0].x_m < 0.7
    finally:
        navigator.kill()
        navigator.wait()


def test_a_nav2_that_does_not_cancel_is_told_and_gets_no_other_goal(start, wait_until) -> None:
    stage = start(FORWARD_75, FORWARD_75, mission__controller_timeout_s=0.5)
    stage.nav2.drives = stage.nav2.cancels = False
    running = stage.begin()
    wait_until(lambda: stage.nav2.goals)
    running.cancel()
    running.result()
    begun_s = time.monotonic()
    wait_until(lambda: stage.navigator.active.motion.fault or time.monotonic() - begun_s > 60.0)
    result = stage.begin().result()
    assert result.error_code == Result.ERROR_CONTROLLER_LOST and "has not confirmed" in result.error_msg
    assert len(stage.nav2.goals) == 1
    stage.nav2.cancels = True
    wait_until(lambda: stage.nav2.canceled)  # it is asked again and again
    wait_until(lambda: stage.navigator.active.motion.is_ready)


def test_a_decision_on_the_way_replaces_the_goal_without_a_stop(start) -> None:
    stage = start(*[FORWARD_75] * 3, STOP, navigator__timing="continuous")
    result = stage.begin().result()
    assert result.outcome == Result.OUTCOME_REACHED and stage.nav2.preempted >= 1
    assert all(fault in (MotionFault.NONE, MotionFault.REPLACED) for _, fault in stage.ends)


# --- a governor that is there is heard ------------------------------------------------------------


class Governor(Node):
    """Says what it is told to say, of the mission that runs."""

    def __init__(self) -> None:
        super().__init__("governor")
        self.state, self.reason, self.mission_id = GovernorState.STATE_IDLE, StopReason.NO_MISSION, 0
        self.emergency = False
        self._publisher = self.create_publisher(GovernorState, "governor/state", reliable_qos(1))
        self.create_subscription(MissionMsg, "navigator/mission", self._on_mission, reliable_qos())
        self.create_timer(0.05, self._on_timer)

    def _on_mission(self, message: MissionMsg) -> None:
        self.mission_id = message.id

    def _on_timer(self) -> None:
        self._publisher.publish(
            GovernorState(
                state=self.state,
                reason=int(self.reason),
                detail="so it is",
                mission_id=self.mission_id,
                emergency_stop=self.emergency,
            )
        )

    def say(self, state: int, reason: StopReason) -> None:
        self.state, self.reason = state, reason


@pytest.mark.parametrize(
    ("state", "reason", "error"),
    [
        (GovernorState.STATE_REVOKED, StopReason.EMERGENCY_STOP, Result.ERROR_EMERGENCY_STOP),
        (GovernorState.STATE_REVOKED, StopReason.OPERATOR, Result.ERROR_OPERATOR),
        (GovernorState.STATE_STOPPED, StopReason.MACHINE, Result.ERROR_OVERHEATED),
        (GovernorState.STATE_STOPPED, StopReason.NO_OBSTACLE_DATA, Result.ERROR_GOVERNOR_LOST),
    ],
)
def test_a_governor_that_stops_the_robot_cancels_the_goal(start, spinner, wait_until, state, reason, error) -> None:
    stage = start(FORWARD_75)
    governor = spinner.add(Governor())
    link = stage.navigator.active.governor
    wait_until(lambda: link._state is not None and link._shows_told(), "the governor to be heard")
    running = stage.begin()
    governor.say(
        GovernorState.STATE_STOPPED, StopReason.NO_COMMAND
    )  # as the real one does: nothing is commanded through it
    wait_until(lambda: stage.robot.path_m > 0.05, "the robot to drive")
    governor.say(state, reason)
    wait_until(lambda: stage.nav2.canceled)
    result = running.result()
    assert result.error_code == error and "so it is" in result.error_msg
    assert stage.nav2.canceled[0].x_m < 0.72


def test_the_emergency_stop_of_the_real_governor_cancels_the_goal_and_locks_the_base(
    start, spinner, wait_until
) -> None:
    stage = start(FORWARD_75)
    blind = {"obstacles.sources": "", "obstacles.required": False, "needs_watchdog": False}
    spinner.add(GovernorNode([Parameter(name, value=value) for name, value in blind.items()]))
    hand = Node("hand")
    locks, commands = [], []
    hand.create_subscription(Bool, "governor/lock", lambda message: locks.append(message.data), latched_qos())
    hand.create_subscription(TwistStamped, "cmd_vel", commands.append, reliable_qos())
    button = hand.create_publisher(Bool, "emergency_stop", reliable_qos())
    spinner.add(hand)
    link = stage.navigator.active.governor
    wait_until(lambda: link._awaits_mission(), "the governor to be heard")
    wait_until(lambda: button.get_subscription_count() and locks)
    running = stage.drive()
    assert not locks[-1]
    commands.clear()  # the governor begins with zeros
    button.publish(Bool(data=True))
    wait_until(lambda: stage.nav2.canceled)
    assert running.result().error_code == Result.ERROR_EMERGENCY_STOP
    assert stage.begin().result().error_code == Result.ERROR_EMERGENCY_STOP
    wait_until(lambda: locks[-1] and commands)
    assert all(message.twist.linear.x == 0.0 for message in commands)
    button.publish(Bool(data=False))
    wait_until(lambda: not locks[-1])
    assert len(stage.nav2.goals) == 1


# --- configuration --------------------------------------------------------------------------------


def test_without_its_messages_it_is_refused_when_the_node_is_configured(ros, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "nav2_msgs.action", None)
    node = NavigatorNode([Parameter("checkpoint", value=str(tmp_path)), Parameter("output", value="nav2")])
    with pytest.raises(ConfigError, match=r"nav2_msgs, which is not installed .* install ros-\$ROS_DISTRO-nav2-msgs"):
        node.bring_up()
    node.destroy_node()
