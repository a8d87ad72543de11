"""Tells when each velocity command came to a base, and where the robot was when: a process that does nothing else.

In one that does more, commands wait on a loaded machine, for a second and longer.
Run as `python -m vila_tools.inject.recorder`.
"""

from __future__ import annotations

import sys
import time

from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from vila_core.types import VelocityCommand
from vila_ros.common.conversions import stamp_from_ns
from vila_ros.common.machine import raise_priority
from vila_ros.common.node_main import run_node
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_ros.common.topics import CMD_VEL
from vila_ros.common.velocity import is_stamped, velocity_from_message, velocity_message, velocity_type
from vila_tools.session.processes import NodeSpec

RECORDED_COMMANDS, RECORDED_ODOMETRY = "inject/commands", "inject/driven"
RECORD_DEPTH = 1000  # records that may wait while the drill is busy
PRIORITY = -10  # as the governor's: it is measured, too
_AGAIN_S = 0.1


def recorder_spec(odometry: str) -> NodeSpec:
    """Return the recorder's process. odometry: the sensor's own topic, which nobody edits."""
    return NodeSpec("recorder", "vila_tools.inject.recorder", remaps={"odom": odometry})


class DrillRecorder(Node):
    """Publishes what it hears again, stamped with the steady time of its receipt; the last command again and again."""

    def __init__(self) -> None:
        super().__init__("inject_recorder", start_parameter_services=False)
        self._command = VelocityCommand()  # without any the base stands
        self._records = self.create_publisher(TwistStamped, RECORDED_COMMANDS, reliable_qos(RECORD_DEPTH))
        self._driven = self.create_publisher(Odometry, RECORDED_ODOMETRY, reliable_qos(RECORD_DEPTH))
        self.create_subscription(Odometry, "odom", self._on_odometry, sensor_qos(depth=50))
        self.create_subscription(velocity_type(is_stamped("auto")), CMD_VEL, self._on_velocity, reliable_qos(50))
        self.create_timer(_AGAIN_S, self._record, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_velocity(self, message: Twist | TwistStamped) -> None:
        self._command = velocity_from_message(message)
        self._record()

    def _on_odometry(self, message: Odometry) -> None:
        message.header.stamp = stamp_from_ns(time.monotonic_ns())
        self._driven.publish(message)

    def _record(self) -> None:
        stamp = stamp_from_ns(time.monotonic_ns())
        self._records.publish(velocity_message(self._command, True, stamp, "base_link"))


def make_node() -> Node:
    """Make the node in a process of its own, which is run before others where that is allowed."""
    raise_priority(PRIORITY)
    return DrillRecorder()


if __name__ == "__main__":
    sys.exit(run_node(make_node, "recorder"))
