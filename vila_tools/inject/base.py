"""The drill's own robot: a base that obeys its last velocity for ever, with odometry, a camera and a scanner.

Run as `python -m vila_tools.inject.base`.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock as ClockMsg
from sensor_msgs.msg import Image, LaserScan
from std_msgs.msg import Header

from vila_core.testing import Unicycle
from vila_core.types import Frame, Odometry, VelocityCommand
from vila_ros.common.conversions import image_from_frame, message_from_odometry, stamp_from_ns
from vila_ros.common.machine import raise_priority
from vila_ros.common.node_main import run_node
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_ros.common.velocity import is_stamped, velocity_from_message, velocity_type
from vila_ros.simulator.lasers import scan_message
from vila_tools.inject.corridor import Corridor
from vila_tools.inject.recorder import PRIORITY
from vila_tools.session.processes import NodeSpec

SENSORS = {"image": "sensors/image_raw", "odom": "sensors/odom", "scan": "sensors/scan"}
SIMULATED_CLOCK = "sensors/clock"
_ODOMETRY_HZ, _IMAGE_HZ, _SCAN_HZ = 50.0, 15.0, 10.0
_RAYS, _FREE_M = 180, 4.0


class Base(Node):
    """Publishes on the topics of SENSORS; with the parameter `simulated` on SIMULATED_CLOCK too, and stamps by it."""

    def __init__(self) -> None:
        super().__init__("inject_base", parameter_overrides=[Parameter("use_sim_time", value=False)])
        simulated = bool(self.declare_parameter("simulated", False).value)
        self._body, self._command, self._corridor = Unicycle(), VelocityCommand(), Corridor()
        self._moved_s, self._start_ns = time.monotonic(), time.monotonic_ns()
        self._odometry = self.create_publisher(OdometryMsg, SENSORS["odom"], reliable_qos())
        self._images = self.create_publisher(Image, SENSORS["image"], sensor_qos())
        self._scans = self.create_publisher(LaserScan, SENSORS["scan"], sensor_qos())
        self._clock_topic = self.create_publisher(ClockMsg, SIMULATED_CLOCK, sensor_qos()) if simulated else None
        kind = velocity_type(is_stamped("auto"))
        self.create_subscription(kind, "cmd_vel", self._on_velocity, reliable_qos(1))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1 / _ODOMETRY_HZ, self._on_odometry, clock=steady)
        self.create_timer(1 / _IMAGE_HZ, self._on_image, clock=steady)
        self.create_timer(1 / _SCAN_HZ, self._on_scan, clock=steady)

    def _on_velocity(self, message: Twist | TwistStamped) -> None:
        self._move()
        self._command = velocity_from_message(message)

    def _move(self) -> None:
        """Drive on until now by the command that came last."""
        now_s = time.monotonic()
        self._body.drive(self._command, now_s - self._moved_s)
        self._moved_s = now_s

    def _on_odometry(self) -> None:
        now_ns = self._now_ns()
        if self._clock_topic is not None:
            self._clock_topic.publish(ClockMsg(clock=stamp_from_ns(now_ns)))
        self._move()
        odometry = Odometry(now_ns, self._body.pose, self._command.linear_mps, self._command.angular_rps)
        self._odometry.publish(message_from_odometry(odometry))

    def _on_image(self) -> None:
        self._move()
        frame = Frame(self._corridor.view(self._body.pose), self._now_ns())
        self._images.publish(image_from_frame(frame, "camera_optical"))

    def _on_scan(self) -> None:
        header = Header(stamp=stamp_from_ns(self._now_ns()), frame_id="base_link")
        self._scans.publish(scan_message(np.full(_RAYS, _FREE_M, np.float32), header, _SCAN_HZ))

    def _now_ns(self) -> int:
        """The robot's time: simulated time begins at ten seconds and runs as real time does."""
        if self._clock_topic is None:
            return self.get_clock().now().nanoseconds
        return 10_000_000_000 + time.monotonic_ns() - self._start_ns


def base_spec(*, simulated: bool) -> NodeSpec:
    """Return the process; simulated: with simulated time."""
    return NodeSpec("base", "vila_tools.inject.base", parameters={"simulated": simulated})


def make_node() -> Node:
    """Make the node in a process of its own, which is run before others where that is allowed: robots are in time."""
    raise_priority(PRIORITY)
    return Base()


if __name__ == "__main__":
    sys.exit(run_node(make_node, "base"))
