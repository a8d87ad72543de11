"""`vila doctor --drive`: half a metre ahead, then to the left and back, slowly, so that odometry can be judged."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from rclpy.node import Node

from vila_core.errors import VilaError
from vila_core.types import Odometry, Pose, VelocityCommand
from vila_ros.common.qos import reliable_qos
from vila_ros.common.velocity import is_stamped, velocity_message, velocity_type

DISTANCE_M, ANGLE_RAD = 0.5, math.radians(60)
_SPEED_MPS, _TURN_RPS = 0.15, 0.4
_REST_S = 0.8
PERIOD_S = 0.05
_SILENCE_S = 0.5
_MOST_M = 0.8  # that odometry may measure of half a metre
_ZEROS = 10


@dataclass(frozen=True, slots=True)
class _Leg:
    command: VelocityCommand
    seconds: float


LEGS = (
    _Leg(VelocityCommand(_SPEED_MPS), DISTANCE_M / _SPEED_MPS),
    _Leg(VelocityCommand(), _REST_S),
    _Leg(VelocityCommand(0.0, _TURN_RPS), ANGLE_RAD / _TURN_RPS),
    _Leg(VelocityCommand(), _REST_S),
    _Leg(VelocityCommand(0.0, -_TURN_RPS), ANGLE_RAD / _TURN_RPS),
    _Leg(VelocityCommand(), _REST_S),
)


class OdometryDrive:
    """Publishes velocities of its own, and zero at every end; nobody else may drive meanwhile.

    topic: of velocities. setting: of their type, as `velocity_type`. Raises VilaError where others publish them.
    """

    def __init__(self, node: Node, topic: str, setting: str) -> None:
        self._node = node
        self._topic = name = node.resolve_topic_name(topic)
        if others := self._others():
            raise VilaError(
                f"no drive: {', '.join(others)} publishes {name} too; stop our nodes, and whoever else drives, and run "
                "--drive beside the robot's drivers alone, 2 m free around it and a hand on its stop button"
            )
        if not node.get_subscriptions_info_by_topic(name):
            raise VilaError(f"no drive: nobody listens to {name}; name the topic by a recipe (--robot)")
        self._stamped = is_stamped(setting)
        self._publisher = node.create_publisher(velocity_type(self._stamped), name, reliable_qos(1))
        self._steps = self._commands()
        self._begun: Pose | None = None
        self.is_over = False
        self.fault = ""

    def tick(self, newest: Odometry | None, age_s: float) -> None:
        """Publish what is due; call it every 50 ms with the newest odometry and the time since it came."""
        if self.is_over:
            return
        if newest is None or age_s > _SILENCE_S:
            self._end("odometry fell silent" if newest is not None else "no odometry comes")
            return
        if others := self._others():  # the graph may have been late to show them
            self._end(f"{', '.join(others)} publishes {self._topic} too")
            return
        self._begun = self._begun or newest.pose
        if newest.pose.distance_m(self._begun) > _MOST_M:
            self._end(f"odometry measured more than {_MOST_M:g} m of {DISTANCE_M:g} m")
            return
        command = next(self._steps, None)
        if command is None:
            self._end("")
        else:
            self._publish(command)

    def close(self) -> None:
        """Have the robot stand."""
        for _ in range(_ZEROS):
            self._publish(VelocityCommand())

    def _others(self) -> list[str]:
        """Who else publishes velocities."""
        infos = self._node.get_publishers_info_by_topic(self._topic)
        names = {(info.node_namespace, info.node_name) for info in infos}
        own = (self._node.get_namespace(), self._node.get_name())
        return sorted(f"{namespace.rstrip('/')}/{name}" for namespace, name in names - {own})

    def _end(self, fault: str) -> None:
        self.is_over, self.fault = True, fault
        self.close()

    def _publish(self, command: VelocityCommand) -> None:
        stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(velocity_message(command, self._stamped, stamp, "base_link"))

    def _commands(self) -> Iterator[VelocityCommand]:
        for leg in LEGS:
            for _ in range(round(leg.seconds / PERIOD_S)):
                yield leg.command
