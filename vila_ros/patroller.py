"""Drives the simulated robot along a route, from the moment at which the happenings are begun."""

from __future__ import annotations

import json

from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from std_msgs.msg import String

from vila_core.types import VelocityCommand
from vila_ros.conversions import odometry_from_message
from vila_ros.qos import reliable_qos, sensor_qos
from vila_sim.route import Route, follow


class Patroller:
    """Answers each odometry with a velocity; stands still until the happenings are begun, and after the route."""

    def __init__(self, node: Node, route: Route) -> None:
        self._route = route
        self._velocity = node.create_publisher(Twist, "cmd_vel", reliable_qos(1))
        self.begun_ns: int | None = None  # simulated time
        node.create_subscription(OdometryMsg, "odom", self._on_odometry, sensor_qos(depth=5))
        node.create_subscription(String, "simulator/happenings", self._on_happenings, reliable_qos(10))

    def _on_happenings(self, message: String) -> None:
        truth = json.loads(message.data)
        if truth["script_s"] is not None:
            self.begun_ns = truth["stamp_ns"] - round(truth["script_s"] * 1e9)

    def _on_odometry(self, message: OdometryMsg) -> None:
        if self.begun_ns is None:
            return
        odometry = odometry_from_message(message)
        t_s = (odometry.stamp_ns - self.begun_ns) / 1e9
        driving = t_s < self._route.duration_s
        command = follow(self._route, t_s, odometry.pose) if driving else VelocityCommand()
        twist = Twist()
        twist.linear.x, twist.angular.z = command.linear_mps, command.angular_rps
        self._velocity.publish(twist)
