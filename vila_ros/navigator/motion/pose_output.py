"""The output `goal_pose`: each decision as a pose on a topic, for whoever follows it.

A topic has no cancel and no answer. So to stand is a goal where the robot is, and whether it has come is what odometry
says. ~/heartbeat goes on as for our controller: who follows should stop without it.
"""

from __future__ import annotations

from geometry_msgs.msg import PoseStamped
from rclpy.duration import Duration
from rclpy.node import Node
from vila_nav.msg import NavAction

from vila_core.control.goal_watch import GoalStep
from vila_core.control.reasons import MotionFault
from vila_core.control.watchdog import Doubt
from vila_ros.common.conversions import pose_message
from vila_ros.common.qos import publisher_events, reliable_qos
from vila_ros.navigator.motion.goal_frames import TransformError
from vila_ros.navigator.motion.goal_output import GoalOutput, GoalSetup

GOAL_TOPIC = "goal_pose"  # where Nav2's bt_navigator listens too


class PoseOutput(GoalOutput):
    """Publishes goal poses; a motion is done as the robot stands near its goal, stuck as it stands elsewhere."""

    driver = f"who follows {GOAL_TOPIC}"

    def __init__(self, node: Node, setup: GoalSetup) -> None:
        super().__init__(node, setup)
        self._stall_timeout_s = setup.config.stall_timeout_s
        self._is_sent = False  # a goal that is not where the robot was
        events = publisher_events(node, GOAL_TOPIC)
        self._goals = node.create_publisher(PoseStamped, GOAL_TOPIC, reliable_qos(1), event_callbacks=events)

    @property
    def is_ready(self) -> bool:
        """True if somebody listens."""
        return self._goals.get_subscription_count() > 0

    @property
    def fault(self) -> str:
        """Say that nobody listens, if nobody does."""
        return "" if self.is_ready else f"nobody listens on {self._node.resolve_topic_name(GOAL_TOPIC)}"

    def close(self) -> None:
        """Have the robot stand, and leave the graph."""
        super().close()
        self._goals.wait_for_all_acked(Duration(seconds=0.2))
        self._node.destroy_publisher(self._goals)

    def _go(self, goal: PoseStamped) -> None:
        self._is_sent = True
        self._goals.publish(goal)

    def _halt(self) -> None:
        """Send the robot to where it is known to be; if tf does not tell, in odometry's own frame: it is urgent."""
        newest = self._watch.newest
        if newest is None or not self._is_sent:
            return
        self._is_sent = False
        pose, frame = newest.pose, self._frame
        if self._frames is not None:
            try:
                pose, frame = self._frames.pose(pose, frame, newest.stamp_ns), self._frames.frame
            except TransformError as err:
                self._node.get_logger().warning(str(err))
        self._goals.publish(pose_message(pose, frame, newest.stamp_ns))

    def _judge(self, step: GoalStep) -> None:
        if step.stands and step.is_near:
            self._finish(NavAction.STATE_DONE)
        elif step.stood_s > self._stall_timeout_s:
            left = f"{step.error.distance_m:.2f} m, {abs(step.error.yaw_rad):.2f} rad"
            self.interrupt(
                Doubt(MotionFault.STALLED, f"the robot has stood for {step.stood_s:.1f} s, {left} from its goal")
            )
        else:
            self._report_running()
