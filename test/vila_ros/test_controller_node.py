"""The controller with a robot that does what it is told: it moves when it may, and stands when in doubt."""

from __future__ import annotations

import dataclasses
import math
import signal
import subprocess
import time

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from conftest import HANG_S
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry as OdometryMsg
from parameter_client import ParameterClient
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import Header
from vila_nav.msg import GovernorState, NavAction

from vila_core.control.reasons import MotionFault, StopReason
from vila_core.errors import ConfigError
from vila_core.testing import Unicycle
from vila_core.types import Decision, HoldReason, MoveForward, Pose, Stop, Turn, VelocityCommand
from vila_ros.common.conversions import message_from_decision, message_from_odometry, stamp_from_ns
from vila_ros.common.qos import reliable_qos
from vila_ros.common.velocity import velocity_from_message, velocity_type
from vila_ros.controller.node import ControllerNode
from vila_tools.session.processes import NodeSpec

PERIOD_S = 0.02
OURS = {"navigator": "robot", "governor": "robot"}  # whose messages count: all are the robot's here


class Robot(Node):
    """A robot and a navigator in one: odometry and heartbeat, each of which can be cut off.

    edit: what is done to each odometry message before it is published.
    """

    def __init__(self, velocity=TwistStamped) -> None:
        super().__init__("robot")
        self.body = Unicycle(Pose(1.0, 2.0, 0.5))
        self.odometry_on = self.heartbeat_on = True
        self.heartbeat_age_s = 0.0
        self.edit = lambda message: message
        self.command = VelocityCommand()
        self.commands, self.fastest_mps = 0, 0.0
        self.nonzero_at = self.zero_at = 0.0
        self.reports: list[NavAction] = []
        self._id = 0
        self._odometry = self.create_publisher(OdometryMsg, "odom", reliable_qos())
        self._heartbeat = self.create_publisher(Header, "navigator/heartbeat", reliable_qos())
        self._action = self.create_publisher(NavAction, "navigator/action", reliable_qos())
        self.create_subscription(velocity, "cmd_vel_nav", self._on_velocity, reliable_qos())
        self.create_subscription(NavAction, "controller/execution", self.reports.append, reliable_qos())
        self._governor = self.create_publisher(GovernorState, "governor/state", reliable_qos(1))
        self._passed = self.create_publisher(velocity, "cmd_vel", reliable_qos(1))
        self.share: float | None = None  # of each command that a governor lets pass; None: there is no governor
        self.create_timer(PERIOD_S, self._on_timer)

    def send(self, action, age_s: float = 0.0, **changes) -> NavAction:
        self._id += 1
        stamp_ns = self.now_ns() - round(age_s * 1e9)
        decision = action if isinstance(action, Decision) else Decision(action, stamp_ns, probability=0.9)
        message = message_from_decision(dataclasses.replace(decision, stamp_ns=stamp_ns), self._id)
        for name, value in changes.items():
            setattr(message, name, value)
        self._action.publish(message)
        return message

    def state_of(self, message: NavAction) -> NavAction | None:
        return next(
            (r for r in reversed(self.reports) if r.id == message.id and r.state != NavAction.STATE_RUNNING), None
        )

    def ready(self) -> bool:
        return (
            self._action.get_subscription_count() > 0
            and self._heartbeat.get_subscription_count() > 0
            and self.count_publishers("controller/execution") > 0
        )

    def now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def govern(self, state: int, reason: StopReason = StopReason.NONE) -> None:
        self._governor.publish(GovernorState(state=state, reason=int(reason), speed_scale=1.0))

    def _on_velocity(self, message) -> None:
        before, self.command = self.command, velocity_from_message(message)
        self.commands += 1
        self.fastest_mps = max(self.fastest_mps, self.command.linear_mps)
        if self.share is not None:
            message.twist.linear.x, message.twist.angular.z = self.passed.linear_mps, self.passed.angular_rps
            self._passed.publish(message)
        if self.command.is_zero and not before.is_zero:
            self.zero_at = time.monotonic()

    @property
    def passed(self) -> VelocityCommand:
        """What the base gets."""
        share = 1.0 if self.share is None else self.share
        return VelocityCommand(share * self.command.linear_mps, share * self.command.angular_rps)

    def _on_timer(self) -> None:
        odometry = self.body.drive(self.passed, PERIOD_S)
        if self.odometry_on:
            message = message_from_odometry(dataclasses.replace(odometry, stamp_ns=self.now_ns()))
            self._odometry.publish(self.edit(message))
        if self.heartbeat_on:
            self._heartbeat.publish(Header(stamp=stamp_from_ns(self.now_ns() - round(self.heartbeat_age_s * 1e9))))


@pytest.fixture
def start(spinner, wait_until):
    """start(**parameters): the robot, with a controller that is ready."""

    def begin(**parameters) -> Robot:
        robot = Robot(velocity_type(parameters.get("velocity_type") != "plain"))
        parameters = OURS | parameters
        overrides = [Parameter(name.replace("__", "."), value=value) for name, value in parameters.items()]
        spinner.add(ControllerNode(overrides))
        spinner.add(robot)
        wait_until(robot.ready, what="the controller to be there")
        wait_for_odometry = robot.body.now_ns
        wait_until(lambda: robot.body.now_ns > wait_for_odometry + 200_000_000)
        return robot

    return begin


@pytest.mark.parametrize("kind", ["stamped", "plain"])
def test_it_drives_as_far_as_it_was_told(start, wait_until, kind: str) -> None:
    robot = start(velocity_type=kind)
    goal = robot.body.pose.advanced(0.25)
    message = robot.send(MoveForward(0.25))
    wait_until(lambda: robot.state_of(message), what="the motion to end")
    report = robot.state_of(message)
    assert report.state == NavAction.STATE_DONE and report.executed_m == pytest.approx(0.25, abs=0.04)
    assert report.commanded_m == pytest.approx(report.executed_m, abs=0.05) and report.fault == MotionFault.NONE
    assert report.header == message.header and report.reply == message.reply
    assert robot.body.pose.distance_m(goal) < 0.05
    wait_until(lambda: robot.command.is_zero)
    assert any(r.state == NavAction.STATE_RUNNING for r in robot.reports)


def test_it_turns_as_far_as_it_was_told(start, wait_until) -> None:
    robot = start()
    goal = robot.body.pose.turned(math.radians(30))
    message = robot.send(Turn(math.radians(30)))
    wait_until(lambda: robot.state_of(message))
    assert robot.state_of(message).state == NavAction.STATE_DONE
    assert robot.body.pose.yaw_rad == pytest.approx(goal.yaw_rad, abs=math.radians(3))


def moving(robot: Robot, wait_until) -> NavAction:
    """Send until the robot moves: right after discovery the heartbeat may be missing, or a report be lost."""
    sent: list[NavAction] = []
    until_s = 0.0

    def is_moving() -> bool:
        nonlocal until_s
        if not sent or robot.state_of(sent[-1]) or time.monotonic() > until_s:
            sent.append(robot.send(MoveForward(0.75)))
            until_s = time.monotonic() + 2.0
        return robot.command.linear_mps > 0.1

    wait_until(is_moving, what="the robot to move")
    return sent[-1]


@pytest.mark.parametrize(
    ("attribute", "value", "limit_s", "fault"),
    [
        ("odometry_on", False, 0.6, MotionFault.ODOMETRY_SILENT),
        ("heartbeat_on", False, 0.4, MotionFault.HEARTBEAT_LOST),
        ("heartbeat_age_s", 1.5, 0.4, MotionFault.HEARTBEAT_LOST),
    ],
)
def test_silence_stops_the_robot(
    start, wait_until, lateness, attribute: str, value, limit_s: float, fault: MotionFault
) -> None:
    robot = start()
    message = moving(robot, wait_until)
    setattr(robot, attribute, value)
    cut = time.monotonic()
    wait_until(lambda: robot.command.is_zero, what="zero velocity")
    assert robot.zero_at - cut <= limit_s + lateness.since(cut)
    wait_until(lambda: robot.state_of(message))
    report = robot.state_of(message)
    assert report.state == NavAction.STATE_ABORTED and report.fault == fault and report.detail


def shifted(x_m: float = 0.0, yaw_rad: float = 0.0):
    def edit(message: OdometryMsg) -> OdometryMsg:
        message.pose.pose.position.x += x_m
        turned = math.atan2(message.pose.pose.orientation.z, message.pose.pose.orientation.w) + yaw_rad / 2
        message.pose.pose.orientation.z, message.pose.pose.orientation.w = math.sin(turned), math.cos(turned)
        return message

    return edit


def of_frames(frame: str, child: str):
    def edit(message: OdometryMsg) -> OdometryMsg:
        message.header.frame_id, message.child_frame_id = frame, child
        return message

    return edit


def not_finite(message: OdometryMsg) -> OdometryMsg:
    message.pose.pose.orientation.z = math.nan
    return message


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (shifted(-0.3), MotionFault.ODOMETRY_JUMP),
        (shifted(5.0), MotionFault.ODOMETRY_JUMP),
        (shifted(yaw_rad=math.radians(20)), MotionFault.ODOMETRY_JUMP),
        (of_frames("map", "base_link"), MotionFault.ODOMETRY_FRAME),
        (of_frames("odom", "base_footprint"), MotionFault.ODOMETRY_FRAME),
        (not_finite, MotionFault.ODOMETRY_NOT_FINITE),
    ],
)
def test_odometry_that_can_not_be_the_robots_stops_it_at_once(
    start, wait_until, lateness, edit, fault: MotionFault
) -> None:
    robot = start()
    message = moving(robot, wait_until)
    robot.edit = edit
    cut = time.monotonic()
    wait_until(lambda: robot.command.is_zero, what="zero velocity")
    assert robot.zero_at - cut <= 0.3 + lateness.since(cut)
    wait_until(lambda: robot.state_of(message))
    report = robot.state_of(message)
    assert report.state == NavAction.STATE_ABORTED and report.fault == fault
    assert 0 < report.commanded_m < 0.75 and 0 < report.executed_m < 0.75


@pytest.mark.parametrize(
    ("attribute", "value", "fault"),
    [
        ("odometry_on", False, MotionFault.ODOMETRY_SILENT),
        ("edit", not_finite, MotionFault.ODOMETRY_NOT_FINITE),
    ],
)
def test_an_image_without_a_pose_is_blamed_on_odometry(start, wait_until, attribute: str, value, fault) -> None:
    robot = start()
    moving(robot, wait_until)
    setattr(robot, attribute, value)
    cut_ns = robot.now_ns()
    wait_until(lambda: robot.now_ns() > cut_ns + 200_000_000)
    message = robot.send(MoveForward(0.25), age_s=-0.05)  # newer than any odometry, and not too new
    wait_until(lambda: robot.state_of(message))
    held_up = (MotionFault.HELD_UP, MotionFault.HEARTBEAT_LOST)  # by a machine that did not run us for a while
    assert robot.state_of(message).state == NavAction.STATE_REFUSED and robot.state_of(message).fault in (
        fault,
        *held_up,
    )


def test_an_image_from_before_a_jump_is_not_driven_by(start, wait_until) -> None:
    robot = start()
    robot.edit = shifted(-0.3)
    jumped_at = robot.body.now_ns
    wait_until(lambda: robot.body.now_ns > jumped_at + 100_000_000)
    message = robot.send(MoveForward(0.25), age_s=0.5)
    wait_until(lambda: robot.state_of(message))
    assert robot.state_of(message).fault == MotionFault.ODOMETRY_JUMP
    assert robot.command.is_zero


def test_two_publishers_of_odometry_are_refused(start, wait_until) -> None:
    robot = start()
    message = moving(robot, wait_until)
    other = robot.create_publisher(OdometryMsg, "odom", reliable_qos())
    own = robot._odometry.publish

    def both(odometry: OdometryMsg) -> None:
        own(odometry)
        other.publish(odometry)

    robot._odometry.publish = both
    wait_until(lambda: robot.state_of(message))
    assert robot.state_of(message).fault == MotionFault.ODOMETRY_PUBLISHERS
    again = robot.send(MoveForward(0.25))
    wait_until(lambda: robot.state_of(again))
    assert robot.state_of(again).fault == MotionFault.ODOMETRY_PUBLISHERS and robot.command.is_zero


def test_odometry_that_tells_a_tenth_lets_the_robot_drive_no_further_than_ten_centimetres(start, wait_until) -> None:
    def tenth(message: OdometryMsg) -> OdometryMsg:
        message.pose.pose.position.x *= 0.1
        message.pose.pose.position.y *= 0.1
        return message

    robot = start()
    robot.edit = tenth
    jumped_at = robot.body.now_ns
    wait_until(lambda: robot.body.now_ns > jumped_at + 200_000_000)
    before = robot.body.pose
    message = robot.send(MoveForward(0.75))
    wait_until(lambda: robot.state_of(message))
    report = robot.state_of(message)
    assert report.state == NavAction.STATE_ABORTED and report.fault == MotionFault.ODOMETRY_CONTRADICTS
    assert report.commanded_m < 0.12 and robot.body.pose.distance_m(before) < 0.15


@pytest.mark.parametrize(
    "state", [GovernorState.STATE_REVOKED, GovernorState.STATE_IDLE, None], ids=["revoked", "idle", "silent"]
)
def test_a_governor_that_was_heard_must_let_commands_pass(start, wait_until, state: int | None) -> None:
    robot = start()
    robot.share = 1.0
    message = moving(robot, wait_until)
    robot.govern(GovernorState.STATE_READY)
    if state is not None:
        robot.govern(state, StopReason.NO_MISSION)
    wait_until(lambda: robot.state_of(message))
    assert robot.state_of(message).fault == MotionFault.GOVERNOR
    wait_until(lambda: robot.command.is_zero)


def test_a_governor_that_slows_the_robot_makes_no_fault_of_odometry(start, wait_until) -> None:
    robot = start()
    robot.share = 0.4
    robot.create_timer(0.05, lambda: robot.govern(GovernorState.STATE_LIMITED))
    before, message = robot.body.pose, robot.send(MoveForward(0.5))
    wait_until(lambda: robot.state_of(message))
    report = robot.state_of(message)
    assert report.state == NavAction.STATE_DONE, report.detail
    assert report.commanded_m == pytest.approx(0.5, abs=0.05)
    assert robot.body.pose.distance_m(before) == pytest.approx(0.5, abs=0.05)


def test_zeros_end_a_second_after_the_motion(start, wait_until, lateness) -> None:
    robot = start()
    assert robot.commands == 0  # nothing was told yet, others may drive
    message = robot.send(MoveForward(0.1))
    wait_until(lambda: robot.state_of(message) and robot.command.is_zero)
    ended, seen = time.monotonic(), robot.commands
    wait_until(lambda: robot.commands > seen + 5, what="zeros")
    wait_until(lambda: time.monotonic() > ended + 1.2 + lateness.since(ended))
    seen, quiet = robot.commands, robot.body.now_ns
    wait_until(lambda: robot.body.now_ns > quiet + 500_000_000)
    assert robot.commands == seen and robot.command.is_zero


def test_a_controller_that_was_stopped_drives_no_further_when_it_goes_on(ros_environment, spinner, wait_until) -> None:
    robot = spinner.add(Robot())
    process = subprocess.Popen(
        NodeSpec("controller", "vila_ros.controller.node", parameters=OURS).command(), env=ros_environment
    )
    try:
        wait_until(robot.ready)
        message = moving(robot, wait_until)
        process.send_signal(signal.SIGSTOP)
        stopped = robot.body.now_ns
        queued = robot.send(MoveForward(0.75))
        wait_until(lambda: robot.body.now_ns > stopped + 600_000_000)
        process.send_signal(signal.SIGCONT)
        wait_until(lambda: robot.state_of(message) and robot.state_of(queued))
        assert robot.state_of(message).fault == MotionFault.HELD_UP
        assert robot.state_of(queued).fault in (MotionFault.HELD_UP, MotionFault.LATE)  # its image may be too old too
        wait_until(lambda: robot.command.is_zero)
        moving(robot, wait_until)
    finally:
        process.kill()
        process.wait(HANG_S)


def test_nothing_resumes_by_itself(start, wait_until) -> None:
    robot = start()
    message = moving(robot, wait_until)
    robot.heartbeat_on = False
    wait_until(lambda: robot.state_of(message))
    robot.heartbeat_on = True
    seen = robot.commands
    wait_until(lambda: robot.commands > seen + 5)
    assert robot.command.is_zero
    moving(robot, wait_until)


@pytest.mark.parametrize(
    "decision", [Decision(Stop(), 1), Decision.holding(HoldReason.STALE_IMAGE)], ids=["stop", "hold"]
)
def test_stop_and_hold_are_obeyed_at_once(start, wait_until, lateness, decision: Decision) -> None:
    robot = start()
    running = moving(robot, wait_until)
    sent = time.monotonic()
    message = robot.send(decision)
    assert wait_until(lambda: robot.command.is_zero) < 0.3 + lateness.since(sent)
    wait_until(lambda: robot.state_of(message) and robot.state_of(running))
    assert robot.state_of(message).state == NavAction.STATE_DONE
    assert robot.state_of(running).state == NavAction.STATE_ABORTED


@pytest.mark.parametrize(
    ("action", "age_s", "changes", "word", "fault"),
    [
        (MoveForward(0.76), 0.0, {}, "0.76", MotionFault.BAD_ACTION),
        (MoveForward(1000.0), 0.0, {}, "1000", MotionFault.BAD_ACTION),
        (MoveForward(0.0), 0.0, {}, "above 0", MotionFault.BAD_ACTION),
        (MoveForward(-0.25), 0.0, {}, "-0.25", MotionFault.BAD_ACTION),
        (MoveForward(0.25), 0.0, {"distance_m": math.nan}, "nan", MotionFault.BAD_ACTION),
        (Turn(math.radians(60)), 0.0, {}, "turn", MotionFault.BAD_ACTION),
        (Turn(math.inf), 0.0, {}, "inf", MotionFault.BAD_ACTION),
        (MoveForward(0.25), 4.5, {}, "4.5", MotionFault.LATE),
        (MoveForward(0.25), -1.0, {}, "future", MotionFault.CLOCK),
        (MoveForward(0.25), 2.0, {}, "no pose", MotionFault.LATE),
        (MoveForward(0.25), 0.0, {"kind": 17}, "17", MotionFault.BAD_ACTION),
    ],
)
def test_what_is_oversized_stale_or_strange_is_refused(start, wait_until, action, age_s, changes, word, fault) -> None:
    robot = start()
    before = robot.body.pose
    message = robot.send(action, age_s, **changes)
    wait_until(lambda: robot.state_of(message))
    report = robot.state_of(message)
    assert report.state == NavAction.STATE_REFUSED and word in report.detail and report.fault == fault
    assert robot.body.pose == before and robot.command.is_zero


def test_a_blocked_robot_is_reported(start, wait_until) -> None:
    robot = start()
    robot.body.stalled = True
    message = robot.send(MoveForward(0.5))
    wait_until(lambda: robot.state_of(message))
    report = robot.state_of(message)
    assert report.state == NavAction.STATE_ABORTED and report.executed_m == pytest.approx(0.0, abs=0.01)
    assert report.fault == MotionFault.STALLED and report.commanded_m < 0.12


def test_a_new_action_replaces_the_running_one(start, wait_until) -> None:
    robot = start()
    first = moving(robot, wait_until)
    second = robot.send(Turn(math.radians(15)))
    wait_until(lambda: robot.state_of(second))
    assert robot.state_of(second).state == NavAction.STATE_DONE
    assert f"replaced by action {second.id}" in robot.state_of(first).detail


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("control.max_linear_speed", 1.0, "control.max_linear_mps"),
        ("odometry_reliability", "perfect", "best_effort"),
        ("rate_hz", 0.0, "rate_hz = 0.0"),
        ("velocity_type", "twist", "auto, stamped, plain"),
        ("stamped_velocity", True, "unknown parameter 'stamped_velocity'"),
    ],
)
def test_bad_parameters_are_refused(ros, name: str, value, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        ControllerNode([Parameter(name, value=value)])


@pytest.fixture
def parameters(spinner, wait_until):
    return spinner.add(ParameterClient("controller", wait_until))


def test_a_lower_speed_counts_at_once_and_a_higher_one_again(start, wait_until, parameters) -> None:
    robot = start()
    message = moving(robot, wait_until)
    assert parameters.set({"control.max_linear_mps": 0.05}).successful
    seen = robot.commands
    wait_until(lambda: robot.commands > seen + 1 and robot.command.linear_mps <= 0.05, what="a lower speed")
    robot.fastest_mps, seen = 0.0, robot.commands
    wait_until(lambda: robot.commands > seen + 5)
    assert 0.0 < robot.fastest_mps <= 0.05 and robot.state_of(message) is None
    assert parameters.set({"control.max_linear_mps": 0.3}).successful
    wait_until(lambda: robot.state_of(message), what="the motion to end")
    assert robot.state_of(message).state == NavAction.STATE_DONE and robot.fastest_mps > 0.1


def test_what_is_refused_is_told_and_the_motion_goes_on(start, wait_until, parameters) -> None:
    robot = start()
    message = moving(robot, wait_until)
    result = parameters.set({"control.max_linear_mps": 0.0, "control.stall_timeout_s": 5.0})
    assert not result.successful and result.reason == "max_linear_mps = 0.0: must be above 0 and at most 3"
    for values, said in (
        ({"control.max_linear_mps": math.nan}, "out of range"),
        ({"control.max_linear_mps": 1e308}, "out of range"),
        ({"control.max_linear_mps": 1}, "Wrong parameter type"),
        ({"velocity_type": "plain"}, "read-only"),
        ({"no_such": 1.0}, "undeclared parameter"),
    ):
        result = parameters.set(values)
        assert not result.successful and said in result.reason
    assert parameters.get("control.max_linear_mps") == 0.3 and parameters.get("control.stall_timeout_s") == 1.5
    wait_until(lambda: robot.state_of(message), what="the motion to end")
    assert robot.state_of(message).state == NavAction.STATE_DONE, robot.state_of(message)


def test_ranges_are_told(start, parameters) -> None:
    start()
    speed, kind = parameters.describe("control.max_linear_mps", "velocity_type")
    assert [(one.from_value, one.to_value) for one in speed.floating_point_range] == [(0.0, 3.0)]
    assert speed.additional_constraints == "above 0 and at most 3" and not speed.read_only
    assert "m/s" in speed.description and "speed limit" in speed.description
    assert kind.additional_constraints == "one of auto, stamped, plain" and kind.read_only


def test_a_shorter_silence_and_another_rate_count_at_once(start, wait_until, parameters) -> None:
    robot = start(control__odometry_timeout_s=10.0)
    moving(robot, wait_until)
    robot.odometry_on = False
    seen = robot.commands
    wait_until(lambda: robot.commands > seen + 12, what="commands in spite of silence")
    assert not robot.command.is_zero
    assert parameters.set({"control.odometry_timeout_s": 0.5, "rate_hz": 50.0}).successful
    wait_until(lambda: robot.command.is_zero, what="zero velocity")
    wait_until(lambda: MotionFault.ODOMETRY_SILENT in {report.fault for report in robot.reports}, what="its report")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_zero_is_the_last_word_of_a_controller_that_is_told_to_end(
    ros_environment, spinner, wait_until, lateness, number: int
) -> None:
    robot = spinner.add(Robot())
    process = subprocess.Popen(
        NodeSpec("controller", "vila_ros.controller.node", parameters=OURS).command(), env=ros_environment
    )
    try:
        wait_until(robot.ready)
        moving(robot, wait_until)
        asked = time.monotonic()
        process.send_signal(number)
        assert process.wait(HANG_S) == 0
        wait_until(lambda: robot.command.is_zero)
        assert robot.zero_at - asked <= 0.6 + lateness.since(asked)
    finally:
        process.kill()


def test_a_process_with_an_unknown_parameter_says_so_and_ends(ros_environment) -> None:
    spec = NodeSpec("controller", "vila_ros.controller.node", parameters={"control.max_linear_speed": 1.0})
    done = subprocess.run(spec.command(), env=ros_environment, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 2
    assert "control.max_linear_speed" in done.stderr and "did you mean 'control.max_linear_mps'" in done.stderr


def test_a_second_controller_drives_nothing_until_the_first_has_gone(start, spinner, wait_until) -> None:
    robot = start()
    first = next(node for node, _, _ in spinner._running if isinstance(node, ControllerNode))
    second = spinner.add(ControllerNode([Parameter(name, value=value) for name, value in OURS.items()]))
    wait_until(lambda: "another /controller is there" in second._fault())
    assert second._execution is None and first._fault() == ""
    message = moving(robot, wait_until)
    wait_until(lambda: robot.state_of(message))
    assert robot.state_of(message).state == NavAction.STATE_DONE, robot.state_of(message).detail
    spinner.remove(first)
    wait_until(lambda: second._execution is not None, what="the second to take over")
    moving(robot, wait_until)


FORGED = {
    "navigator/action": lambda robot: NavAction(
        header=Header(stamp=stamp_from_ns(robot.now_ns())), id=99, kind=NavAction.KIND_MOVE_FORWARD, distance_m=0.75
    ),
    "navigator/heartbeat": lambda robot: Header(stamp=stamp_from_ns(robot.now_ns())),
    "governor/state": lambda robot: GovernorState(state=GovernorState.STATE_READY, speed_scale=1.0),
}


@pytest.mark.parametrize("topic", FORGED)
def test_what_a_stranger_says_counts_for_nothing_and_ends_the_motion(start, spinner, wait_until, topic: str) -> None:
    robot = start()
    stranger = spinner.add(Node("stranger"))
    forge = FORGED[topic](robot)
    publisher = stranger.create_publisher(type(forge), topic, reliable_qos())
    wait_until(lambda: robot.count_publishers(topic) == 2 and publisher.get_subscription_count())
    message = moving(robot, wait_until)

    def is_over() -> bool:  # what is said before its node is discovered is nobody's
        publisher.publish(forge)
        return robot.state_of(message) is not None

    wait_until(is_over, what="the motion to end")
    report = robot.state_of(message)
    assert (report.state, report.fault) == (NavAction.STATE_ABORTED, MotionFault.STRANGER)
    assert f"/stranger publishes /{topic} too" in report.detail
    wait_until(lambda: robot.command.is_zero)
    assert all(report.state == NavAction.STATE_REFUSED for report in robot.reports if report.id == 99)


def test_a_forged_heartbeat_is_nobodys_life(start, spinner, wait_until) -> None:
    robot = start()
    stranger = spinner.add(Node("stranger"))
    publisher = stranger.create_publisher(Header, "navigator/heartbeat", reliable_qos())
    wait_until(lambda: robot.count_publishers("navigator/heartbeat") == 2 and publisher.get_subscription_count())
    robot.heartbeat_on = False
    forging = stranger.create_timer(PERIOD_S, lambda: publisher.publish(FORGED["navigator/heartbeat"](robot)))
    sent: list[NavAction] = []

    def refused_for(fault: MotionFault) -> bool:
        report = robot.state_of(sent[-1]) if sent else None
        if not sent or report is not None:
            sent.append(robot.send(MoveForward(0.25)))
        return report is not None and report.fault == fault

    wait_until(lambda: refused_for(MotionFault.STRANGER))
    forging.cancel()
    wait_until(lambda: refused_for(MotionFault.HEARTBEAT_LOST))
    assert robot.commands == 0 or robot.command.is_zero
