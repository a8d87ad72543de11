"""Goals of ~/go_back and ~/navigate, sent by a node that is spun in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.action import ActionClient
from rclpy.node import Node
from vila_nav.action import GoBack, NavigateInstruction

from vila_ros.common.conversions import stamp_from_ns


class SentGoal:
    """A goal on its way. feedback: all that was told."""

    def __init__(self, client: ActionClient, request: Any, node: Node, wait_until: Callable[..., float]) -> None:
        self._node, self._wait = node, wait_until
        self.feedback: list[Any] = []
        wait_until(client.server_is_ready, "the action")
        future = self._spun(client.send_goal_async, request, lambda message: self.feedback.append(message.feedback))
        wait_until(future.done, "the goal to be accepted")
        self._handle = future.result()
        self._result = self._spun(self._handle.get_result_async)

    @property
    def is_over(self) -> bool:
        return bool(self._result.done())

    def cancel(self) -> None:
        self._spun(self._handle.cancel_goal_async)

    def result(self) -> Any:
        self._wait(self._result.done, "the goal's result")
        return self._result.result().result

    @property
    def status(self) -> int:
        return int(self._result.result().status)

    def _spun(self, call: Callable, *arguments):
        """Call in the thread that spins: from another, an answer may come before rclpy noted that it is waited for."""
        task = self._node.executor.create_task(call, *arguments)
        self._wait(task.done)
        return task.result()


class Sender:
    """Sends goals from a node."""

    def __init__(self, node: Node, wait_until: Callable[..., float]) -> None:
        self._node, self._wait = node, wait_until
        self._back = ActionClient(node, GoBack, "navigator/go_back")
        self._navigate = ActionClient(node, NavigateInstruction, "navigator/navigate")

    def back(self, stamp_ns: int = 0, **fields) -> SentGoal:
        return self._sent(self._back, GoBack.Goal(stamp=stamp_from_ns(stamp_ns), **fields))

    def navigate(self, text: str = "go on") -> SentGoal:
        return self._sent(self._navigate, NavigateInstruction.Goal(instruction=text))

    def _sent(self, client: ActionClient, request: Any) -> SentGoal:
        return SentGoal(client, request, self._node, self._wait)
