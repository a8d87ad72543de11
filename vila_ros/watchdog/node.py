"""The watchdog: publishes zero velocity when the governor's heartbeat is gone, and is silent while it lives.

It is a process of its own, so small that little can end it. It also remembers the emergency stop for a governor that is
started again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from builtin_interfaces.msg import Time
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import Header
from vila_nav.msg import GovernorState

from vila_core.config import check_fields
from vila_core.control.reasons import StopReason
from vila_core.fields import AT_ONCE, Bounds, OneOf
from vila_core.types import VelocityCommand
from vila_ros.common.authority import Authority
from vila_ros.common.node_main import run_early, run_node
from vila_ros.common.parameters import RunningParameters, declare, read, refuse_unknown
from vila_ros.common.qos import reliable_qos
from vila_ros.common.topics import CMD_VEL, GOVERNOR_STATE, REMEMBERED_EMERGENCY
from vila_ros.common.velocity import VELOCITY_TYPES, is_stamped, velocity_message, velocity_type

_PERIOD_S = 0.05
_HELD_UP_NS = 500_000_000  # between two ticks: this process was not run


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
    governor: str = "governor"  # name of the node that is watched, in this namespace
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
        self._gone_ns: int | None = None  # since when it is gone, None while it lives
        self._ticked_ns = time.monotonic_ns()
        self._authority = Authority(self, {GOVERNOR_STATE: self._config.governor}, self._on_stranger)
        self.create_subscription(GovernorState, GOVERNOR_STATE, self._on_state, reliable_qos(1))
        self.create_timer(_PERIOD_S, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _use_config(self, config: WatchdogConfig) -> None:
        self._config = config

    def _on_state(self, message: GovernorState, info: Mapping[str, Any]) -> None:
        if not self._authority.accepts(GOVERNOR_STATE, info):
            return
        self._heard_ns = time.monotonic_ns()
        knows_us = message.reason != StopReason.WATCHDOG_LOST  # one that was just started has yet to hear from us
        if message.emergency_stop or knows_us:
            self.remembers_emergency = message.emergency_stop
        if self._gone_ns is not None:
            self.get_logger().warning("the governor is back")
            self._gone_ns = None

    def _on_stranger(self, detail: str) -> None:
        self.get_logger().error(f"it does not count as the governor's life: {detail}", throttle_duration_sec=5.0)

    def _on_timer(self) -> None:
        """Zero first, then tell of our life: what hinders that must not hinder zero."""
        stamp, now_ns = self.get_clock().now().to_msg(), time.monotonic_ns()
        was_held_up, self._ticked_ns = now_ns - self._ticked_ns > _HELD_UP_NS, now_ns
        if was_held_up and self._gone_ns is None:
            self._heartbeat_at(stamp)  # what the governor said meanwhile is still to be heard
            return
        if self._is_gone(now_ns):
            self._velocity.publish(velocity_message(VelocityCommand(), self._stamped, stamp, self._config.base_frame))
        self._heartbeat_at(stamp)

    def _is_gone(self, now_ns: int) -> bool:
        """Return True while zeros are to be published: from when the governor is missed on, for some time."""
        if self._heard_ns is None:
            return False
        silent_s = (now_ns - self._heard_ns) / 1e9
        if silent_s <= self._config.timeout_s:
            return False
        if self._gone_ns is None:
            self.get_logger().error(f"the governor has been silent for {silent_s:.2f} s: zero velocity")
            self._gone_ns = now_ns
        return now_ns - self._gone_ns < self._config.stop_publish_s * 1e9

    def _heartbeat_at(self, stamp: Time) -> None:
        self._heartbeat.publish(Header(stamp=stamp, frame_id=REMEMBERED_EMERGENCY if self.remembers_emergency else ""))


def make_node() -> Node:
    """Make the node, in a process of its own that is run before others."""
    return run_early(WatchdogNode())


def main() -> int:
    """Run the watchdog until it is told to end."""
    return run_node(make_node, "watchdog", takes_images=False)


if __name__ == "__main__":
    sys.exit(main())
