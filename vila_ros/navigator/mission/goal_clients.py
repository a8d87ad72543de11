"""Who sent a goal that makes a mission: what is told to it while the mission runs, and at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from vila_nav.action import GoBack, NavigateInstruction
from vila_nav.msg import NavAction

from vila_ros.common.conversions import stamp_from_ns
from vila_ros.navigator.mission.client_watch import ClientWatch
from vila_ros.navigator.mission.goals import conclude
from vila_ros.navigator.mission.mission import Mission, MissionEnd, MissionError, Outcome

NAVIGATE, GO_BACK = "~/navigate", "~/go_back"


class GoalClient:
    """Who sent a goal: is told how its mission goes and how it ended, and may leave the graph meanwhile.

    Those who inherit say which action it is, and what its feedback and result are.
    """

    action = ""

    def __init__(self, node: Node, handle: ServerGoalHandle) -> None:
        self._node, self.handle = node, handle
        self._watch: ClientWatch | None = None
        self._timeout_s = 0.0

    def watch(self, timeout_s: float) -> None:
        """See from now on whether the client is still there; gone for so long it is missed, 0: never."""
        self._timeout_s = timeout_s
        self._watch = ClientWatch(self._node, self.action, timeout_s) if timeout_s else None

    @property
    def fault(self) -> str:
        """That the client is gone, in words; empty if it is not."""
        if self._watch is None or not self._watch.is_gone():
            return ""
        return f"the client of the goal has left the graph for {self._timeout_s:g} s"

    def tell(self, message: NavAction, latency_ms: float, mission: Mission) -> None:
        """Give feedback on an action, if the goal still runs."""
        if self.handle.is_active:
            self.handle.publish_feedback(self._feedback(message, latency_ms, mission))

    def finish(self, end: MissionEnd) -> None:
        """Give the goal its final state and result."""
        conclude(self.handle, self._result(end), is_success=end.outcome is Outcome.REACHED)

    def refuse(self, error: MissionError, message: str) -> None:
        """End the goal before it began."""
        self.finish(MissionEnd(Outcome.FAILED, error, message, distance_m=0.0, decisions=0, duration_s=0.0))

    def _feedback(self, message: NavAction, latency_ms: float, mission: Mission) -> Any:
        raise NotImplementedError

    def _result(self, end: MissionEnd) -> Any:
        raise NotImplementedError


class NavigateClient(GoalClient):
    """Who sent a goal of ~/navigate."""

    action = NAVIGATE

    def _feedback(self, message: NavAction, latency_ms: float, mission: Mission) -> NavigateInstruction.Feedback:
        return NavigateInstruction.Feedback(
            decision=message,
            probability=message.probability,
            latency_ms=float(latency_ms),
            image_stamp=message.header.stamp,
            decisions=mission.decisions,
            distance_m=float(mission.distance_m),
        )

    def _result(self, end: MissionEnd) -> NavigateInstruction.Result:
        return NavigateInstruction.Result(**_result_fields(end))


class GoBackClient(GoalClient):
    """Who sent a goal of ~/go_back. place_ns: the time of the place; remaining_m: how much of the way is left."""

    action = GO_BACK
    place_ns = 0

    def __init__(self, node: Node, handle: ServerGoalHandle) -> None:
        super().__init__(node, handle)
        self.remaining_m: Callable[[], float] = float

    def _feedback(self, message: NavAction, latency_ms: float, mission: Mission) -> GoBack.Feedback:
        return GoBack.Feedback(
            remaining_m=float(self.remaining_m()), decisions=mission.decisions, distance_m=float(mission.distance_m)
        )

    def _result(self, end: MissionEnd) -> GoBack.Result:
        return GoBack.Result(**_result_fields(end), stamp=stamp_from_ns(self.place_ns))


def _result_fields(end: MissionEnd) -> dict[str, Any]:
    """Return the mission's end as the fields that the results of all its actions have."""
    return {
        "outcome": int(end.outcome),
        "error_code": int(end.error),
        "error_msg": end.message,
        "distance_m": float(end.distance_m),
        "decisions": end.decisions,
        "duration_s": float(end.duration_s),
    }
