"""Whether the client that sent a goal is still there, as far as the graph shows it."""

from __future__ import annotations

import time

from rclpy.node import Node

_LEARN_S = 2.0  # discovery may show a client's subscription a little after its goal


class ClientWatch:
    """Watches the subscriptions to an action's feedback, which every action client has.

    Nobody can see which of them sent the goal: it counts as gone once all are that were there in its first two seconds.
    A client that was killed is shown until its participant's lease ends, 20 s in Fast DDS; one that asked for the
    goal by the bare service, without a subscription, is never missed.
    """

    def __init__(self, node: Node, action: str, timeout_s: float) -> None:
        self._node, self._timeout_s = node, timeout_s
        self._topic = f"{node.resolve_topic_name(action)}/_action/feedback"
        self._begun_s = self._seen_s = time.monotonic()
        self._clients: set[bytes] = set()

    def is_gone(self) -> bool:
        """Return True if the client has been gone for the timeout; ask now and then."""
        now_s = time.monotonic()
        there = {bytes(one.endpoint_gid) for one in self._node.get_subscriptions_info_by_topic(self._topic)}
        if now_s - self._begun_s < _LEARN_S:
            self._clients |= there
        if not self._clients or self._clients & there:
            self._seen_s = now_s
        return now_s - self._seen_s > self._timeout_s
