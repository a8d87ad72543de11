"""The governor: the only publisher of cmd_vel, between the controller and the base.

It imports neither torch nor the model, is quick to start, and does little in each callback: what is heard is noted,
what passes is said by the timer alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist, TwistStamped
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import Bool, Header
from vila_nav.msg import GovernorState as StateMsg
from vila_nav.msg import Mission, NavAction

from vila_core.config import StrainConfig
from vila_core.control.governor.config import GovernorConfig
from vila_core.control.governor.governor import Governor, GovernorOutput, GovernorState
from vila_core.control.governor.obstacle_config import ObstacleConfig
from vila_core.control.governor.obstacles import ObstacleGuard
from vila_core.control.reasons import StopReason
from vila_core.types import VelocityCommand
from vila_ros.common.authority import Authority, foreign_publishers, full_name
from vila_ros.common.conversions import action_from_message, ns_from_stamp
from vila_ros.common.diagnostics import readiness_array
from vila_ros.common.node_main import run_early, run_node
from vila_ros.common.only_one import OnlyOne
from vila_ros.common.parameters import RunningParameters, declare, read, refuse_unknown
from vila_ros.common.qos import latched_qos, publisher_events, reliable_qos, subscription_events
from vila_ros.common.strain_reader import StrainReader
from vila_ros.common.topics import ACTIONS, CMD_VEL, COMMANDS, MISSIONS, REMEMBERED_EMERGENCY, WATCHDOG_HEARTBEAT
from vila_ros.common.velocity import is_stamped, velocity_from_message, velocity_message, velocity_type
from vila_ros.governor.config import GovernorNodeConfig
from vila_ros.governor.obstacle_sources import ObstacleSources
from vila_ros.governor.operator import Operator
from vila_ros.governor.pace import Pace

_STATE_PERIOD_NS = 45_000_000  # 20 Hz, by a timer that may come a little early


class GovernorNode(Node):
    """Subscribes to what the controller commands and to who may stop it; owns cmd_vel."""

    def __init__(self, parameter_overrides: Sequence[Parameter] = ()) -> None:
        self._is_closed = True
        super().__init__("governor", parameter_overrides=list(parameter_overrides))
        names = declare(self, GovernorNodeConfig) + declare(self, GovernorConfig, "limits")
        names += declare(self, ObstacleConfig, "obstacles") + declare(self, StrainConfig, "machine")
        refuse_unknown(self, names)
        running = RunningParameters(self)
        self._config = read(self, GovernorNodeConfig)
        self._stamped = is_stamped(self._config.velocity_type)
        obstacles = read(self, ObstacleConfig, "obstacles")
        self._guard, limits = ObstacleGuard(obstacles), read(self, GovernorConfig, "limits")
        self._governor = Governor(limits, self._guard.limit, needs_watchdog=self._config.needs_watchdog)
        self._output: GovernorOutput | None = None
        self._told: tuple[GovernorState, StopReason] | None = None
        self._state_ns = 0
        self._heard_watchdog, self._pace = False, Pace()
        self._only_one, self._earlier = OnlyOne(self), ""  # who else bears our name
        self._publish_topics()
        config = self._config
        publishers = {ACTIONS: config.navigator, MISSIONS: config.navigator, COMMANDS: config.controller}
        self._authority = Authority(
            self, publishers | {WATCHDOG_HEARTBEAT: config.watchdog}, self._governor.on_stranger
        )
        self._subscribe()
        self._sources = ObstacleSources(self, obstacles, self._guard.note)
        self._strain = StrainReader(read(self, StrainConfig, "machine"))
        self._operator = Operator(self, config, self._governor, self._on_timer, stamped=self._stamped)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # it runs on when simulated time stands still
        self._timer = self.create_timer(1.0 / config.rate_hz, self._on_timer, clock=steady)
        self.create_timer(0.5, self._on_check, clock=steady)
        self.create_timer(1.0, self._on_diagnostics, clock=steady)
        running.follow(GovernorNodeConfig, self._use_config)
        running.follow(GovernorConfig, self._governor.reconfigure, "limits")
        running.follow(ObstacleConfig, self._use_obstacles, "obstacles")
        self._is_closed = False

    def _use_config(self, config: GovernorNodeConfig) -> None:
        self._config = config
        self._timer.timer_period_ns = round(1e9 / config.rate_hz)

    def _use_obstacles(self, config: ObstacleConfig) -> None:
        self._guard.reconfigure(config)
        self._sources.reconfigure(config)

    def close(self) -> None:
        """Send zero velocity; calls after the first do nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._strain.close()
        self._lock.publish(Bool(data=True))
        for _ in range(3):
            self._publish_velocity(VelocityCommand())
        self._velocity.wait_for_all_acked(Duration(seconds=0.2))
        self._only_one.close()

    def destroy_node(self) -> None:
        """Close, then leave the graph."""
        self.close()
        super().destroy_node()

    def _publish_topics(self) -> None:
        events = publisher_events(self, CMD_VEL)
        self._velocity = self.create_publisher(
            velocity_type(self._stamped), CMD_VEL, reliable_qos(1), event_callbacks=events
        )
        self._states = self.create_publisher(StateMsg, "~/state", reliable_qos(1))
        self._lock = self.create_publisher(Bool, "~/lock", latched_qos())
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", reliable_qos())

    def _subscribe(self) -> None:
        for kind, topic, callback, depth in (
            (Mission, MISSIONS, self._on_mission, 10),
            (NavAction, ACTIONS, self._on_action, 10),
            (velocity_type(self._stamped), COMMANDS, self._on_command, 1),
            (Header, WATCHDOG_HEARTBEAT, self._on_watchdog, 1),
        ):
            events = subscription_events(self, topic)
            self.create_subscription(kind, topic, callback, reliable_qos(depth), event_callbacks=events)

    # --- what is heard ---------------------------------------------------------------------------

    def _on_mission(self, message: Mission, info: Mapping[str, Any]) -> None:
        if self._authority.accepts(MISSIONS, info):
            self._governor.on_mission(message.id, running=message.running, steady_ns=time.monotonic_ns())

    def _on_action(self, message: NavAction, info: Mapping[str, Any]) -> None:
        if not self._authority.accepts(ACTIONS, info):
            return
        try:
            action = action_from_message(message)
        except ValueError:
            action = None  # nothing may be driven for it
        self._governor.on_action(message.mission_id, action, ns_from_stamp(message.header.stamp))

    def _on_command(self, message: Twist | TwistStamped, info: Mapping[str, Any]) -> None:
        if not self._authority.accepts(COMMANDS, info):
            return
        twist = message.twist if isinstance(message, TwistStamped) else message
        linear, angular = twist.linear, twist.angular
        is_planar = linear.y == linear.z == angular.x == angular.y == 0.0  # false for NaN too
        self._governor.on_command(velocity_from_message(message), time.monotonic_ns(), is_planar=is_planar)

    def _on_watchdog(self, message: Header, info: Mapping[str, Any]) -> None:
        if not self._authority.accepts(WATCHDOG_HEARTBEAT, info):
            return
        if not self._heard_watchdog and message.frame_id == REMEMBERED_EMERGENCY:
            self._operator.press("watchdog", "it was pressed before the governor was started again")
        self._heard_watchdog = True
        self._governor.on_watchdog(time.monotonic_ns())

    # --- timers ----------------------------------------------------------------------------------

    def _on_timer(self) -> None:
        """Say what passes, and publish it."""
        steady_ns = time.monotonic_ns()
        self._pace.note(steady_ns, self._timer.timer_period_ns)
        output = self._output = self._governor.tick(steady_ns, self.get_clock().now().nanoseconds)
        if output.command is not None:
            self._publish_velocity(output.command)
        told = (output.state, output.reason)
        if told != self._told or steady_ns - self._state_ns > _STATE_PERIOD_NS:
            self._publish_state(output, steady_ns)
        if told != self._told:
            self._log(output)
            self._told = told

    def _on_check(self) -> None:
        """Look at the machine, and who else publishes; twice a second, as the graph tells nobody of changes."""
        self._earlier = self._only_one.earlier()
        if self._earlier:
            self._governor.on_stranger(self._earlier)
        strain = self._strain.verdict
        self._governor.on_machine(strain.speed_scale, strain.text)
        if self._config.publishes_alone:
            own = {self.get_fully_qualified_name(), full_name(self, self._config.watchdog)}
            if text := foreign_publishers(self, CMD_VEL, own):
                self._governor.on_stranger(text)
        if text := self._authority.foreign():
            self._governor.on_stranger(text)

    def _on_diagnostics(self) -> None:
        output = self._output
        if output is None:
            return
        is_revoked = output.state is GovernorState.REVOKED
        fault = self._earlier or (output.detail if is_revoked else self._guard.missing(time.monotonic_ns()))
        fault = fault or self._operator.unheard()
        values = {
            "state": output.state.name,
            "reason": output.reason.name,
            "detail": output.detail,
            "refused": self._governor.refused,
            "sensors": self._sources.faults(),
            **self._pace.told(),
            "machine": f"{self._strain.verdict.level.name}: {self._strain.verdict.text}",
        }
        stamp, name = self.get_clock().now().to_msg(), self.get_fully_qualified_name()
        self._diagnostics.publish(readiness_array(name, stamp, fault, output.state.name.lower(), values))

    def _publish_velocity(self, command: VelocityCommand) -> None:
        stamp = self.get_clock().now().to_msg()
        self._velocity.publish(velocity_message(command, self._stamped, stamp, self._config.base_frame))

    def _publish_state(self, output: GovernorOutput, steady_ns: int) -> None:
        self._state_ns = steady_ns
        commanded_m, commanded_rad = self._governor.commanded
        message = StateMsg(
            state=int(output.state),
            reason=int(output.reason),
            detail=output.detail,
            mission_id=self._governor.mission_id,
            emergency_stop=bool(self._governor.emergency),
            speed_scale=float(output.scale),
            commanded_m=float(commanded_m),
            commanded_rad=float(commanded_rad),
            refused=self._governor.refused,
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._states.publish(message)
        self._lock.publish(Bool(data=output.is_locked))

    def _log(self, output: GovernorOutput) -> None:
        if output.state is GovernorState.REVOKED:
            self.get_logger().error(f"the mission is over, {output.reason.name}: {output.detail}")
        elif output.state is GovernorState.STOPPED and output.reason is not StopReason.NO_COMMAND:
            self.get_logger().warning(f"the robot stands, {output.reason.name}: {output.detail}")


def make_node() -> Node:
    """Make the node, in a process of its own that is run before others."""
    return run_early(GovernorNode())


def main() -> int:
    """Run the governor until it is told to end."""
    return run_node(make_node, "governor")


if __name__ == "__main__":
    sys.exit(main())
