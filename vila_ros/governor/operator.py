"""The operator: teleoperation, a joystick, and the emergency stop in its three forms."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from geometry_msgs.msg import Twist, TwistStamped
from rclpy.node import Node
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool
from std_srvs.srv import SetBool

from vila_core.control.governor.governor import Governor
from vila_core.types import VelocityCommand
from vila_ros.common.authority import Gid, gid_of, publishers_of
from vila_ros.common.qos import (
    SubscriptionEventCallbacks,
    latched_qos,
    sensor_qos,
    subscription_events,
    weak_publishers,
)
from vila_ros.common.velocity import velocity_from_message, velocity_type
from vila_ros.governor.config import GovernorNodeConfig

TELEOP_TOPIC, JOY_TOPIC, EMERGENCY_TOPIC = "teleop/cmd_vel", "joy", "emergency_stop"


class Operator:
    """Passes on to the governor what people do. on_change: called when the emergency stop was pressed or released."""

    def __init__(
        self,
        node: Node,
        config: GovernorNodeConfig,
        governor: Governor,
        on_change: Callable[[], None],
        *,
        stamped: bool,
    ) -> None:
        self._governor, self._config, self._on_change = governor, config, on_change
        self._logger = node.get_logger()
        self._node = node
        self._rest: list[float] | None = None  # of the joystick's axes
        self._pressers: set[Gid | None] = set()  # publishers of the topic that said True, as far as they are told
        kind = velocity_type(stamped)
        node.create_subscription(kind, TELEOP_TOPIC, self._on_teleop, sensor_qos())
        node.create_subscription(Joy, JOY_TOPIC, self._on_joy, sensor_qos(depth=10))  # none is too many
        told = subscription_events(node, EMERGENCY_TOPIC, "emergency_stop_reliability")
        quiet = SubscriptionEventCallbacks(use_default_callbacks=False)
        # None is too many: a button that is only tapped says True and False in one breath. The second hears what was
        # latched before we came, and needs not fit.
        for qos, events in (
            (sensor_qos(config.emergency_stop_reliability, depth=10), told),
            (latched_qos(10), quiet),
        ):
            node.create_subscription(Bool, EMERGENCY_TOPIC, self._on_emergency_topic, qos, event_callbacks=events)
        node.create_service(SetBool, "~/emergency_stop", self._on_emergency_service)

    def press(self, who: str, detail: str) -> None:
        """Press the emergency stop."""
        if who not in self._governor.emergency:
            self._logger.error(f"emergency stop: {detail}")
        self._governor.press_emergency_stop(who, detail)
        self._on_change()

    def unheard(self) -> str:
        """Say which publishers of the emergency stop do not reach us; empty if all do."""
        if self._config.emergency_stop_reliability != "reliable":
            return ""
        topic = self._node.resolve_topic_name(EMERGENCY_TOPIC)
        names = ", ".join(weak_publishers(self._node, topic))
        remedy = "set emergency_stop_reliability to best_effort"
        return f"{names} offers {topic} best_effort, and is not heard: {remedy}" if names else ""

    def _release(self, who: str) -> None:
        if who in self._governor.emergency:
            self._logger.warning(f"emergency stop released by {who}; a new instruction is needed")
        self._governor.release_emergency_stop(who)
        self._on_change()

    def _on_teleop(self, message: Twist | TwistStamped) -> None:
        self._take_over(velocity_from_message(message), f"the operator drives by {TELEOP_TOPIC}")

    def _on_joy(self, message: Joy) -> None:
        button = self._config.joy_emergency_button
        if 0 <= button < len(message.buttons) and message.buttons[button]:
            self.press("joystick", f"button {button} of the joystick")
        axes = list(message.axes)
        if not all(map(math.isfinite, axes)):
            self._take_over(None, "the joystick tells what is no number")
            return
        if self._rest is None or len(self._rest) != len(axes):
            self._rest = [float(round(axis)) for axis in axes]  # triggers rest at 1, sticks at 0
        moved = (abs(axis - rest) > self._config.joy_deadzone for axis, rest in zip(axes, self._rest, strict=True))
        if any(message.buttons) or any(moved):
            self._take_over(None, "the operator moves the joystick")

    def _take_over(self, wanted: VelocityCommand | None, detail: str) -> None:
        """Let the operator drive; None: only stop, what the joystick means to drive comes as teleoperation."""
        self._governor.on_operator(wanted, time.monotonic_ns(), detail)

    def _on_emergency_topic(self, message: Bool, info: Mapping[str, Any]) -> None:
        """Press, or release what this publisher pressed; of one that is gone any other may release it."""
        presser = gid_of(info)
        if message.data:
            self._pressers.add(presser)
            self.press("topic", f"{EMERGENCY_TOPIC} is true")
            return
        self._pressers.discard(presser)
        if self._pressers and presser is not None:
            self._pressers &= set(publishers_of(self._node, EMERGENCY_TOPIC, len(presser)))
        if self._pressers:
            self._logger.warning(f"{EMERGENCY_TOPIC} is false, but another publisher of it said true: it stays")
        else:
            self._release("topic")

    def _on_emergency_service(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data:
            self.press("service", "the service was called")
            response.success, response.message = True, "the robot stands"
            return response
        for who in [who for who in self._governor.emergency if who != "topic"]:
            self._release(who)
        held = "; ".join(self._governor.emergency.values())
        response.success = not held
        response.message = f"it stays: {held}" if held else "released; a new instruction is needed"
        return response
