"""The emergency stop, pressed again and again until the governor says that it holds."""

from __future__ import annotations

import threading
import time

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_srvs.srv import SetBool

from vila_core.control.governor.governor import GovernorState as State
from vila_ros.common.emergency_service import EmergencyService
from vila_ros.page.board import Board
from vila_ros.page.deadman import Deadman
from vila_ros.page.listener import Listener

_PERIOD_S = 0.05
_SILENT_S = 0.5  # a governor that has said nothing for so long counts as gone
_UNANSWERED_S = 0.3  # a press that it has not confirmed by then ends the instruction too
_REMEMBERED_S = 3.0  # a browser that was lost while the robot stood; its last instruction may just be on its way
_SENT_S = 0.1  # for a call on the way when this process ends


class Emergency:
    """Presses and releases it for browsers.

    A governor that is gone cannot be asked, and passes nothing; the instruction is then canceled, as it is where the
    governor does not confirm. Callable in any thread; the work is done in the executor's.
    """

    def __init__(self, node: Node, board: Board, listener: Listener, deadman: Deadman) -> None:
        self._node, self._board, self._listener, self._deadman = node, board, listener, deadman
        self._lock = threading.Lock()
        self._wanted, self._wanted_s = "", 0.0  # who pressed it and when, until the governor answers that it holds
        self._is_released = False  # and the governor does not know it yet
        self._answer = ""  # of the governor, to the last release
        self._lost_s: float | None = None  # when a browser that held the robot was lost, and is not back
        self._service = EmergencyService(node)
        self._guard = node.create_guard_condition(self._work)
        node.create_timer(_PERIOD_S, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def press(self, who: str) -> None:
        """Stop the robot, at once and until it is released."""
        with self._lock:
            if not self._wanted:
                self._wanted_s = time.monotonic()
            self._wanted, self._is_released = who, False
        self._guard.trigger()

    def release(self) -> None:
        """Release it; nothing moves on."""
        with self._lock:
            self._wanted, self._is_released = "", True
        self._guard.trigger()

    def close(self) -> None:
        """Press it for browsers that hold the robot: nobody will hear them any more."""
        if self._deadman.is_held and not self._stands():
            self._service.ask(True, lambda answer: None)
            time.sleep(_SENT_S)

    def _on_timer(self) -> None:
        now_s = time.monotonic()
        if self._deadman.expired(now_s):
            self._lost_s = now_s
        elif self._deadman.is_held or (self._lost_s is not None and now_s - self._lost_s > _REMEMBERED_S):
            self._lost_s = None
        if self._lost_s is not None and not self._stands():
            self._lost_s = None
            self._node.get_logger().error("emergency stop: the connection to a browser that held the robot is lost")
            self.press("the connection to a browser that held the robot was lost")
        self._work()

    def _work(self) -> None:
        with self._lock:
            wanted, since_s = self._wanted, self._wanted_s
            is_released, self._is_released = self._is_released, False
        if wanted:
            self._service.ask(True, lambda answer: self._on_pressed(wanted, answer))
            if self._is_silent() or time.monotonic() - since_s > _UNANSWERED_S:
                self._service.cancel_instruction()
        elif is_released:
            self._service.ask(False, self._on_released)
        self._put()

    def _on_pressed(self, who: str, answer: SetBool.Response) -> None:
        with self._lock:
            if answer.success and self._wanted == who:
                self._wanted = ""
        self._answer = "" if answer.success else answer.message
        self._put()

    def _on_released(self, answer: SetBool.Response) -> None:
        self._answer = answer.message
        self._put()

    def _put(self) -> None:
        told = {"wanted": self._wanted, "answer": self._answer, "held": self._deadman.is_held}
        self._board.put("emergency", told)

    def _is_silent(self) -> bool:
        return self._listener.silent_s().get("governor", float("inf")) > _SILENT_S

    def _stands(self) -> bool:
        """Whether the governor has said lately that no mission runs: there is nothing to stop then."""
        governor = self._listener.governor
        return governor is not None and governor.state == State.IDLE and not self._is_silent()
