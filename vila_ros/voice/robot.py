"""What is asked of the robot's nodes by voice: the emergency stop, an instruction, its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.action import ActionClient
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_srvs.srv import SetBool
from vila_nav.action import NavigateInstruction

from vila_core.voice.dialogue import spoken
from vila_ros.common.emergency_service import EmergencyService

SOURCE = "voice"  # who tells an instruction, as the mission says
_PERIOD_S, _UNANSWERED_S = 0.05, 0.3


class Robot:
    """Asks the nodes, in the executor's thread. tell: speaks to the user.

    The emergency stop is pressed again and again until the governor answers, and never released: that is for a hand.
    While the governor does not answer the instruction is canceled as well.
    """

    def __init__(self, node: Node, tell: Callable[[str], None]) -> None:
        self._node, self._tell = node, tell
        self._pressed_s: float | None = None  # since when it is wanted and not confirmed
        self._goals = self._stopped_goals = 0  # sent; of these before the last stop, whose end is no news
        self._emergency = EmergencyService(node)
        self._navigate: Any = ActionClient(node, NavigateInstruction, "navigator/navigate")
        node.create_timer(_PERIOD_S, self._work, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def press(self) -> None:
        """Stop the robot, until somebody releases it by hand."""
        self._pressed_s, self._stopped_goals = time.monotonic(), self._goals
        self._work()

    def go(self, text: str) -> None:
        """Have the navigator follow an instruction; how it ends is told."""
        if not self._navigate.server_is_ready():
            self._tell("I cannot: there is no navigator, or it is not active.")
            return
        self._goals += 1
        number = self._goals
        sent = self._navigate.send_goal_async(NavigateInstruction.Goal(instruction=text, source=SOURCE))

        def on_accepted(accepted: Any) -> None:
            if self._pressed_s is not None:
                accepted.result().cancel_goal_async()
            ended = accepted.result().get_result_async()
            ended.add_done_callback(lambda done: self._on_end(number, done.result().result))

        sent.add_done_callback(on_accepted)

    def cancel(self) -> None:
        """Have it follow no instruction any more, whoever told it."""
        self._emergency.cancel_instruction()

    def destroy(self) -> None:
        """Leave the action."""
        self._navigate.destroy()

    def _on_end(self, number: int, result: NavigateInstruction.Result) -> None:
        if result.outcome == result.OUTCOME_REACHED and number == self._goals:
            self._tell("I am there.")
        elif result.outcome == result.OUTCOME_FAILED and number > self._stopped_goals:
            self._tell(spoken(f"I did not get there: {result.error_msg.split(';')[0]}"))

    def _work(self) -> None:
        """Press the emergency stop, if it is wanted and the governor has not answered."""
        if self._pressed_s is None:
            return
        if time.monotonic() - self._pressed_s > _UNANSWERED_S:
            self.cancel()
        self._emergency.ask(True, self._on_pressed)

    def _on_pressed(self, answer: SetBool.Response) -> None:
        if answer.success:
            self._pressed_s = None
