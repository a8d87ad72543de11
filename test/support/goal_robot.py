"""A robot that goes to poses: camera, odometry and a base in one node, and goals of the navigator beside it."""

from __future__ import annotations

import math
from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.action import ActionClient
from rclpy.node import Node
from sensor_msgs.msg import Image
from vila_nav.action import NavigateInstruction
from vila_nav.msg import NavAction

from vila_core.testing import make_frame
from vila_core.types import Frame, Odometry, Pose, wrap_angle
from vila_ros.common.conversions import image_from_frame, message_from_odometry, yaw_from_quaternion
from vila_ros.common.qos import reliable_qos, sensor_qos

TIMER_S = 0.05
STEP_NS = 50_000_000
MPS, RPS = 0.4, 1.5


class GoalRobot(Node):
    """Goes straight to `target`, None to stand; remembers what the navigator says."""

    def __init__(self) -> None:
        super().__init__("robot")
        self.images_on = self.odometry_on = True
        self.odometry_frame = "odom"
        self.offset_ns = 0  # of the images' stamps
        self.odometry_stamped = True
        self.pose, self.target = Pose(), None
        self.path_m = 0.0
        self._stepped_ns = self.now_ns()
        self.actions: list[NavAction] = []
        self.reports: list[NavAction] = []
        self.picture = lambda: make_frame(self.now_ns()).image  # what the camera shows
        self._image = self.create_publisher(Image, "image_raw", sensor_qos())
        self._odometry = self.create_publisher(OdometryMsg, "odom", reliable_qos())
        self.create_subscription(NavAction, "navigator/action", self.actions.append, reliable_qos())
        self.create_subscription(NavAction, "navigator/execution", self.reports.append, reliable_qos())
        self.drivers: list[str] = []  # as the navigator's diagnostics name them
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, reliable_qos())
        self.goals = ActionClient(self, NavigateInstruction, "navigator/navigate")
        self.create_timer(TIMER_S, self._on_timer)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.drivers += [one.value for status in message.status for one in status.values if one.key == "driver"]

    def ready(self) -> bool:
        publishers = (self._image, self._odometry)
        topics = ("navigator/action", "navigator/execution")
        return (
            all(p.get_subscription_count() > 0 for p in publishers)
            and self.goals.server_is_ready()
            and all(self.count_publishers(topic) > 0 for topic in topics)
        )

    def ends(self) -> list[NavAction]:
        return [report for report in self.reports if report.state != NavAction.STATE_RUNNING]

    def now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _on_timer(self) -> None:
        """Catch up on what a busy machine left out: the base moves on, and tells of each step."""
        now_ns = self.now_ns()
        while self._stepped_ns + STEP_NS <= now_ns:
            self._stepped_ns += STEP_NS
            self._step(self._stepped_ns)
        if self.images_on:
            self._image.publish(image_from_frame(Frame(self.picture(), now_ns + self.offset_ns)))

    def _step(self, now_ns: int) -> None:
        before = self.pose
        if self.target is not None:
            self.pose = _nearer(before, self.target)
        step_m, turned_rad = before.distance_m(self.pose), wrap_angle(self.pose.yaw_rad - before.yaw_rad)
        self.path_m += step_m
        if self.odometry_on:
            stamp_ns = now_ns if self.odometry_stamped else 0
            odometry = Odometry(stamp_ns, self.pose, step_m / TIMER_S, turned_rad / TIMER_S)
            self._odometry.publish(message_from_odometry(odometry, self.odometry_frame))


def _nearer(pose: Pose, target: Pose) -> Pose:
    """A step of the base: first to the place, then to the heading."""
    left_m = pose.distance_m(target)
    share = min(1.0, MPS * TIMER_S / left_m) if left_m > 0 else 1.0
    turn_rad = wrap_angle(target.yaw_rad - pose.yaw_rad)
    turn_rad = max(-RPS * TIMER_S, min(RPS * TIMER_S, turn_rad)) if share == 1.0 else 0.0
    x_m, y_m = pose.x_m + share * (target.x_m - pose.x_m), pose.y_m + share * (target.y_m - pose.y_m)
    return Pose(x_m, y_m, wrap_angle(pose.yaw_rad + turn_rad))


def pose_of(message) -> Pose:
    """The pose of a PoseStamped."""
    position = message.pose.position
    return Pose(position.x, position.y, yaw_from_quaternion(message.pose.orientation))


def is_at(pose: Pose, other: Pose, *, within_m: float = 1e-3) -> bool:
    return pose.distance_m(other) < within_m and math.cos(pose.yaw_rad - other.yaw_rad) > 0.9999


class Mission:
    """A goal of the navigator on its way."""

    def __init__(self, robot: GoalRobot, wait_until: Callable[..., float], text: str = "go on") -> None:
        self._robot, self._wait = robot, wait_until
        request = NavigateInstruction.Goal(instruction=text)
        future = self._spun(robot.goals.send_goal_async, request)
        wait_until(future.done, "the goal to be accepted")
        self._handle = future.result()
        self._result = self._spun(self._handle.get_result_async)

    @property
    def is_over(self) -> bool:
        return self._result.done()

    def cancel(self) -> None:
        self._spun(self._handle.cancel_goal_async)

    def result(self) -> NavigateInstruction.Result:
        self._wait(self._result.done, "the mission's result")
        return self._result.result().result

    def _spun(self, call: Callable, *arguments):
        """Call in the thread that spins: from another, an answer may come before rclpy noted that it is waited for."""
        task = self._robot.executor.create_task(call, *arguments)
        self._wait(task.done)
        return task.result()
