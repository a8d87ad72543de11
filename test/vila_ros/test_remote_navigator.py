"""A navigator whose model is elsewhere: the robot goes while it answers, and stands when it does not."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from fake_openai import faking
from geometry_msgs.msg import PoseStamped
from goal_robot import GoalRobot, Mission, pose_of
from rclpy.parameter import Parameter
from vila_nav.action import NavigateInstruction
from vila_nav.msg import NavAction

from vila_core.errors import RemoteUnreachableError
from vila_core.types import HoldReason
from vila_ros.common.qos import reliable_qos
from vila_ros.navigator.node import NavigatorNode

Result = NavigateInstruction.Result


class Follower(GoalRobot):
    """Follows goal_pose."""

    def __init__(self) -> None:
        super().__init__()
        self.create_subscription(PoseStamped, "goal_pose", self._on_goal, reliable_qos())

    def _on_goal(self, message: PoseStamped) -> None:
        self.target = pose_of(message)


@pytest.fixture
def start(spinner, wait_until, tmp_path):
    """start(address): a robot that follows, and an active navigator that asks there."""

    def begin(url: str) -> Follower:
        file = tmp_path / "remote.yaml"
        file.write_text(f"base_url: {url}\ntimeout_s: 2\nprompt_style: navila\n")
        values = {"checkpoint": str(file), "backend": "openai", "output": "goal_pose", "navigator.watch_camera": False}
        node = NavigatorNode([Parameter(name, value=value) for name, value in values.items()])
        try:
            node.bring_up()
        except BaseException:
            node.destroy_node()
            raise
        robot = Follower()
        robot.navigator = node
        spinner.add(node)
        spinner.add(robot)
        wait_until(robot.ready, "the graph to be complete")
        wait_until(lambda: robot.count_publishers("goal_pose"))
        wait_until(lambda: node.active.latest.image and node.active.latest.odometry, "images and odometry")
        return robot

    return begin


def test_the_robot_goes_by_what_is_answered_and_stands_when_nothing_is(start, wait_until) -> None:
    def close(handler) -> None:
        handler.close_connection = True

    with faking() as server:
        robot = start(server.url)
        mission = Mission(robot, wait_until)
        wait_until(lambda: robot.path_m > 0.2, "the robot to move")
        server.answer = close
        result = mission.result()
    assert result.outcome == Result.OUTCOME_FAILED and result.error_code == Result.ERROR_BACKEND_ERROR
    assert "RemoteUnreachableError" in result.error_msg
    reasons = [action.hold_reason for action in robot.actions if action.kind == NavAction.KIND_HOLD]
    assert reasons.count(HoldReason.BACKEND_ERROR) >= 3 and reasons[0] == HoldReason.BACKEND_ERROR


def test_a_server_that_is_not_there_refuses_to_activate(ros, start) -> None:
    with pytest.raises(RemoteUnreachableError, match=r"127\.0\.0\.1:1/"):
        start("http://127.0.0.1:1/v1")
