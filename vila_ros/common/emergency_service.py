"""The governor's emergency stop as a service, and the end of an instruction where the governor does not answer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from std_srvs.srv import SetBool
from vila_nav.srv import CancelInstruction

_GIVEN_UP_S = 2.0  # an answer that has not come by then never will


class EmergencyService:
    """Presses and releases the emergency stop, in the executor's thread.

    Never by the topic `emergency_stop`: that is what a hardware button publishes, and to release it there would release
    what the button has pressed.
    """

    def __init__(self, node: Node) -> None:
        self._asked: deque[tuple[float, Any]] = deque()  # what is not answered yet, and since when
        self._stop: Any = node.create_client(SetBool, "governor/emergency_stop")
        self._cancel: Any = node.create_client(CancelInstruction, "navigator/cancel_instruction")

    @property
    def has_governor(self) -> bool:
        """Whether there is one to ask."""
        return bool(self._stop.service_is_ready())

    @property
    def has_navigator(self) -> bool:
        """Whether there is one to ask."""
        return bool(self._cancel.service_is_ready())

    def ask(self, pressed: bool, on_answer: Callable[[SetBool.Response], None]) -> None:
        """Press or release it; nothing without a governor. May be called again and again: each answer is heard."""
        if not self.has_governor:
            return
        now_s = time.monotonic()
        while self._asked and (self._asked[0][1].done() or now_s - self._asked[0][0] > _GIVEN_UP_S):
            self._stop.remove_pending_request(self._asked.popleft()[1])
        future = self._stop.call_async(SetBool.Request(data=pressed))
        self._asked.append((now_s, future))
        future.add_done_callback(lambda done: on_answer(done.result()))

    def cancel_instruction(self) -> None:
        """Have the navigator follow no instruction any more, whoever told it; nothing without a navigator."""
        if self.has_navigator:  # again and again too: one that was killed answers nothing, the next one does
            self._cancel.call_async(CancelInstruction.Request())
