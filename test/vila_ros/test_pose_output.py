"""The output `goal_pose`: decisions as poses on a topic, and what odometry says of who follows them."""

from __future__ import annotations

import math
import sys
import types
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from geometry_msgs.msg import PoseStamped, Quaternion, Vector3
from goal_robot import GoalRobot, Mission, is_at, pose_of
from rclpy.parameter import Parameter
from vila_nav.action import NavigateInstruction
from vila_nav.msg import NavAction

from vila_core.actions.grammar import SENTENCES
from vila_core.control.reasons import MotionFault
from vila_core.errors import ConfigError
from vila_core.testing import ScriptedBackend
from vila_core.types import Pose
from vila_ros.common.conversions import ns_from_stamp, quaternion_from_yaw
from vila_ros.common.qos import reliable_qos
from vila_ros.navigator.motion.goal_frames import GoalFrames, TransformError
from vila_ros.navigator.node import NavigatorNode

Result = NavigateInstruction.Result
STOP, FORWARD_25, FORWARD_75, LEFT = SENTENCES[0], SENTENCES[1], SENTENCES[3], SENTENCES[6]
LEFT_RAD = math.radians(45.0)


class Follower(GoalRobot):
    """Follows goal_pose, unless it is told to stay."""

    def __init__(self) -> None:
        super().__init__()
        self.stays = False
        self.poses: list[PoseStamped] = []
        self.subscription = self.create_subscription(PoseStamped, "goal_pose", self._on_goal, reliable_qos())

    def _on_goal(self, message: PoseStamped) -> None:
        self.poses.append(message)
        self.target = None if self.stays else pose_of(message)


@pytest.fixture
def start(spinner, wait_until, tmp_path):
    """start(*replies, **parameters): a robot that follows, and an active navigator; a governor there is none."""

    def begin(*replies, **parameters) -> Follower:
        values = {"checkpoint": str(tmp_path), "output": "goal_pose", "navigator.watch_camera": False}
        values |= {name.replace("__", "."): value for name, value in parameters.items()}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = NavigatorNode(overrides, load=lambda *_, **__: ScriptedBackend(*replies))
        node.bring_up()
        robot = Follower()
        robot.navigator = node
        spinner.add(node)
        spinner.add(robot)
        wait_until(robot.ready, "the graph to be complete")
        wait_until(lambda: robot.count_publishers("goal_pose"))
        wait_until(lambda: node.active.latest.image and node.active.latest.odometry, "images and odometry")
        return robot

    return begin


@pytest.fixture
def mission(wait_until):
    return lambda robot: Mission(robot, wait_until)


def test_decisions_become_goal_poses_and_the_robot_arrives(start, mission) -> None:
    robot = start(FORWARD_75, LEFT, FORWARD_25, STOP)
    result = mission(robot).result()
    assert (result.outcome, result.error_code, result.decisions) == (Result.OUTCOME_REACHED, Result.ERROR_NONE, 4)
    assert result.distance_m == pytest.approx(1.0, abs=0.02)
    ways = [Pose(0.75, 0.0, 0.0), Pose(0.75, 0.0, LEFT_RAD), Pose(0.75, 0.0, LEFT_RAD).advanced(0.25)]
    goals = robot.poses[:3]
    assert all(is_at(pose_of(goal), way, within_m=0.01) for goal, way in zip(goals, ways, strict=True))
    assert {goal.header.frame_id for goal in robot.poses} == {"odom"}
    stamps = [ns_from_stamp(goal.header.stamp) for goal in goals]
    assert stamps == [ns_from_stamp(action.header.stamp) for action in robot.actions[:3]]
    assert [(end.state, end.fault) for end in robot.ends()] == [(NavAction.STATE_DONE, 0)] * 3
    assert [end.id for end in robot.ends()] == [action.id for action in robot.actions[:3]]
    assert robot.ends()[0].executed_m == pytest.approx(0.75, abs=0.02)
    assert robot.ends()[1].executed_rad == pytest.approx(LEFT_RAD, abs=0.02)
    assert any(report.state == NavAction.STATE_RUNNING for report in robot.reports)


def test_a_goal_lies_before_where_its_image_was_taken_in_odometrys_own_frame(start, mission, wait_until) -> None:
    robot = start(FORWARD_25)
    robot.odometry_frame = "wheels"
    robot.target = Pose(3.0, 2.0, 1.0)
    wait_until(lambda: is_at(robot.pose, robot.target))
    running = mission(robot)
    wait_until(lambda: robot.poses)
    assert robot.poses[0].header.frame_id == "wheels"
    assert is_at(pose_of(robot.poses[0]), Pose(3.0, 2.0, 1.0).advanced(0.25))
    running.cancel()
    running.result()


def stop_images(robot: Follower, running: Mission) -> None:
    robot.images_on = False


def cancel(robot: Follower, running: Mission) -> None:
    running.cancel()


def deactivate(robot: Follower, running: Mission) -> None:
    robot.navigator.executor.create_task(robot.navigator.trigger_deactivate)


def freeze(robot: Follower, running: Mission) -> None:
    picture = robot.picture()
    robot.picture = lambda: picture


@pytest.mark.parametrize("cause", [stop_images, cancel, deactivate])
def test_to_stand_is_a_goal_where_the_robot_is(start, mission, wait_until, cause) -> None:
    robot = start(FORWARD_75)
    running = mission(robot)
    wait_until(lambda: robot.path_m > 0.2)
    before = len(robot.poses)
    cause(robot, running)
    wait_until(lambda: len(robot.poses) > before)
    assert 0.1 < pose_of(robot.poses[-1]).x_m < 0.74 and robot.poses[-1].header.frame_id == "odom"
    wait_until(lambda: robot.ends())
    assert robot.ends()[-1].state == NavAction.STATE_ABORTED and robot.ends()[-1].fault == MotionFault.REPLACED
    assert 0.1 < robot.ends()[-1].executed_m < 0.74
    if cause is not stop_images:
        assert (
            running.result().error_code == {cancel: Result.ERROR_CANCELED, deactivate: Result.ERROR_NOT_ACTIVE}[cause]
        )


def test_a_camera_that_lies_stops_who_follows(start, mission, wait_until) -> None:
    robot = start(FORWARD_75, navigator__watch_camera=True)
    running = mission(robot)
    wait_until(lambda: robot.poses)
    freeze(robot, running)
    wait_until(lambda: robot.ends())
    assert pose_of(robot.poses[1]).x_m < 0.7
    assert running.result().error_code == Result.ERROR_IMAGE_LOST


def test_a_follower_that_does_not_move_is_stuck(start, mission) -> None:
    robot = start(FORWARD_25, goal__stall_timeout_s=0.4)
    robot.stays = True
    result = mission(robot).result()
    assert result.error_code == Result.ERROR_STUCK and "0.25 m, 0.00 rad from its goal" in result.error_msg
    assert [(end.state, end.fault) for end in robot.ends()] == [(NavAction.STATE_ABORTED, MotionFault.STALLED)] * 3


def test_a_follower_that_takes_too_long_is_stuck(start, mission, wait_until) -> None:
    robot = start(FORWARD_75, goal__motion_timeout_s=0.3)
    result = mission(robot).result()
    assert result.error_code == Result.ERROR_STUCK and "limit 0.3 s" in result.error_msg
    assert {end.fault for end in robot.ends()} == {MotionFault.TOO_LONG}


def test_a_follower_that_goes_elsewhere_is_stopped(start, mission, wait_until) -> None:
    robot = start(FORWARD_75, goal__max_detour_m=0.3)
    robot.stays = True
    running = mission(robot)
    wait_until(lambda: robot.poses)
    robot.target = Pose(0.0, 5.0)
    wait_until(lambda: robot.ends())
    robot.stays = False
    assert robot.ends()[0].fault == MotionFault.TOO_FAR and "off the straight way" in robot.ends()[0].detail
    assert 0.3 < pose_of(robot.poses[1]).y_m < 1.5
    running.cancel()
    running.result()


def test_odometry_that_falls_silent_stops_who_follows_and_ends_the_mission(start, mission, wait_until) -> None:
    robot = start(FORWARD_75)
    robot.stays = True
    running = mission(robot)
    wait_until(lambda: robot.poses)
    robot.odometry_on = False
    result = running.result()
    assert robot.ends()[0].fault == MotionFault.ODOMETRY_SILENT
    assert is_at(pose_of(robot.poses[1]), Pose())
    assert result.error_code == Result.ERROR_ODOMETRY_LOST


def test_odometry_that_jumps_ends_the_mission(start, mission, wait_until) -> None:
    robot = start(FORWARD_75)
    robot.stays = True
    running = mission(robot)
    wait_until(lambda: robot.poses)
    robot.pose = Pose(2.0, 0.0, 0.0)
    assert running.result().error_code == Result.ERROR_ODOMETRY_FAULT
    assert robot.ends()[0].fault == MotionFault.ODOMETRY_JUMP
    assert is_at(pose_of(robot.poses[1]), Pose(2.0, 0.0, 0.0))


def test_where_nobody_listens_the_mission_ends(start, mission) -> None:
    robot = start(FORWARD_25, mission__controller_timeout_s=0.5)
    robot.destroy_subscription(robot.subscription)
    result = mission(robot).result()
    assert result.error_code == Result.ERROR_CONTROLLER_LOST and "nobody listens on /goal_pose" in result.error_msg


def test_beside_our_controller_no_mission_begins_or_goes_on(start, mission, wait_until) -> None:
    robot = start(FORWARD_25)
    robot.stays = True
    running = mission(robot)
    controller = robot.create_publisher(NavAction, "controller/execution", reliable_qos())
    result = running.result()
    assert result.error_code == Result.ERROR_NOT_AUTHORIZED and "/controller/execution" in result.error_msg
    assert mission(robot).result().error_code == Result.ERROR_NOT_AUTHORIZED
    robot.destroy_publisher(controller)


# --- tf -----------------------------------------------------------------------------------------


class FakeTf2(types.ModuleType):
    """Of tf2_ros what is used of it: map is turned by a right angle, and one metre before odom; a gap is unknown."""

    class TransformException(Exception):  # noqa: N818 - its name in tf2_ros
        pass

    is_known = True

    class Buffer:
        def lookup_transform(self, target, source, when):
            if not FakeTf2.is_known or (target, source) != ("map", "odom"):
                raise FakeTf2.TransformException("extrapolation into the past")
            FakeTf2.asked_ns = when.nanoseconds
            transform = SimpleNamespace(translation=Vector3(x=1.0), rotation=quaternion_from_yaw(math.pi / 2))
            return SimpleNamespace(transform=transform)

    class TransformListener:
        def __init__(self, buffer, node):
            pass

        def unregister(self):
            pass


@pytest.fixture
def tf2(monkeypatch):
    fake = FakeTf2("tf2_ros")
    monkeypatch.setattr(FakeTf2, "is_known", True)
    monkeypatch.setitem(sys.modules, "tf2_ros", fake)
    return fake


def test_goals_are_in_the_frame_that_is_asked_for_as_it_was_when_the_image_was_taken(
    tf2, start, mission, wait_until
) -> None:
    robot = start(FORWARD_25, goal_frame="map")
    robot.stays = True
    running = mission(robot)
    wait_until(lambda: robot.poses)
    goal = robot.poses[0]
    assert goal.header.frame_id == "map" and is_at(pose_of(goal), Pose(1.0, 0.25, math.pi / 2))
    assert FakeTf2.asked_ns == ns_from_stamp(goal.header.stamp) == ns_from_stamp(robot.actions[0].header.stamp)
    running.cancel()
    wait_until(lambda: len(robot.poses) > 1)
    assert is_at(pose_of(robot.poses[1]), Pose(1.0, 0.0, math.pi / 2))
    running.result()


def test_a_transform_that_is_missing_refuses_the_action_by_the_names_of_the_frames(
    tf2, start, mission, monkeypatch
) -> None:
    robot = start(FORWARD_25, goal_frame="map")
    monkeypatch.setattr(FakeTf2, "is_known", False)
    result = mission(robot).result()
    assert result.error_code == Result.ERROR_ODOMETRY_LOST
    assert "no transform from 'odom' to 'map'" in result.error_msg and "extrapolation" in result.error_msg
    assert [(end.state, end.fault) for end in robot.ends()] == [(NavAction.STATE_REFUSED, MotionFault.TRANSFORM)] * 3
    assert not robot.poses


def test_a_transform_that_is_not_finite_is_refused(tf2, monkeypatch) -> None:
    frames = GoalFrames(tf2, None, "/map")
    assert frames.frame == "map"
    assert frames.pose(Pose(1.0, 2.0, 3.0), "/map", 0) == Pose(1.0, 2.0, 3.0)
    unset = SimpleNamespace(transform=SimpleNamespace(translation=Vector3(), rotation=Quaternion(w=0.0)))
    monkeypatch.setattr(FakeTf2.Buffer, "lookup_transform", lambda *_: unset)
    with pytest.raises(TransformError, match="not finite"):
        frames.pose(Pose(), "odom", 0)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"output": "goal_pose", "goal_frame": "map"}, ["tf2_ros", "not installed", "goal_frame"]),
        ({"goal_frame": "map"}, ["'map'", "'velocity'"]),
        ({"output": "wheels"}, ["'wheels'", "velocity, goal_pose, nav2"]),
        ({"output": "goal_pose", "goal.motion_timeout_s": 0.0}, ["motion_timeout_s = 0.0"]),
        ({"nav2_action": "go there"}, ["'go there'", "no name of ROS"]),
        ({"nav2_action": ""}, ["nav2_action = ''", "no name of ROS"]),
    ],
)
def test_what_cannot_work_is_refused_when_the_node_is_configured(ros, tmp_path, monkeypatch, parameters, words) -> None:
    monkeypatch.setitem(sys.modules, "tf2_ros", None)  # as where it is not installed
    values = {"checkpoint": str(tmp_path)} | parameters
    node = NavigatorNode([Parameter(name, value=value) for name, value in values.items()])
    with pytest.raises(ConfigError) as caught:
        node.bring_up()
    node.destroy_node()
    assert all(word in str(caught.value) for word in words)
