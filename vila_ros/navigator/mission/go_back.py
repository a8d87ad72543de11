"""The action ~/go_back: goals that name a time, or a thing that was seen, and become missions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from vila_nav.action import GoBack

from vila_core.errors import ConfigError
from vila_core.prompts.instruction import source_of
from vila_ros.common.conversions import ns_from_stamp
from vila_ros.navigator.mission.goal_clients import GO_BACK, GoBackClient
from vila_ros.navigator.mission.goals import GoalServer
from vila_ros.navigator.mission.mission import MissionError
from vila_ros.navigator.mission.mission_config import MissionConfig, limited


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where the robot is to go back to: to where it was at a time, or when it last saw a thing; one of both is given.

    source: who tells it.
    """

    stamp_ns: int
    text: str
    source: str

    @property
    def title(self) -> str:
        """What the mission is called."""
        if self.text:
            return f"go back to where {self.text} was seen"
        return f"go back to where the robot was at {self.stamp_ns / 1e9:.1f} s"


Begin = Callable[[Wanted, MissionConfig, GoBackClient], tuple[MissionError, str]]
Cancel = Callable[[str, "ServerGoalHandle | None"], bool]


class GoBackInput:
    """Takes goals and their cancellations to the node.

    config: the limits of a mission that names none; it may be set anew. begin: starts a mission, and returns why not.
    cancel: ends the present mission in these words, if it is that goal's.
    """

    def __init__(self, node: Node, config: MissionConfig, begin: Begin, cancel: Cancel) -> None:
        self._node, self.config, self._begin, self._cancel = node, config, begin, cancel
        self._server = GoalServer(node, GoBack, GO_BACK, self._on_goal, self._on_cancel)

    def destroy(self) -> None:
        """Close the action."""
        self._server.destroy()

    def _on_goal(self, goal: ServerGoalHandle) -> None:
        client = GoBackClient(self._node, goal)
        try:
            wanted, config = _wanted(goal.request), _limits(goal.request, self.config)
        except ConfigError as err:
            client.refuse(MissionError.BAD_INSTRUCTION, str(err))
            return
        error, message = self._begin(wanted, config, client)
        if error is not MissionError.NONE:
            client.refuse(error, message)

    def _on_cancel(self, goal: ServerGoalHandle) -> None:
        self._cancel("canceled by the client", goal)


def _wanted(request: GoBack.Goal) -> Wanted:
    stamp_ns, text = ns_from_stamp(request.stamp), " ".join(request.text.split())
    if (stamp_ns == 0) == (not text):
        given = "neither is" if not text else f"both are: {stamp_ns / 1e9:.1f} s and {text[:80]!r}"
        raise ConfigError(f"give stamp, where the robot was then, or text, what it saw; {given} given")
    return Wanted(stamp_ns, text, source_of("action", request.source))


def _limits(request: GoBack.Goal, config: MissionConfig) -> MissionConfig:
    return limited(
        config, max_decisions=0, max_duration_s=request.max_duration_s, max_distance_m=request.max_distance_m
    )
