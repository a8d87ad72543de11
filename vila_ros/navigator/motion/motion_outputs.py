"""The rows of the parameter `output`: what each needs is looked for when the node is configured."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.exceptions import NameValidationException
from rclpy.node import Node
from rclpy.validate_topic_name import validate_topic_name

from vila_core.control.goal_watch import GoalConfig
from vila_core.errors import ConfigError
from vila_ros.navigator.config import GOAL_POSE, NAV2, VELOCITY, NavigatorNodeConfig
from vila_ros.navigator.motion.goal_frames import GoalFrames, tf2_ros
from vila_ros.navigator.motion.goal_output import GoalSetup
from vila_ros.navigator.motion.motion_output import MotionOutput, OnReport
from vila_ros.navigator.motion.nav2_client import navigate_to_pose
from vila_ros.navigator.motion.nav2_output import Nav2Output
from vila_ros.navigator.motion.pose_output import PoseOutput
from vila_ros.navigator.motion.velocity_output import VelocityOutput

Wake = Callable[[], object]
MakeOutput = Callable[[Node, OnReport, Wake, Callable[[], float]], MotionOutput]


def output_maker(config: NavigatorNodeConfig, goal: GoalConfig) -> MakeOutput:
    """Return what makes the output that the parameters name.

    The maker takes the node, who gets the reports, what wakes the executor's thread, and how far ahead of the clock an
    image may be stamped. Raises ConfigError if something that the output needs is not installed, or is no name of ROS.
    """
    library = tf2_ros() if config.goal_frame else None
    kind = navigate_to_pose() if config.output == NAV2 else None
    try:
        validate_topic_name(config.nav2_action, is_service=True)
    except NameValidationException as err:
        words = " ".join(str(err).split())
        raise ConfigError(f"nav2_action = {config.nav2_action!r}: is no name of ROS; {words}") from err

    def make(node: Node, on_report: OnReport, wake: Wake, max_future_s: Callable[[], float]) -> MotionOutput:
        if config.output == VELOCITY:
            return VelocityOutput(node, on_report, config.controller)
        frames = None if library is None else GoalFrames(library, node, config.goal_frame)
        setup = GoalSetup(goal, on_report, max_future_s, config.odometry_frame, frames)
        if config.output == GOAL_POSE:
            return PoseOutput(node, setup)
        tree = config.nav2_behavior_tree
        return Nav2Output(node, setup, kind=kind, action=config.nav2_action, behavior_tree=tree, wake=wake)

    return make
