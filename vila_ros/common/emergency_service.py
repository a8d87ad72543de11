"""The governor's emergency stop as a service, and the end of an instruction where the governor is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from std_srvs.srv import SetBool
from vila_nav.srv import CancelInstruction


class EmergencyService:
    """Asks for it, in the executor's thread.

    Never by the topic `emergency_stop`: that is what a hardware button publishes, and to release it there would release
    what the button has pressed.
    """

    def __init__(self, node: Node) -> None:
        self._pending: Any = None  # the last call
        self._stop: Any = node.create_client(SetBool, "governor/emergency_stop")
        self._cancel: Any = node.create_client(CancelInstruction, "navigator/cancel_instruction")

    @property
    def is_there(self) -> bool:
        """Whether there is a governor to ask."""
        return bool(self._stop.service_is_ready())

    def call(self, pressed: bool, on_answer: Callable[[SetBool.Response], None]) -> None:
        """Press or release it. Without a governor nothing is done.

        Of a call before that is not answered yet no answer is awaited any more.
        """
        if not self.is_there:
            return
        if self._pending is not None and not self._pending.done():
            self._stop.remove_pending_request(self._pending)
        self._pending = self._stop.call_async(SetBool.Request(data=pressed))
        self._pending.add_done_callback(lambda future: on_answer(future.result()))

    def cancel_instruction(self) -> None:
        """Have the navigator follow no instruction any more, whoever told it; nothing if there is no navigator."""
        if self._cancel.service_is_ready():
            self._cancel.call_async(CancelInstruction.Request())
