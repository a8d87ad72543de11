"""The action ~/go_back, with Nav2 and with who follows goal poses: what is refused, how it ends, who decides."""

from __future__ import annotations

import math
import sys

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from action_msgs.msg import GoalStatus
from back_goal import Sender
from geometry_msgs.msg import PoseStamped
from goal_robot import GoalRobot, pose_of
from nav2_interface import nav2_messages
from nav2_server import Nav2Server
from rclpy.parameter import Parameter
from vila_nav.action import GoBack
from vila_nav.msg import Mission, NavAction
from vila_nav.srv import CancelInstruction

from vila_core.actions.grammar import SENTENCES
from vila_core.testing import ScriptedBackend
from vila_core.types import HoldReason, Pose, wrap_angle
from vila_ros.common.qos import reliable_qos
from vila_ros.navigator.node import NavigatorNode

Result = GoBack.Result
STOP, FORWARD_75, LEFT, RIGHT = SENTENCES[0], SENTENCES[3], SENTENCES[6], SENTENCES[9]
ROUND_A_CORNER = (FORWARD_75, FORWARD_75, LEFT, LEFT, FORWARD_75, STOP)
LONG_AGO_NS = 10**9


class Backend(ScriptedBackend):
    """Counts how often it was asked."""

    asked = 0

    def _next(self, prompt):
        self.asked += 1
        return super()._next(prompt)


class Follower(GoalRobot):
    """Follows goal_pose; remembers every place where it was, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[tuple[int, Pose]] = []
        self.missions: list[Mission] = []
        self.create_subscription(PoseStamped, "goal_pose", self._on_goal, reliable_qos())
        self.create_subscription(Mission, "navigator/mission", self.missions.append, reliable_qos())
        self.cancel_instruction = self.create_client(CancelInstruction, "navigator/cancel_instruction")
        self.create_timer(0.05, lambda: self.places.append((self.now_ns(), self.pose)))

    def _on_goal(self, message: PoseStamped) -> None:
        self.target = pose_of(message)

    def off_m(self, before_ns: int) -> float:
        """How far it got from all places where it had been before that time."""
        before = [pose for at_ns, pose in self.places if at_ns <= before_ns]
        return max(min(pose.distance_m(one) for one in before) for at_ns, pose in self.places if at_ns > before_ns)


class Stage:
    """A robot that drove by a scripted model, and an active navigator."""

    def __init__(self, send: Sender, robot: Follower, navigator: NavigatorNode, backend: Backend, wait_until) -> None:
        self.send, self.robot, self.navigator = send, robot, navigator
        self.backend, self.wait = backend, wait_until
        self.begin_ns = robot.now_ns()

    def drive(self) -> None:
        """Have the model drive till it says stop."""
        result = self.send.navigate().result()
        assert result.outcome == Result.OUTCOME_REACHED, result.error_msg

    def drives(self) -> None:
        """Wait until the robot moves from where it is now."""
        begin_m = self.robot.path_m
        self.wait(lambda: self.robot.path_m > begin_m + 0.05, "the robot to drive")


@pytest.fixture
def start(spinner, wait_until, tmp_path, monkeypatch):
    """start(*replies, output, **parameters): the stage, without a governor."""

    def begin(*replies, output: str = "goal_pose", **parameters) -> Stage:
        messages = nav2_messages("kilted")
        monkeypatch.setitem(sys.modules, "nav2_msgs.action", messages)
        values = {"checkpoint": str(tmp_path), "output": output, "navigator.watch_camera": False}
        values |= {name.replace("__", "."): value for name, value in parameters.items()}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        backend = Backend(*(replies or ROUND_A_CORNER))
        navigator = NavigatorNode(overrides, load=lambda *_, **__: backend)
        navigator.bring_up()
        robot = Follower()
        send = Sender(robot, wait_until)  # before the robot is spun: rclpy adds clients in one thread alone
        nodes = [navigator, robot, *([Nav2Server(messages.NavigateToPose, robot)] if output == "nav2" else [])]
        for node in nodes:
            spinner.add(node)
        wait_until(robot.ready, "the graph to be complete")
        wait_until(robot.cancel_instruction.service_is_ready)
        wait_until(lambda: navigator.active.latest.image and navigator.active.latest.odometry, "images and odometry")
        wait_until(lambda: navigator.active.motion.is_ready, "who drives to be known")
        return Stage(send, robot, navigator, backend, wait_until)

    return begin


@pytest.mark.long
@pytest.mark.parametrize("output", ["goal_pose", "nav2"])
def test_it_drives_back_over_the_driven_path_and_no_model_is_asked(start, output: str) -> None:
    stage = start(output=output)
    robot = stage.robot
    stage.drive()
    assert robot.pose.distance_m(Pose(1.5, 0.75)) < 0.3
    asked, actions, driven_ns = stage.backend.asked, len(robot.actions), robot.now_ns()
    goal = stage.send.back(stage.begin_ns, source="tester")
    result = goal.result()
    assert (goal.status, result.outcome, result.error_code) == (GoalStatus.STATUS_SUCCEEDED, 0, 0), result.error_msg
    assert "it is back where it was" in result.error_msg
    assert robot.pose.distance_m(Pose()) < 0.3 and abs(robot.pose.yaw_rad) < math.radians(15)
    assert robot.off_m(driven_ns) < 0.3
    assert stage.backend.asked == asked
    assert 1.8 < result.distance_m < 3.0 and result.duration_s > 0
    made = robot.actions[actions:]
    assert result.decisions == len(made) and made[-1].kind == NavAction.KIND_STOP
    assert {action.probability for action in made} == {1.0} and "on the way back" in made[0].detail
    left = [told.remaining_m for told in goal.feedback]
    assert left[0] > 1.8 and left[-1] < 0.3 and max(left) < 2.6
    assert goal.feedback[-1].decisions == result.decisions
    told = [mission for mission in robot.missions if mission.source == "action: tester"]
    assert told and told[0].running and told[0].instruction.startswith("go back to where the robot was at ")
    stage.wait(lambda: not robot.missions[-1].running and robot.missions[-1].outcome == Result.OUTCOME_REACHED)


def test_where_it_stands_already_it_is_at_once(start) -> None:
    stage = start()
    result = stage.send.back(stage.begin_ns).result()
    assert (result.outcome, result.decisions) == (Result.OUTCOME_REACHED, 1)
    assert stage.robot.path_m == 0.0


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        pytest.param({"stamp_ns": LONG_AGO_NS}, Result.ERROR_NOT_REMEMBERED, "at 1.0 s is not remembered", id="long"),
        pytest.param({"stamp_ns": 2**31 * 10**9 - 1}, Result.ERROR_NOT_REMEMBERED, "is not remembered", id="future"),
        pytest.param({"stamp_ns": 0}, Result.ERROR_BAD_INSTRUCTION, "neither is given", id="neither"),
        pytest.param({"text": " \n"}, Result.ERROR_BAD_INSTRUCTION, "neither is given", id="an empty text"),
        pytest.param(
            {"stamp_ns": LONG_AGO_NS, "text": "the door"}, Result.ERROR_BAD_INSTRUCTION, "both are", id="both"
        ),
        pytest.param({"text": "the door"}, Result.ERROR_NOT_REMEMBERED, "memory.file is empty", id="no memory"),
        pytest.param(
            {"stamp_ns": LONG_AGO_NS, "max_distance_m": -1.0},
            Result.ERROR_BAD_INSTRUCTION,
            "max_distance_m = -1.0",
            id="a limit that cannot be",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_words_and_ends_no_mission(start, fields, code: int, words: str) -> None:
    stage = start(LEFT, mission__max_rotation_rad=1000.0, mission__max_decisions=1000)
    running = stage.send.navigate()
    goal = stage.send.back(**fields)
    result = goal.result()
    assert (goal.status, result.outcome, result.error_code) == (GoalStatus.STATUS_ABORTED, Result.OUTCOME_FAILED, code)
    assert words in result.error_msg
    assert not running.is_over
    running.cancel()
    running.result()


def test_a_way_that_is_longer_than_it_may_be_is_not_begun(start) -> None:
    stage = start()
    stage.drive()
    result = stage.send.back(stage.begin_ns, max_distance_m=1.0).result()
    assert result.error_code == Result.ERROR_TOO_FAR and "more than max_distance_m = 1 m" in result.error_msg
    assert result.decisions == 0


def test_a_navigator_that_is_not_active_says_so(start) -> None:
    stage = start()
    stage.robot.executor.create_task(stage.navigator.trigger_deactivate)
    stage.wait(lambda: stage.navigator.active is None, "it to be deactivated")
    for fields in ({"stamp_ns": stage.begin_ns}, {"text": "the door"}):
        assert stage.send.back(**fields).result().error_code == Result.ERROR_NOT_ACTIVE


def stands(robot: GoalRobot, wait) -> bool:
    """Return True if the robot stands where it is, once it has got its last goal."""
    before = [-1.0]

    def rests() -> bool:
        moved_m, before[0] = robot.path_m - before[0], robot.path_m
        return moved_m == 0.0

    wait(rests, "the robot to stand")
    return True


@pytest.mark.parametrize("how", ["goal", pytest.param("service", marks=pytest.mark.long)])
def test_canceled_midway_it_stands(start, how: str) -> None:
    stage = start()
    stage.drive()
    goal = stage.send.back(stage.begin_ns)
    stage.drives()
    if how == "goal":
        goal.cancel()
    else:
        task = stage.robot.executor.create_task(stage.robot.cancel_instruction.call_async, CancelInstruction.Request())
        stage.wait(task.done)
    result = goal.result()
    assert (result.outcome, result.error_code) == (Result.OUTCOME_STOPPED, Result.ERROR_CANCELED)
    assert stands(stage.robot, stage.wait) and stage.robot.pose.distance_m(Pose()) > 0.5
    last = stage.robot.actions[-1]
    assert (last.kind, last.hold_reason) == (NavAction.KIND_HOLD, HoldReason.NO_INSTRUCTION)


def test_it_preempts_and_is_preempted_like_any_mission(start) -> None:
    stage = start(*ROUND_A_CORNER, *[FORWARD_75] * 50)
    stage.drive()
    instruction = stage.send.navigate()
    stage.wait(lambda: instruction.feedback, "the model to decide")
    back = stage.send.back(stage.begin_ns)
    assert instruction.result().error_code == Result.ERROR_PREEMPTED
    stage.drives()
    other = stage.send.back(stage.begin_ns)
    assert back.result().error_code == Result.ERROR_PREEMPTED
    newer = stage.send.navigate()
    assert other.result().error_code == Result.ERROR_PREEMPTED
    newer.cancel()
    assert newer.result().error_code == Result.ERROR_CANCELED


@pytest.mark.long
def test_after_it_the_model_is_asked_again(start) -> None:
    stage = start(FORWARD_75, STOP, FORWARD_75, STOP)
    stage.drive()
    assert stage.send.back(stage.begin_ns).result().outcome == Result.OUTCOME_REACHED
    asked = stage.backend.asked
    stage.drive()
    assert stage.backend.asked == asked + 2


def lose_images(stage: Stage) -> None:
    stage.robot.images_on = False


def lose_odometry(stage: Stage) -> None:
    stage.robot.odometry_on = False


def be_carried_off(stage: Stage) -> None:
    stage.robot.pose = Pose(9.0, 9.0)


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "codes"),
    [
        (lose_images, {Result.ERROR_IMAGE_LOST}),
        (lose_odometry, {Result.ERROR_ODOMETRY_LOST}),
        (be_carried_off, {Result.ERROR_ODOMETRY_FAULT}),
    ],
)
def test_what_a_motion_relies_on_ends_it_as_any_mission(start, fault, codes: set[int]) -> None:
    stage = start()
    stage.drive()
    goal = stage.send.back(stage.begin_ns)
    stage.drives()
    fault(stage)
    result = goal.result()
    assert result.outcome == Result.OUTCOME_FAILED and result.error_code in codes, result.error_msg
    assert stands(stage.robot, stage.wait)


@pytest.mark.long
def test_a_robot_that_was_carried_off_knows_no_way_back(start) -> None:
    stage = start()
    stage.drive()
    stage.robot.pose = stage.robot.target = Pose(9.0, 9.0)
    stage.wait(lambda: stage.navigator.active.latest.odometry.pose.x_m == 9.0)
    result = stage.send.back(stage.begin_ns).result()
    assert result.error_code == Result.ERROR_NOT_REMEMBERED and "only from" in result.error_msg


@pytest.mark.long
def test_the_place_is_the_one_of_that_time_with_its_heading(start) -> None:
    stage = start()
    stage.drive()
    heading = next(pose for _, pose in stage.robot.places if pose.yaw_rad > math.radians(80))
    at_ns = next(at_ns for at_ns, pose in stage.robot.places if pose.yaw_rad > math.radians(80))
    result = stage.send.back(at_ns + 200_000_000).result()
    assert result.outcome == Result.OUTCOME_REACHED, result.error_msg
    assert stage.robot.pose.distance_m(heading) < 0.3
    assert abs(wrap_angle(stage.robot.pose.yaw_rad - heading.yaw_rad)) < math.radians(15)
    assert result.stamp.sec * 10**9 + result.stamp.nanosec <= at_ns + 200_000_000
