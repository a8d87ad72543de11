"""The navigator of the drill: the package's own, with a model that says what the drill wants to hear.

Run as `python -m vila_tools.inject.navigator`. It says forward 75 cm until a String on inject/reply is another reply.
"""

from __future__ import annotations

import sys
import time

from rclpy.node import Node
from std_msgs.msg import String

from vila_core.actions.grammar import format_action
from vila_core.testing import ScriptedBackend
from vila_core.types import MoveForward, Prompt
from vila_ros.common.node_main import run_node
from vila_ros.common.qos import reliable_qos
from vila_ros.navigator.node import NavigatorNode

REPLY_TOPIC = "inject/reply"
FORWARD = format_action(MoveForward(0.75))
LATE_S = 10.0
LATE = "late"  # the reply that is FORWARD, LATE_S later


class ToldBackend(ScriptedBackend):
    """Replies what it was told last."""

    def __init__(self) -> None:
        super().__init__(FORWARD)
        self.reply = FORWARD

    def generate(self, prompt: Prompt, max_new_tokens: int) -> str:
        """Return the reply, late if that was told."""
        if self.reply == LATE:
            time.sleep(LATE_S)
            return FORWARD
        return self.reply


def make_node() -> Node:
    """Make the navigator, active, and listening to what its model is to say."""
    backend = ToldBackend()
    node = NavigatorNode(load=lambda *_, **__: backend)
    node.bring_up()
    node.create_subscription(
        String, REPLY_TOPIC, lambda message: setattr(backend, "reply", message.data), reliable_qos()
    )
    return node


if __name__ == "__main__":
    sys.exit(run_node(make_node, "navigator"))
