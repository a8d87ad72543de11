"""A node between the sensors and ours: it passes their messages on, and lies while it is told to.

It stands for sensors, which are in time, so it is a process of its own: `python -m vila_tools.inject.relay`.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock as ClockMsg
from sensor_msgs.msg import Image, LaserScan
from std_msgs.msg import String

from vila_core.types import Pose
from vila_ros.common.conversions import OdometryError, odometry_from_message
from vila_ros.common.machine import raise_priority
from vila_ros.common.node_main import run_node
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_tools.inject.faults import LOOP_S, Edit, Heard, Lie, Moment
from vila_tools.inject.recorder import PRIORITY
from vila_tools.session.processes import NodeSpec

PREFIX = "inject"
STREAMS: dict[str, Any] = {"image": Image, "odom": Odometry, "scan": LaserScan, "clock": ClockMsg}
RELAYED = {name: f"{PREFIX}/{'image_raw' if name == 'image' else name}" for name in STREAMS}
LIES, RELAY_STATE = f"{PREFIX}/lies", f"{PREFIX}/relay"  # JSON, see RelayLink
_KEPT_S = LOOP_S + 1.0
_STATE_S = 0.2


def relay_spec(topics: Mapping[str, str]) -> NodeSpec:
    """Return the relay's process. topics: the sensors' own, by stream: image, odom, scan, clock."""
    return NodeSpec("relay", "vila_tools.inject.relay", parameters=dict(topics))


@dataclass(slots=True)
class _Stream:
    publisher: Publisher
    honest: deque[Heard] = field(default_factory=deque)
    since: deque[Heard] = field(default_factory=deque)
    number: int = 0
    edit: Edit | None = None

    def begin(self, edit: Edit | None) -> None:
        """Edit from now on, or be honest: then a gap lies between what was heard and what comes."""
        if self.edit is not None:
            self.honest.clear()
        self.edit, self.number = edit, 0
        self.since.clear()


class Relay(Node):
    """Subscribes to the topics that its parameters name by stream, and publishes them again under `inject/`."""

    def __init__(self) -> None:
        super().__init__("inject_relay", start_parameter_services=False)
        self._streams: dict[str, _Stream] = {}
        self._told = 0  # number of the last lies
        self._pose: Pose | None = None  # by honest odometry
        self._mark: Pose | None = None  # there when the lies began
        for name, kind in STREAMS.items():
            topic = str(self.declare_parameter(name, "").value)
            if topic:
                qos = reliable_qos() if name == "odom" else sensor_qos(depth=5)
                self._streams[name] = _Stream(self.create_publisher(kind, f"/{RELAYED[name]}", qos))
                self.create_subscription(kind, topic, partial(self._on_message, name), sensor_qos(depth=5))
        self.create_subscription(String, LIES, self._on_lies, reliable_qos())
        self._state = self.create_publisher(String, RELAY_STATE, reliable_qos())
        self.create_timer(_STATE_S, self._tell, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_lies(self, message: String) -> None:
        told = json.loads(message.data)
        self._told, self._mark = told["number"], self._pose
        for name, stream in self._streams.items():
            stream.begin(Lie(*told["lies"][name]).edit() if name in told["lies"] else None)
        self._tell()

    def _tell(self) -> None:
        fed = [name for name, stream in self._streams.items() if stream.honest]
        heard = [name for name in fed if self._streams[name].publisher.get_subscription_count()]
        self._state.publish(String(data=json.dumps({"number": self._told, "fed": fed, "heard": heard})))

    def _on_message(self, name: str, message: Any) -> None:
        stream = self._streams[name]
        if name == "odom":
            self._measure(message)
        if stream.edit is None:
            _keep(stream.honest, message)
            stream.publisher.publish(message)
            return
        _keep(stream.since, message)
        moment = Moment(stream.honest, stream.since, stream.number, self._driven_m())
        stream.number += 1
        for lie in stream.edit(message, moment):
            stream.publisher.publish(lie)

    def _measure(self, message: Odometry) -> None:
        try:
            self._pose = odometry_from_message(message).pose
        except OdometryError:
            return

    def _driven_m(self) -> float:
        return 0.0 if self._pose is None or self._mark is None else self._pose.distance_m(self._mark)


def _keep(heard: deque[Heard], message: Any) -> None:
    heard.append(Heard(time.monotonic(), message))
    while heard[0].at_s < heard[-1].at_s - _KEPT_S:
        heard.popleft()


def make_node() -> Node:
    """Make the node in a process of its own, which is run before others where that is allowed."""
    raise_priority(PRIORITY)
    return Relay()


if __name__ == "__main__":
    sys.exit(run_node(make_node, "relay"))
