"""The controller: turns actions into velocities, closed loop on odometry, and stands still when in doubt.

It is a process of its own, so that a navigator that crashes, hangs or lies cannot keep the robot moving:
a motion ends when the navigator's heartbeat or the odometry goes silent, when odometry can't be that of this robot,
when the governor lets nothing pass, when somebody else speaks for one of them, or when this process was held up; and
nothing resumes it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist, TwistStamped
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from std_msgs.msg import Header
from vila_nav.msg import GovernorState, NavAction

from vila_core.config import ControlConfig, check_fields
from vila_core.control.limits import action_refusal
from vila_core.control.motion.controller import MotionController
from vila_core.control.motion.pace import MotionPacing
from vila_core.control.motion.step import MotionState, MotionStep
from vila_core.control.reasons import MotionFault
from vila_core.control.watchdog import Doubt, GovernorWatch, HoldUpWatch, Receipt, decision_refusal, silence
from vila_core.fields import AT_ONCE, Bounds, OneOf
from vila_core.types import Action, Odometry, Stop, VelocityCommand
from vila_ros.common.authority import Authority
from vila_ros.common.conversions import (
    ODOMETRY_TWISTS,
    action_from_message,
    ns_from_stamp,
    report_on,
)
from vila_ros.common.diagnostics import readiness_array
from vila_ros.common.node_clock import NodeClock
from vila_ros.common.node_main import run_node
from vila_ros.common.only_one import PATIENCE_S, OnlyOne
from vila_ros.common.parameters import RunningParameters, declare, read, refuse_unknown
from vila_ros.common.qos import RELIABILITIES, publisher_events, reliable_qos
from vila_ros.common.topics import ACTIONS, CMD_VEL, COMMANDS, GOVERNOR_STATE, NAVIGATOR_HEARTBEAT
from vila_ros.common.velocity import (
    VELOCITY_TYPES,
    is_stamped,
    velocity_from_message,
    velocity_message,
    velocity_type,
)
from vila_ros.controller.odometry_input import OdometryInput

_STANDING = MotionStep(VelocityCommand(), MotionState.IDLE)
_WARN_EVERY_S = 5.0
_QUIET_AFTER_S = 1.0  # zeros are published for so long after a motion, then nothing: others may drive


@dataclass(frozen=True, slots=True)
class ControllerNodeConfig:
    """The parameters of the controller node that are not the motion controller's own (`control.*`)."""

    rate_hz: Annotated[float, Bounds(least=10, most=200), AT_ONCE] = 20.0  # of velocity commands during a motion
    # of reports while a motion runs
    report_rate_hz: Annotated[float, Bounds(least=0.1, most=200), AT_ONCE] = 5.0
    # stamped, plain, or auto: as usual in this distribution, stamped from Jazzy on
    velocity_type: Annotated[str, OneOf(VELOCITY_TYPES)] = "auto"
    base_frame: str = "base_link"  # frame_id of stamped velocities
    # of our end of odometry; reliable where the odometry is
    odometry_reliability: Annotated[str, OneOf(tuple(RELIABILITIES))] = "best_effort"
    # axes of odometry's velocity: body, as ROS has it; or world, those of its frame_id
    odometry_twist: Annotated[str, OneOf(ODOMETRY_TWISTS)] = "body"
    navigator: str = "navigator"  # name of the node whose actions and heartbeat count
    governor: str = "governor"  # name of the node whose state counts

    def __post_init__(self) -> None:
        check_fields(self)


class ControllerNode(Node):
    """Subscribes to odometry, actions, the heartbeat and the governor; owns cmd_vel_nav."""

    def __init__(self, parameter_overrides: Sequence[Parameter] = ()) -> None:
        self._execution: Publisher | None = None  # made by the first fresh odometry: then we are ready
        self._is_closed = True  # there is nothing to close before the publishers are there
        super().__init__("controller", parameter_overrides=list(parameter_overrides))
        refuse_unknown(self, (*declare(self, ControllerNodeConfig), *declare(self, ControlConfig, "control")))
        running = RunningParameters(self)
        self._config = read(self, ControllerNodeConfig)
        self._control = read(self, ControlConfig, "control")
        self._motion = MotionController(self._control)
        self._clock_watch = NodeClock(self, min(self._control.odometry_timeout_s, self._control.heartbeat_timeout_s))
        self._pace = MotionPacing()
        self._hold_up = HoldUpWatch(time.monotonic_ns())
        self._governor = GovernorWatch(self._control.governor_timeout_s)
        self._heartbeat: Receipt | None = None
        self._running: NavAction | None = None
        self._reported_ns = self._commanded_ns = 0
        self._is_stamped = is_stamped(self._config.velocity_type)
        events = publisher_events(self, COMMANDS)
        kind = velocity_type(self._is_stamped)
        self._velocity = self.create_publisher(kind, COMMANDS, reliable_qos(1), event_callbacks=events)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", reliable_qos())
        self._is_closed = False
        self._only_one = OnlyOne(self)
        self._earlier = ""  # who else bears our name
        navigator, governor = self._config.navigator, self._config.governor
        publishers = {ACTIONS: navigator, NAVIGATOR_HEARTBEAT: navigator, GOVERNOR_STATE: governor}
        self._authority = Authority(self, publishers, self._on_stranger)
        self._subscribe()
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # it runs on when simulated time stands still
        self._timer = self.create_timer(1.0 / self._config.rate_hz, self._on_timer, clock=steady)
        self.create_timer(1.0, self._on_diagnostics, clock=steady)
        running.follow(ControllerNodeConfig, self._use_config)
        running.follow(ControlConfig, self._use_control, "control")

    def _use_config(self, config: ControllerNodeConfig) -> None:
        self._config = config
        self._timer.timer_period_ns = round(1e9 / config.rate_hz)

    def _use_control(self, control: ControlConfig) -> None:
        self._control = control
        self._motion.reconfigure(control)
        self._clock_watch.hold_to(min(control.odometry_timeout_s, control.heartbeat_timeout_s))
        self._odometry.hold_to(control.odometry_timeout_s)
        self._governor.timeout_s = control.governor_timeout_s

    def close(self) -> None:
        """Abort the motion and send zero velocity; calls after the first do nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._end(Doubt(MotionFault.REPLACED, "the controller shuts down"))
        for _ in range(3):
            self._publish_velocity(VelocityCommand())
        self._velocity.wait_for_all_acked(Duration(seconds=0.2))
        self._clock_watch.close()
        self._only_one.close()

    def destroy_node(self) -> None:
        """Close, then leave the graph."""
        self.close()
        super().destroy_node()

    def _subscribe(self) -> None:
        self._odometry = OdometryInput(
            self,
            self._clock_watch,
            self._control.odometry_timeout_s,
            reliability=self._config.odometry_reliability,
            twist=self._config.odometry_twist,
            speeds=self._motion.path.speeds,
            on_doubt=self._end,
            on_odometry=self._on_odometry,
        )
        self.create_subscription(Header, NAVIGATOR_HEARTBEAT, self._on_heartbeat, reliable_qos(1))
        self.create_subscription(GovernorState, GOVERNOR_STATE, self._on_governor, reliable_qos(1))
        self.create_subscription(velocity_type(self._is_stamped), CMD_VEL, self._on_passed, reliable_qos(5))

    def _announce(self) -> None:
        """Take actions from now on; that ~/execution has a publisher tells the navigator so."""
        self._earlier = self._only_one.earlier(PATIENCE_S)
        if self._earlier:
            return
        self.create_subscription(NavAction, ACTIONS, self._on_action, reliable_qos())
        self._execution = self.create_publisher(NavAction, "~/execution", reliable_qos())

    def _on_odometry(self, odometry: Odometry) -> None:
        self._motion.path.measure(odometry)
        if self._execution is None and self._odometry.is_fresh and not self._fault():
            self._announce()

    def _on_stranger(self, detail: str) -> None:
        """Stand still, and say so: who forges one message may forge the next."""
        self.get_logger().error(f"not obeyed: {detail}", throttle_duration_sec=_WARN_EVERY_S)
        self._end(Doubt(MotionFault.STRANGER, detail))

    def _on_heartbeat(self, message: Header, info: Mapping[str, Any]) -> None:
        if self._authority.accepts(NAVIGATOR_HEARTBEAT, info):
            self._heartbeat = Receipt(ns_from_stamp(message.stamp), time.monotonic_ns())

    def _on_passed(self, message: Twist | TwistStamped) -> None:
        """Take what the governor lets pass: where it slows or ramps, the base gets less than was commanded."""
        self._motion.pass_on(velocity_from_message(message), self._now_ns())

    def _on_governor(self, message: GovernorState, info: Mapping[str, Any]) -> None:
        if not self._authority.accepts(GOVERNOR_STATE, info):
            return
        if not self._governor.was_heard:
            self._motion.pass_on(VelocityCommand(), self._now_ns())
        self._governor.note(message.state, message.reason, message.speed_scale, time.monotonic_ns())

    def _on_action(self, message: NavAction, info: Mapping[str, Any]) -> None:
        """Execute, or refuse and stand still; a running motion is replaced either way."""
        self._end_if_held_up(is_tick=False)
        not_theirs = self._authority.refusal(ACTIONS, info)
        self._replace(message)
        if not_theirs:
            self._refuse(message, Doubt(MotionFault.STRANGER, not_theirs))
            return
        try:
            action = action_from_message(message)
        except ValueError as err:
            self._refuse(message, Doubt(MotionFault.BAD_ACTION, str(err)))
            return
        if action is None or isinstance(action, Stop):
            self._stand(message, is_stop=action is not None)
            return
        refusal = self._begin(action, message)
        if refusal:
            self._refuse(message, refusal)

    def _replace(self, message: NavAction) -> None:
        """Report the running motion as replaced; one of another mission is ended by zero velocity."""
        doubt = Doubt(MotionFault.REPLACED, f"replaced by action {message.id}")
        if self._running is None or self._running.mission_id != message.mission_id:
            self._end(doubt)
            return
        replaced, self._running = self._running, None
        self._report(replaced, NavAction.STATE_ABORTED, self._motion.last, doubt)

    def _begin(self, action: Action, message: NavAction) -> Doubt | None:
        """Start the motion; returns why not, or None."""
        now_ns, steady_ns, stamp_ns = self._now_ns(), time.monotonic_ns(), ns_from_stamp(message.header.stamp)
        self._governor.begin(steady_ns)
        refusal = (
            _doubt(MotionFault.BAD_ACTION, action_refusal(action, self._control))
            or self._hold_up.queued(steady_ns)
            or decision_refusal(stamp_ns, now_ns, self._control, self._clock_watch.max_future_s)
            or self._odometry.break_since(stamp_ns)
            or self._silence(now_ns)
        )
        if refusal:
            return refusal
        try:
            anchor = self._odometry.poses.at(stamp_ns)
        except LookupError as err:
            is_late = self._odometry.poses.begins_after(stamp_ns)
            fault = MotionFault.LATE if is_late else MotionFault.ODOMETRY_SILENT
            return Doubt(fault, f"no pose for the image's stamp: {err}")
        self._motion.start(action, anchor, now_ns, self._pace.begin(message.mission_id, stamp_ns, now_ns))
        self._running, self._reported_ns = message, 0
        return None

    def _stand(self, message: NavAction, *, is_stop: bool) -> None:
        self._pace.end(self._now_ns())
        self._motion.abort("stop" if is_stop else "hold")
        self._command(VelocityCommand())
        self._report(message, NavAction.STATE_DONE)

    def _refuse(self, message: NavAction, doubt: Doubt) -> None:
        self.get_logger().warning(f"action {message.id} refused: {doubt.detail}")
        self._pace.end(self._now_ns())
        self._motion.abort(doubt.detail, doubt.fault)
        self._command(VelocityCommand())
        self._report(message, NavAction.STATE_REFUSED, _STANDING, doubt)

    def _on_timer(self) -> None:
        self._end_if_held_up(is_tick=True)
        command = self._next_command()
        if not command.is_zero or self._running is not None:
            self._command(command)
        elif time.monotonic_ns() - self._commanded_ns < _QUIET_AFTER_S * 1e9:
            self._publish_velocity(command)

    def _end_if_held_up(self, *, is_tick: bool) -> None:
        steady_ns = time.monotonic_ns()
        doubt = self._hold_up.tick(steady_ns) if is_tick else self._hold_up.notice(steady_ns)
        if doubt is not None:
            self._end(doubt)

    def _on_diagnostics(self) -> None:
        self._earlier = self._only_one.earlier()
        if stranger := self._authority.foreign():
            self._on_stranger(stranger)
        fault = self._fault()
        if fault:
            self.get_logger().error(f"not ready: {fault}", throttle_duration_sec=_WARN_EVERY_S)
        waits = "waiting for fresh odometry" if self._execution is None else "ready"
        stamp, name = self.get_clock().now().to_msg(), self.get_fully_qualified_name()
        self._diagnostics.publish(readiness_array(name, stamp, fault, waits, {"clock": self._clock_watch.describe()}))

    def _next_command(self) -> VelocityCommand:
        newest, now_ns = self._odometry.poses.newest, self._now_ns()
        doubt = self._silence(now_ns) if self._running is not None else None
        if doubt is not None:
            self._end(doubt)
        if self._running is None or newest is None:
            self._motion.rest(now_ns)
            return VelocityCommand()
        return self._step(newest, now_ns)

    def _step(self, odometry: Odometry, now_ns: int) -> VelocityCommand:
        assert self._running is not None
        step = self._motion.step(odometry, now_ns, self._clock_watch.max_future_s, self._governor.speed_share)
        if step.state is MotionState.RUNNING:
            self._report_running(step)
            return step.command
        state = NavAction.STATE_DONE if step.state is MotionState.DONE else NavAction.STATE_ABORTED
        message, self._running = self._running, None
        self._pace.end(now_ns)
        self._report(message, state, step)
        return VelocityCommand()

    def _silence(self, now_ns: int) -> Doubt | None:
        steady_ns = time.monotonic_ns()
        return (
            _doubt(MotionFault.NOT_ALONE, self._earlier)
            or _doubt(MotionFault.STRANGER, self._authority.recent)
            or _doubt(MotionFault.CLOCK, self._fault())
            or silence(
                self._odometry.receipt,
                self._heartbeat,
                now_ns=now_ns,
                steady_ns=steady_ns,
                config=self._control,
                max_future_s=self._clock_watch.max_future_s,
            )
            or self._governor.doubt(steady_ns)
        )

    def _fault(self) -> str:
        """Return what is wrong: with the clock, the stamps of odometry, another controller; empty if nothing is."""
        return self._clock_watch.fault() or self._odometry.fault or self._earlier

    def _end(self, doubt: Doubt) -> None:
        """Abort the running motion, if there is one, with zero velocity and a report."""
        if self._running is None:
            return
        message, self._running = self._running, None
        self._pace.end(self._now_ns())
        step = self._motion.abort(doubt.detail, doubt.fault)
        self._command(VelocityCommand())
        self._report(message, NavAction.STATE_ABORTED, step)

    def _report_running(self, step: MotionStep) -> None:
        steady_ns = time.monotonic_ns()
        if self._running is not None and steady_ns - self._reported_ns >= 1e9 / self._config.report_rate_hz:
            self._reported_ns = steady_ns
            self._report(self._running, NavAction.STATE_RUNNING, step)

    def _report(self, message: NavAction, state: int, step: MotionStep = _STANDING, doubt: Doubt | None = None) -> None:
        fault, detail = (step.fault, step.detail) if doubt is None else (doubt.fault, doubt.detail)
        report = report_on(message, state, int(fault), detail)
        report.executed_m, report.executed_rad = float(step.executed_m), float(step.executed_rad)
        report.commanded_m, report.commanded_rad = float(step.commanded_m), float(step.commanded_rad)
        if self._execution is not None:
            self._execution.publish(report)

    def _command(self, command: VelocityCommand) -> None:
        """Publish a command of a motion, or the zero that ends one."""
        self._commanded_ns = time.monotonic_ns()
        self._publish_velocity(command)

    def _publish_velocity(self, command: VelocityCommand) -> None:
        stamp = self.get_clock().now().to_msg()
        self._velocity.publish(velocity_message(command, self._is_stamped, stamp, self._config.base_frame))

    def _now_ns(self) -> int:
        return self._clock_watch.now_ns()


def _doubt(fault: MotionFault, detail: str | None) -> Doubt | None:
    return Doubt(fault, detail) if detail else None


def main() -> int:
    """Run the controller until it is told to end."""
    return run_node(ControllerNode, "controller", takes_images=False)


if __name__ == "__main__":
    sys.exit(main())
