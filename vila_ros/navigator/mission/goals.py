"""Action servers for goals that take seconds or minutes, without a thread or a busy loop each.

rclpy runs a goal's execute callback either in a thread that it blocks, or as a coroutine that the
executor polls without pause. So a goal is kept accepted while it is worked on, and executed in
the moment of its end, with the result at hand; feedback, cancel and preemption work all the while.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from vila_nav.action import NavigateInstruction
from vila_nav.msg import NavAction


class GoalServer:
    """Passes goals and cancel requests of an action on; every goal is accepted, and ends with a typed result.

    kind: the generated action. on_goal: gets each goal's handle. on_cancel: gets the handle that a client wants to
    cancel.
    """

    def __init__(
        self,
        node: Node,
        kind: Any,
        name: str,
        on_goal: Callable[[ServerGoalHandle], None],
        on_cancel: Callable[[ServerGoalHandle], None],
    ) -> None:
        self._on_cancel = on_cancel
        self._server = ActionServer(
            node,
            kind,
            name,
            execute_callback=_never,
            goal_callback=lambda _: GoalResponse.ACCEPT,
            handle_accepted_callback=on_goal,
            cancel_callback=self._cancel,
        )

    def destroy(self) -> None:
        """Take the server off the graph."""
        self._server.destroy()

    def _cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        self._on_cancel(handle)
        return CancelResponse.ACCEPT


def conclude(handle: ServerGoalHandle, result: Any, *, is_success: bool) -> None:
    """Give the goal its final state and result; done by the executor after the present callback."""

    def settle(goal: ServerGoalHandle) -> Any:
        if goal.is_cancel_requested:
            goal.canceled()
        elif is_success:
            goal.succeed()
        else:
            goal.abort()
        return result

    handle.execute(settle)


def is_of_decision(told: NavigateInstruction.Feedback) -> bool:
    """Return True for the feedback that a decision was made, False for how far its motion got."""
    return bool(told.decision.state == NavAction.STATE_COMMANDED)


def _never(handle: ServerGoalHandle) -> Any:
    raise AssertionError(f"goal {handle.goal_id} was executed without a result")
