"""Tells the relay what to lie, and hears of it what comes and who hears it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from rclpy.node import Node
from std_msgs.msg import String

from vila_core.errors import VilaError
from vila_ros.common.qos import reliable_qos
from vila_tools.inject.faults import Lie
from vila_tools.inject.relay import LIES, RELAY_STATE


class RelayLink(Node):
    """Speaks with the relay's process.

    LIES: {"number", "lies": {stream: [name, numbers]}}. RELAY_STATE: {"number", "fed", "heard"}, the number of the last
    lies that it obeys, the streams on which messages come, and of those the ones that somebody hears.
    """

    def __init__(self) -> None:
        super().__init__("inject_relay_link", start_parameter_services=False)
        self._number = self._obeyed = 0
        self.fed: frozenset[str] = frozenset()  # streams on which messages come
        self._heard: frozenset[str] = frozenset()
        self._lies = self.create_publisher(String, LIES, reliable_qos())
        self.create_subscription(String, RELAY_STATE, self._on_state, reliable_qos())

    def lie(self, lies: Mapping[str, Lie]) -> None:
        """Edit the messages of these streams, and of no others. Raises VilaError for one on which nothing comes."""
        for name in lies:
            if name not in self.fed:
                raise VilaError(f"there is nothing to lie about: no {name} comes to the relay; name its topic")
        self._number += 1
        told = {name: (lie.name, dict(lie.numbers)) for name, lie in lies.items()}
        self._lies.publish(String(data=json.dumps({"number": self._number, "lies": told})))

    def is_obeyed(self) -> bool:
        """Return True once the relay does what it was told last."""
        return self._obeyed == self._number

    def is_heard(self) -> bool:
        """Return True if somebody hears each stream on which messages come, and some do."""
        return bool(self.fed) and self.fed == self._heard

    def _on_state(self, message: String) -> None:
        state = json.loads(message.data)
        self._obeyed = state["number"]
        self.fed, self._heard = frozenset(state["fed"]), frozenset(state["heard"])
