"""The controller's odometry: whether it can be that of this robot, and where the robot was when."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node

from vila_core.control.odometry_watch import OdometryWatch
from vila_core.control.pose_buffer import PoseBuffer
from vila_core.control.stamp_watch import StampWatch
from vila_core.control.watchdog import Doubt, Receipt
from vila_core.types import Odometry, VelocityCommand
from vila_ros.common.conversions import OdometryError, ns_from_stamp, odometry_from_message
from vila_ros.common.node_clock import NodeClock
from vila_ros.common.odometry_sources import OdometrySources
from vila_ros.common.qos import sensor_qos, subscription_events

_WARN_EVERY_S = 5.0
_DEPTH = 50  # messages that may wait while this process is busy


class OdometryInput:
    """Subscribes to odom and keeps what was measured.

    clock: the node's. timeout_s: odometry that is older is silent. twist: the axes of its velocity.
    speeds: gives the slowest and the fastest that the robot may be by what was commanded. on_doubt: gets why a motion
    can't go on. on_odometry: gets what is good. receipt: of the newest good one.
    """

    def __init__(
        self,
        node: Node,
        clock: NodeClock,
        timeout_s: float,
        *,
        reliability: str,
        twist: str,
        speeds: Callable[[], tuple[VelocityCommand, VelocityCommand]],
        on_doubt: Callable[[Doubt], None],
        on_odometry: Callable[[Odometry], None],
    ) -> None:
        self._node, self._clock, self._twist, self._speeds = node, clock, twist, speeds
        self._on_doubt, self._on_odometry = on_doubt, on_odometry
        self._stamps = StampWatch(node.resolve_topic_name("odom"), timeout_s)
        self._watch, self._sources = OdometryWatch(), OdometrySources(node, "odom")
        self.poses = PoseBuffer()
        self.receipt: Receipt | None = None
        events = subscription_events(node, "odom", "odometry_reliability")
        qos = sensor_qos(reliability, depth=_DEPTH)
        node.create_subscription(OdometryMsg, "odom", self._on_message, qos, event_callbacks=events)

    @property
    def fault(self) -> str:
        """Why its stamps are none to drive by, empty if they are good."""
        return self._stamps.fault

    def hold_to(self, timeout_s: float) -> None:
        """Take another age from which on odometry is silent."""
        self._stamps.max_age_s = timeout_s

    @property
    def is_fresh(self) -> bool:
        """True if the newest good one is of now, by a clock that is known."""
        if self.receipt is None or not self._clock.is_known:
            return False
        age_s = (self._clock.now_ns() - self.receipt.stamp_ns) / 1e9  # large while a simulation's clock is unknown
        return -self._clock.max_future_s <= age_s < self._stamps.max_age_s

    def break_since(self, stamp_ns: int) -> Doubt | None:
        """Return the doubt if odometry tells no numbers now, or was another one at the stamp."""
        if bad := self._watch.bad:
            return Doubt(bad.fault, bad.detail)
        broken = self._watch.since(stamp_ns)
        return None if broken is None else Doubt(broken.fault, f"since the image was taken: {broken.detail}")

    def _on_message(self, message: OdometryMsg, info: Any) -> None:
        self._clock.note(self._stamps, message.header.stamp)
        try:
            odometry = odometry_from_message(message, self._twist)
        except OdometryError as err:
            broken = self._watch.note_bad(str(err), ns_from_stamp(message.header.stamp))
            self._on_doubt(Doubt(broken.fault, broken.detail))
            self._node.get_logger().error(f"odometry ignored: {err}", throttle_duration_sec=_WARN_EVERY_S)
            return
        self._judge(odometry, message, info)
        self.poses.add(odometry)
        self.receipt = Receipt(odometry.stamp_ns, time.monotonic_ns())
        self._on_odometry(odometry)

    def _judge(self, odometry: Odometry, message: OdometryMsg, info: Any) -> None:
        """Have the motion end, and forget the poses, if this can't be the odometry of before."""
        slowest, fastest = self._speeds()
        broken = self._watch.note(odometry, self._sources.of(message, info), slowest, fastest, time.monotonic_ns())
        if broken is not None:
            self._on_doubt(Doubt(broken.fault, broken.detail))
            self.poses.clear()
            self._node.get_logger().warning(broken.detail, throttle_duration_sec=_WARN_EVERY_S)
