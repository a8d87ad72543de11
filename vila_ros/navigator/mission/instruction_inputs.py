"""What instructions come by: an action, two services, and a topic if it is open."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from std_msgs.msg import String
from vila_nav.action import NavigateInstruction
from vila_nav.srv import CancelInstruction, SetInstruction

from vila_core.errors import ConfigError
from vila_core.prompts.instruction import source_of
from vila_ros.navigator.mission.goal_clients import NAVIGATE, GoalClient, NavigateClient
from vila_ros.navigator.mission.goals import GoalServer
from vila_ros.navigator.mission.mission import MissionError
from vila_ros.navigator.mission.mission_config import MissionConfig, limited

Begin = Callable[[str, str, MissionConfig, "GoalClient | None"], tuple[MissionError, str]]
Cancel = Callable[[str, "ServerGoalHandle | None"], bool]


class InstructionInputs:
    """Takes instructions and cancellations to the node.

    config: the limits of a mission that names none; it may be set anew. begin: starts a mission for a text, by its
    source, and returns why not. cancel: ends the present mission in these words, of a goal only if it is that goal's;
    returns whether it did.
    """

    def __init__(self, node: Node, config: MissionConfig, begin: Begin, cancel: Cancel) -> None:
        self._node, self.config, self._begin, self._cancel = node, config, begin, cancel
        goals = GoalServer(node, NavigateInstruction, NAVIGATE, self._on_goal, self._on_cancel_goal)
        self._undo: list[Callable[[], object]] = [goals.destroy]
        for kind, name, callback in (
            (SetInstruction, "~/set_instruction", self._on_set_instruction),
            (CancelInstruction, "~/cancel_instruction", self._on_cancel_instruction),
        ):
            self._undo.append(partial(node.destroy_service, node.create_service(kind, name, callback)))

    def destroy(self) -> None:
        """Close them."""
        while self._undo:
            self._undo.pop()()

    def on_topic(self, message: String) -> None:
        """Take what came by the topic."""
        self._begin(message.data, source_of("topic", ""), self.config, None)

    def _on_goal(self, goal: ServerGoalHandle) -> None:
        request, client = goal.request, NavigateClient(self._node, goal)
        try:
            config = limited(
                self.config,
                max_decisions=request.max_decisions,
                max_duration_s=request.max_duration_s,
                max_distance_m=request.max_distance_m,
            )
        except ConfigError as err:
            client.refuse(MissionError.BAD_INSTRUCTION, str(err))
            return
        error, message = self._begin(request.instruction, source_of("action", request.source), config, client)
        if error is not MissionError.NONE:
            client.refuse(error, message)

    def _on_cancel_goal(self, goal: ServerGoalHandle) -> None:
        self._cancel("canceled by the client", goal)

    def _on_set_instruction(
        self, request: SetInstruction.Request, response: SetInstruction.Response
    ) -> SetInstruction.Response:
        source = source_of("service", request.source)
        error, response.error_msg = self._begin(request.instruction, source, self.config, None)
        response.error_code, response.success = int(error), error is MissionError.NONE
        return response

    def _on_cancel_instruction(
        self, request: CancelInstruction.Request, response: CancelInstruction.Response
    ) -> CancelInstruction.Response:
        response.success = self._cancel("canceled by the service", None)
        response.error_msg = "" if response.success else "no instruction is being followed"
        return response
