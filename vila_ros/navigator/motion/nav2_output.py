"""The output `nav2`: each decision is a goal of Nav2's NavigateToPose; what Nav2 says of it becomes our reports.

Nav2 plans, drives and avoids; whether the robot has come is asked of odometry as well. A mission's end, a hold, a stop
and the node's end cancel the goal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from action_msgs.msg import GoalStatus
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from vila_nav.msg import NavAction

from vila_core.control.decision_timing import HALF
from vila_core.control.goal_watch import GoalStep
from vila_core.control.reasons import MotionFault
from vila_core.control.watchdog import Doubt
from vila_core.types import Decision, Stop
from vila_ros.navigator.mission.mission import MissionError
from vila_ros.navigator.motion.goal_output import GoalOutput, GoalSetup
from vila_ros.navigator.motion.motion_output import Rival
from vila_ros.navigator.motion.nav2_client import Nav2Client, Nav2Event, Nav2News
from vila_ros.navigator.motion.nav2_errors import abort_doubt

_CANCEL_S = 1.0  # a cancellation that takes longer is told
_REPLACED_NS = 1_000_000_000  # behind an abort: so long somebody else's goal may be told of
_ROLL_S = 3.0  # a robot that still moves so long after Nav2 said that it has come does not stand
_WARN_EVERY_S = 5.0


class Nav2Output(GoalOutput):
    """Sends goals to Nav2 and cancels them.

    kind: what nav2_client.navigate_to_pose returned. action: its name. wake: called when Nav2 has said something, from
    another thread; then `on_wake` is due.
    """

    driver = "Nav2"

    def __init__(
        self, node: Node, setup: GoalSetup, *, kind: Any, action: str, behavior_tree: str, wake: Callable[[], object]
    ) -> None:
        super().__init__(node, setup)
        self._tree = behavior_tree
        self._arrived_ns: int | None = None  # steady time at which Nav2 said so
        self._aborted: tuple[int, Doubt] | None = None  # likewise, and why
        self._client = Nav2Client(node, kind, action, wake)
        self._client.start()

    @property
    def is_ready(self) -> bool:
        """True if there is a server, and neither a cancellation nor word of who replaced our goal is waited for."""
        return self._client.is_server_there and self._client.cancels_s == 0.0 and self._aborted is None

    @property
    def fault(self) -> str:
        """Say that there is no server, or that it does not cancel."""
        if not self._client.is_server_there:
            return f"there is no action server {self._client.name}; is Nav2 running?"
        waited_s = self._client.cancels_s
        return f"Nav2 has not confirmed for {waited_s:.1f} s that a goal is canceled" if waited_s > _CANCEL_S else ""

    @property
    def rival(self) -> Rival | None:
        """Whoever else has Nav2 drive, or our controller, if it runs."""
        if self._client.is_foreign:
            return MissionError.OPERATOR, f"Nav2 is on a goal of somebody else ({self._client.name})"
        return super().rival

    def carry_out(self, decision: Decision, action: NavAction) -> None:
        """Send the robot to where the action leads; not while it may be somebody else's."""
        if self._aborted is None or decision.action is None or isinstance(decision.action, Stop):
            super().carry_out(decision, action)
            return
        doubt, self._running = self._aborted[1], None
        self._refuse(action, Doubt(doubt.fault, f"not begun, as the one before has just ended: {doubt.detail}"))

    def on_wake(self) -> None:
        """Take over what Nav2 said."""
        for news in self._client.news():
            if self._running is not None and news.number == self._running.id:
                self._take(news)

    def tick(self) -> None:
        """Look at the running motion, and whether the server is there and does as it is told."""
        super().tick()
        if not self._client.is_server_there:
            self._client.forget()
        elif self._client.cancels_s > 0:
            self._client.cancel()
        if self._aborted is not None and time.monotonic_ns() - self._aborted[0] > _REPLACED_NS:
            doubt, self._aborted = self._aborted[1], None
            if self._running is not None:
                self._finish(NavAction.STATE_ABORTED, doubt)
        if self._client.cancels_s > _CANCEL_S:
            self._node.get_logger().error(f"{self.fault}: stop the robot", throttle_duration_sec=_WARN_EVERY_S)

    def close(self) -> None:
        """Cancel the goal, wait until that is confirmed, and leave the graph."""
        super().close()
        if not self._client.close(_CANCEL_S):
            self._node.get_logger().error(f"Nav2 did not confirm within {_CANCEL_S:g} s that the goal is canceled")

    def _go(self, goal: PoseStamped) -> None:
        self._arrived_ns = self._aborted = None
        self._client.send(self._running.id, goal, self._tree)  # type: ignore[union-attr] # it was begun

    def _halt(self) -> None:
        self._client.cancel()

    def _take(self, news: Nav2News) -> None:
        """Make what Nav2 said of the running motion a report."""
        if news.event is Nav2Event.REJECTED:
            self._refuse_running(Doubt(MotionFault.NOT_ACCEPTED, "Nav2 rejected the goal; is its bt_navigator active?"))
        elif news.event is not Nav2Event.ENDED:
            self._report_running(_told(news))
        elif news.status == GoalStatus.STATUS_SUCCEEDED:
            self._arrived_ns = time.monotonic_ns()
        elif news.status == GoalStatus.STATUS_CANCELED:
            self._finish(
                NavAction.STATE_ABORTED, Doubt(MotionFault.TAKEN_OVER, "somebody else canceled the goal in Nav2")
            )
        elif news.status == GoalStatus.STATUS_ABORTED:
            self._on_aborted(abort_doubt(news.message), is_told=bool(getattr(news.message, "error_code", 0)))
        else:
            self._finish(NavAction.STATE_ABORTED, Doubt(MotionFault.NAV2_FAILED, "Nav2's action server is gone"))

    def _on_aborted(self, doubt: Doubt, *, is_told: bool) -> None:
        """Nav2 also aborts what another goal replaces, without a code, and tells of that goal a moment later.

        So its word is waited for. is_told: it gave the reason's code.
        """
        if doubt.fault is MotionFault.GOAL_REFUSED:
            self._refuse_running(doubt)
        elif is_told:
            self._finish(NavAction.STATE_ABORTED, doubt)
        else:
            self._aborted = time.monotonic_ns(), doubt

    def _refuse_running(self, doubt: Doubt) -> None:
        running, self._running = self._running, None
        assert running is not None
        self._refuse(running, doubt)

    def _judge(self, step: GoalStep) -> None:
        """Once Nav2 says that the robot has come: see that it stands, and that it went there."""
        if self._arrived_ns is None:
            return
        rolls_s = (time.monotonic_ns() - self._arrived_ns) / 1e9
        if not step.stands and rolls_s <= _ROLL_S:
            self._report_running("Nav2 says that it has come")
        elif not step.stands:
            self._finish(
                NavAction.STATE_ABORTED, Doubt(MotionFault.MISSED, f"the robot moves {_ROLL_S:g} s after its arrival")
            )
        elif step.share_done < HALF:
            detail = f"Nav2 says that it has come, after {step.share_done:.0%} of the way; {_TOLERANCES}"
            self._finish(NavAction.STATE_ABORTED, Doubt(MotionFault.MISSED, detail))
        else:
            self._finish(NavAction.STATE_DONE)


_TOLERANCES = "lower xy_goal_tolerance and yaw_goal_tolerance of its goal checker"


def _told(news: Nav2News) -> str:
    if news.message is None:
        return "Nav2 accepted the goal"
    left_m, recoveries = news.message.distance_remaining, news.message.number_of_recoveries
    return f"{left_m:.2f} m to go, {recoveries} recoveries"
