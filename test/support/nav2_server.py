"""A server of Nav2's action NavigateToPose that behaves as Nav2's own does, and drives a GoalRobot.

Nav2 accepts every goal while it is active; a new one replaces the running one, which is aborted without a code; it
tells feedback all the while; a goal that is canceled stops the robot.
"""

from __future__ import annotations

from typing import Any

from goal_robot import GoalRobot, is_at, pose_of
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node

from vila_core.types import Pose
from vila_ros.navigator.mission.goals import conclude

LOOP_S = 0.02


class Nav2Server(Node):
    """refuses: the code and words that every goal is aborted with. Flags make it behave otherwise."""

    def __init__(self, kind: Any, robot: GoalRobot) -> None:
        super().__init__("bt_navigator")
        self.is_active = self.speaks = self.cancels = self.drives = True
        self.tolerance_m = 1e-3
        self.refuses: tuple[int, str] | None = None
        self.goals: list[Any] = []  # as they were asked for
        self.canceled: list[Pose] = []  # where the robot was
        self.preempted = 0
        self._kind, self._robot = kind, robot
        self._handle: ServerGoalHandle | None = None
        self._server = ActionServer(
            self,
            kind,
            "navigate_to_pose",
            execute_callback=lambda _: None,
            goal_callback=lambda _: GoalResponse.ACCEPT if self.is_active else GoalResponse.REJECT,
            handle_accepted_callback=self._on_goal,
            cancel_callback=self._on_cancel,
        )
        self.create_timer(LOOP_S, self._loop)

    @property
    def is_busy(self) -> bool:
        return self._handle is not None

    def has_come(self, goal: Pose) -> bool:
        return is_at(self._robot.pose, goal, within_m=self.tolerance_m)

    def destroy_node(self) -> None:
        self._server.destroy()
        super().destroy_node()

    def _on_goal(self, handle: ServerGoalHandle) -> None:
        self.goals.append(handle.request)
        if self._handle is not None:
            self.preempted += 1
            self._end(is_success=False)
        self._handle = handle
        if self.refuses is None and self.drives:
            self._robot.target = pose_of(handle.request.pose)

    def _on_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        return CancelResponse.ACCEPT if self.cancels else CancelResponse.REJECT

    def _loop(self) -> None:
        handle = self._handle
        if handle is None:
            return
        if handle.is_cancel_requested:
            self._robot.target = None
            self.canceled.append(self._robot.pose)
            self._end(is_success=False)
        elif self.refuses is not None:
            self._end(*self.refuses, is_success=False)
        elif self.has_come(goal := pose_of(handle.request.pose)):
            self._end(is_success=True)
        elif self.speaks:
            handle.publish_feedback(self._kind.Feedback(distance_remaining=self._robot.pose.distance_m(goal)))

    def _end(self, code: int = 0, words: str = "", *, is_success: bool) -> None:
        handle, self._handle = self._handle, None
        result = self._kind.Result()
        if hasattr(result, "error_code"):
            result.error_code, result.error_msg = code, words
        conclude(handle, result, is_success=is_success)
