"""Strangers on the graph: nodes that say what only ours may say."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Header
from vila_nav.msg import GovernorState, Mission, NavAction

from vila_core.types import Odometry, Pose, VelocityCommand
from vila_ros.common.conversions import message_from_odometry
from vila_ros.common.qos import reliable_qos
from vila_ros.common.topics import ACTIONS, EXECUTION, GOVERNOR_STATE, MISSIONS, NAVIGATOR_HEARTBEAT, WATCHDOG_HEARTBEAT
from vila_ros.common.velocity import is_stamped, velocity_message, velocity_type
from vila_tools.inject.relay import RELAYED

_PERIOD_S = 0.05
_FORGED = "forged"
Say = Callable[[Node], Any]  # the next message


class Intruder(Node):
    """Says something twenty times a second on topics, once it was told to speak."""

    def __init__(self, says: Mapping[str, tuple[type, Say]], name: str = "inject_intruder") -> None:
        super().__init__(name)
        self._says: list[tuple[Publisher, Say]] = [
            (self.create_publisher(kind, topic, reliable_qos()), say) for topic, (kind, say) in says.items()
        ]
        self._speaks = False
        self.create_timer(_PERIOD_S, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def is_heard(self) -> bool:
        """Return True once somebody hears each topic."""
        return all(publisher.get_subscription_count() for publisher, _ in self._says)

    def speak(self) -> None:
        """Begin."""
        self._speaks = True
        self._on_timer()

    def _on_timer(self) -> None:
        if self._speaks:
            for publisher, say in self._says:
                publisher.publish(say(self))


def commander(topic: str, velocity: VelocityCommand, name: str = "inject_intruder") -> Intruder:
    """Return a node that publishes this velocity on a topic."""
    stamped = is_stamped("auto")

    def say(node: Node) -> Any:
        return velocity_message(velocity, stamped, node.get_clock().now().to_msg(), "base_link")

    return Intruder({topic: (velocity_type(stamped), say)}, name)


def mission_forger(name: str = "inject_intruder") -> Intruder:
    """Return a node that plays the whole navigator: a mission that begins, its heartbeat, and forward 75 cm."""
    number, begun_s = time.time_ns() // 1000, time.monotonic() + 1.0

    def mission(node: Node) -> Mission:
        return Mission(header=_header(node), id=number, running=time.monotonic() > begun_s, instruction=_FORGED)

    says = {
        MISSIONS: (Mission, mission),
        NAVIGATOR_HEARTBEAT: (Header, _header),
        ACTIONS: (NavAction, lambda node: _action(node, number)),
    }
    return Intruder(says, name)


def action_forger() -> Intruder:
    """Return a node that publishes actions of its own beside the navigator's."""
    return Intruder({ACTIONS: (NavAction, _action)})


def heartbeat_forger(topic: str = WATCHDOG_HEARTBEAT) -> Intruder:
    """Return a node that says that the watchdog, or whose topic it is, lives."""
    return Intruder({topic: (Header, _header)})


def governor_forger() -> Intruder:
    """Return a node that says that the governor lets all pass."""

    def say(node: Node) -> GovernorState:
        return GovernorState(header=_header(node), state=GovernorState.STATE_READY, speed_scale=1.0)

    return Intruder({GOVERNOR_STATE: (GovernorState, say)})


def report_forger() -> Intruder:
    """Return a node that says, in the controller's place, that an action is done."""

    def say(node: Node) -> NavAction:
        return NavAction(header=_header(node), state=NavAction.STATE_DONE, detail=_FORGED)

    return Intruder({EXECUTION: (NavAction, say)})


def second_odometry() -> Intruder:
    """Return a node that publishes odometry of its own: it stands at the origin."""

    def say(node: Node) -> OdometryMsg:
        return message_from_odometry(Odometry(node.get_clock().now().nanoseconds, Pose()))

    return Intruder({f"/{RELAYED['odom']}": (OdometryMsg, say)})


def _header(node: Node) -> Header:
    return Header(stamp=node.get_clock().now().to_msg(), frame_id="odom")


def _action(node: Node, mission_id: int = 0) -> NavAction:
    return NavAction(
        header=_header(node), id=1, mission_id=mission_id, kind=NavAction.KIND_MOVE_FORWARD, distance_m=0.75
    )
