"""The watchdog: publishes zero velocity when the governor's heartbeat is gone, and is silent while it lives.

It is a process of its own, so small that little can end it. It also remembers the emergency stop for a governor that is
started again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import Header
from vila_nav.msg import GovernorState

from vila_core.config import check_fields
from vila_core.control.reasons import StopReason
from vila_core.fields import AT_ONCE, Bounds, OneOf
from vila_core.types import VelocityCommand
from vila_ros.common.node_main import run_early, run_node
from vila_ros.common.parameters import RunningParameters, declare, read, refuse_unknown
from vila_ros.common.qos import reliable_qos
from vila_ros.common.topics import CMD_VEL, GOVERNOR_STATE, REMEMBERED_EMERGENCY
from vila_ros.common.velocity import VELOCITY_TYPES, is_stamped, velocity_message, velocity_type

_PERIOD_S = 0.05


@dataclass(frozen=True, slots=True)
class WatchdogConfig:
    """The parameters of the watchdog node."""

    # a governor that is silent for longer is gone
    timeout_s: Annotated[float, Bounds(above=_PERIOD_S, most=10), AT_ONCE] = 0.25
    # zeros are published for so long after the governor is gone
    stop_publish_s: Annotated[float, Bounds(least=0.1, most=3600), AT_ONCE] = 2.0
    # of cmd_vel: stamped, plain, or auto, as the ROS distribution has it
    velocity_type: Annotated[str, OneOf(VELOCITY_TYPES)] = "auto"
    base_frame: str = "base_link"  # frame_id of stamped velocities
    # of the process, as `nice` counts: the lower the sooner it is run; where it is not allowed, that is told
    priority: Annotated[int, Bounds(least=-20, most=19)] = -10

    def __post_init__(self) -> None:
        check_fields(self)


class WatchdogNode(Node):
    """Hears the governor's state, tells it of its own life, and zeroes cmd_vel in its place."""

    def __init__(self, parameter_overrides: Sequence[Parameter] = ()) -> None:
        super().__init__("watchdog", parameter_overrides=list(parameter_overrides))
        refuse_unknown(self, declare(self, WatchdogConfig))
        self._use_config(read(self, WatchdogConfig))
        RunningParameters(self).follow(WatchdogConfig, self._use_config)
        self._stamped = is_stamped(self._config.velocity_type)
        self._velocity = self.create_publisher(velocity_type(self._stamped), CMD_VEL, reliable_qos(1))
        self._heartbeat = self.create_publisher(Header, "~/heartbeat", reliable_qos(1))
        self._heard_ns: int | None = None  # steady time of the governor's last state, None before the first
        self.remembers_emergency = False  # of the emergency stop, as the governor last told
        self._is_gone = False
        self.create_subscription(GovernorState, GOVERNOR_STATE, self._on_state, reliable_qos(1))
        self.create_timer(_PERIOD_S, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _use_config(self, config: WatchdogConfig) -> None:
        self._config = config

    def _on_state(self, message: GovernorState) -> None:
        self._heard_ns = time.monotonic_ns()
        knows_us = message.reason != StopReason.WATCHDOG_LOST  # one that was just started has yet to hear from us
        if message.emergency_stop or knows_us:
            self.remembers_emergency = message.emergency_stop
        if self._is_gone:
            self.get_logger().warning("the governor is back")
            self._is_gone = False

    def _on_timer(self) -> None:
        stamp = self.get_clock().now().to_msg()
        self._heartbeat.publish(Header(stamp=stamp, frame_id=REMEMBERED_EMERGENCY if self.remembers_emergency else ""))
        if self._heard_ns is None:
            return
        silent_s = (time.monotonic_ns() - self._heard_ns) / 1e9
        if not self._config.timeout_s < silent_s < self._config.timeout_s + self._config.stop_publish_s:
            return
        if not self._is_gone:
            self.get_logger().error(f"the governor has been silent for {silent_s:.2f} s: zero velocity")
            self._is_gone = True
        self._velocity.publish(velocity_message(VelocityCommand(), self._stamped, stamp, self._config.base_frame))


def make_node() -> Node:
    """Make the node, in a process of its own that is run before others."""
    return run_early(WatchdogNode())


def main() -> int:
    """Run the watchdog until it is told to end."""
    return run_node(make_node, "watchdog")


if __name__ == "__main__":
    sys.exit(main())
