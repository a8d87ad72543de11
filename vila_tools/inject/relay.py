"""A node between the sensors and ours: it passes their messages on, and lies while it is told to."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, LaserScan

from vila_core.errors import VilaError
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_tools.inject.faults import LOOP_S, Edit, Heard, Moment

PREFIX = "inject"
STREAMS: dict[str, Any] = {"image": Image, "odom": Odometry, "scan": LaserScan, "clock": Clock}
RELAYED = {name: f"{PREFIX}/{'image_raw' if name == 'image' else name}" for name in STREAMS}
_KEPT_S = LOOP_S + 1.0


@dataclass(slots=True)
class _Stream:
    publisher: Publisher
    honest: deque[Heard] = field(default_factory=deque)
    since: deque[Heard] = field(default_factory=deque)
    number: int = 0
    edit: Edit | None = None

    def begin(self, edit: Edit | None) -> None:
        """Edit from now on, or be honest."""
        self.edit, self.number = edit, 0
        self.since.clear()


class Relay(Node):
    """Subscribes to sensors' topics and publishes them again under `inject/`.

    topics: the sensors' own, by stream: image, odom, scan, clock.
    """

    def __init__(self, topics: Mapping[str, str]) -> None:
        super().__init__("inject_relay")
        self.streams = set(topics)
        self._streams: dict[str, _Stream] = {}
        for name, topic in topics.items():
            qos = reliable_qos() if name == "odom" else sensor_qos(depth=5)
            self._streams[name] = _Stream(self.create_publisher(STREAMS[name], f"/{RELAYED[name]}", qos))
            self.create_subscription(STREAMS[name], topic, partial(self._on_message, name), sensor_qos(depth=5))

    def lie(self, edits: Mapping[str, Edit]) -> None:
        """Edit the messages of these streams from now on. Raises VilaError for one on which nothing comes."""
        for name, edit in edits.items():
            if name not in self.fed():
                raise VilaError(f"there is nothing to lie about: no {name} comes to the relay; name its topic")
            self._streams[name].begin(edit)

    def be_honest(self) -> None:
        """Pass everything on as it is."""
        for stream in self._streams.values():
            if stream.edit is not None:
                stream.begin(None)
                stream.honest.clear()  # a gap lies between them and what comes

    def fed(self) -> set[str]:
        """Return the streams on which messages come."""
        return {name for name, stream in self._streams.items() if stream.honest}

    def is_heard(self) -> bool:
        """Return True if somebody hears each stream on which messages come, and some do."""
        fed = self.fed()
        return bool(fed) and all(self._streams[name].publisher.get_subscription_count() for name in fed)

    def _on_message(self, name: str, message: Any) -> None:
        stream = self._streams[name]
        if stream.edit is None:
            _keep(stream.honest, message)
            stream.publisher.publish(message)
            return
        _keep(stream.since, message)
        moment = Moment(stream.honest, stream.since, stream.number)
        stream.number += 1
        for lie in stream.edit(message, moment):
            stream.publisher.publish(lie)


def _keep(heard: deque[Heard], message: Any) -> None:
    heard.append(Heard(time.monotonic(), message))
    while heard[0].at_s < heard[-1].at_s - _KEPT_S:
        heard.popleft()
