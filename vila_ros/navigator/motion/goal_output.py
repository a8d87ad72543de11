"""What the outputs that send goal poses share: where a decision leads, and what odometry says of the way there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from vila_nav.msg import NavAction

from vila_core.config import ControlConfig
from vila_core.control.goal_watch import GoalConfig, GoalStep, GoalWatch
from vila_core.control.odometry_watch import Source
from vila_core.control.reasons import MotionFault
from vila_core.control.watchdog import Doubt
from vila_core.types import Decision, Odometry, Stop
from vila_ros.common.conversions import pose_message, report_on
from vila_ros.common.qos import reliable_qos
from vila_ros.common.topics import EXECUTION
from vila_ros.navigator.mission.mission import MissionError
from vila_ros.navigator.motion.goal_frames import GoalFrames, TransformError
from vila_ros.navigator.motion.motion_output import MotionOutput, OnReport, Rival

_REPORT_EVERY_S = 0.2  # while a motion runs


@dataclass(frozen=True, slots=True)
class GoalSetup:
    """What every such output is made with.

    max_future_s: how far ahead of the clock an image may be stamped. odometry_frame: of odometry that does not tell its
    frame. frames: of goals in another frame than odometry's, None if they are in that.
    """

    config: GoalConfig
    on_report: OnReport
    max_future_s: Callable[[], float]
    odometry_frame: str
    frames: GoalFrames | None = None


class GoalOutput(MotionOutput):
    """Sends each action as a goal pose, anchored where its image was taken, and reports on ~/execution.

    Those who inherit say how a goal goes out (`_go`), how the robot is stopped (`_halt`), when it has come (`_judge`).
    """

    is_governed = False

    def __init__(self, node: Node, setup: GoalSetup) -> None:
        self._node, self._on_report, self._max_future_s = node, setup.on_report, setup.max_future_s
        self._frame, self._frames = setup.odometry_frame, setup.frames
        self._watch = GoalWatch(setup.config, ControlConfig())
        self._running: NavAction | None = None
        self._reported_ns = 0
        self._execution = node.create_publisher(NavAction, "~/execution", reliable_qos())

    @property
    def rival(self) -> Rival | None:
        """Our controller, if it runs: it would drive the same actions."""
        if self._node.count_publishers(EXECUTION) == 0:
            return None
        topic = self._node.resolve_topic_name(EXECUTION)
        return MissionError.NOT_AUTHORIZED, f"our controller drives too ({topic}): end it, or set output to velocity"

    def carry_out(self, decision: Decision, action: NavAction) -> None:
        """Send the robot to where the action leads; a hold, and a stop, have it stand."""
        if decision.action is None or isinstance(decision.action, Stop):
            self._stand(f"replaced by action {action.id}, to stand")
            return
        if (replaced := self._running) is not None:
            self._running = None
            self._report(
                replaced, NavAction.STATE_ABORTED, Doubt(MotionFault.REPLACED, f"replaced by action {action.id}")
            )
        now_ns, steady_ns = self._node.get_clock().now().nanoseconds, time.monotonic_ns()
        doubt = self._watch.begin(
            decision.action, decision.stamp_ns, now_ns=now_ns, steady_ns=steady_ns, max_future_s=self._max_future_s()
        )
        if doubt is not None:
            self._refuse(action, doubt)
            return
        try:
            goal = self._goal(decision.stamp_ns)
        except TransformError as err:
            self._refuse(action, Doubt(MotionFault.TRANSFORM, str(err)))
            return
        self._running, self._reported_ns = action, 0
        self._go(goal)

    def interrupt(self, doubt: Doubt) -> None:
        """End the running motion, if there is one, with the robot standing, and report it."""
        if self._running is not None:
            self._halt()
            self._finish(NavAction.STATE_ABORTED, doubt)

    def note_odometry(self, message: OdometryMsg, odometry: Odometry, source: Source) -> None:
        """Take where the robot is."""
        if self._watch.note(odometry, source, time.monotonic_ns()):
            self._frame = message.header.frame_id or self._frame

    def note_bad_odometry(self, detail: str, stamp_ns: int) -> None:
        """Take why a message of odometry is of no use: it ends the motion."""
        self._watch.note_bad(detail, stamp_ns)

    def tick(self) -> None:
        """End the running motion if it is over, or must be."""
        if self._running is None:
            return
        step = self._watch.step(time.monotonic_ns())
        if step.doubt is not None:
            self.interrupt(step.doubt)
        else:
            self._judge(step)

    def close(self) -> None:
        """Have the robot stand, and leave the graph."""
        self.interrupt(Doubt(MotionFault.REPLACED, "the navigator shuts down"))
        self._node.destroy_publisher(self._execution)
        if self._frames is not None:
            self._frames.close()

    # --- what differs ----------------------------------------------------------------------------

    def _go(self, goal: PoseStamped) -> None:
        raise NotImplementedError

    def _halt(self) -> None:
        raise NotImplementedError

    def _judge(self, step: GoalStep) -> None:
        raise NotImplementedError

    # --- goals and reports -----------------------------------------------------------------------

    def _goal(self, stamp_ns: int) -> PoseStamped:
        """The running motion's goal, stamped with its image: there it is right, whatever localization finds later."""
        pose, frame = self._watch.goal_pose, self._frame
        if self._frames is not None:
            pose, frame = self._frames.pose(pose, frame, stamp_ns), self._frames.frame
        return pose_message(pose, frame, stamp_ns)

    def _stand(self, detail: str) -> None:
        if self._running is None:
            self._halt()  # what was refused, or has come, may still be on its way
        self.interrupt(Doubt(MotionFault.REPLACED, detail))

    def _refuse(self, action: NavAction, doubt: Doubt) -> None:
        """Report an action that is not carried out; the robot stands."""
        self._node.get_logger().warning(f"action {action.id} refused: {doubt.detail}")
        self._halt()
        self._report(action, NavAction.STATE_REFUSED, doubt)

    def _finish(self, state: int, doubt: Doubt | None = None) -> None:
        """Report the end of the running motion."""
        running, self._running = self._running, None
        assert running is not None
        self._report(running, state, doubt)

    def _report_running(self, detail: str = "") -> None:
        steady_ns = time.monotonic_ns()
        if self._running is not None and steady_ns - self._reported_ns >= _REPORT_EVERY_S * 1e9:
            self._reported_ns = steady_ns
            self._report(self._running, NavAction.STATE_RUNNING, Doubt(MotionFault.NONE, detail))

    def _report(self, action: NavAction, state: int, doubt: Doubt | None = None) -> None:
        fault, detail = (MotionFault.NONE, "") if doubt is None else (doubt.fault, doubt.detail)
        report = report_on(action, state, int(fault), detail)
        if state != NavAction.STATE_REFUSED:
            step = self._watch.step(time.monotonic_ns())
            report.executed_m, report.executed_rad = float(step.executed_m), float(step.executed_rad)
        self._execution.publish(report)
        self._on_report(report)
