"""Who decides for a mission that goes back: its way, by odometry, in the executor's thread. No model is asked."""

from __future__ import annotations

from vila_core.control.way_back import WayBack
from vila_core.types import Decision, HoldReason
from vila_ros.navigator.decisions import Decisions
from vila_ros.navigator.latest import Latest


class Guide:
    """Makes decisions of a way; decisions: knows where the robot was when an image was taken."""

    def __init__(self, way: WayBack, decisions: Decisions, latest: Latest) -> None:
        self._way, self._decisions, self._latest = way, decisions, latest

    def decide(self, stamp_ns: int) -> Decision:
        """Return what to do by the image of that stamp. Raises WayError if the robot has left its way."""
        odometry = self._decisions.odometry_at(stamp_ns)
        if odometry is None:
            return Decision.holding(HoldReason.NO_ODOMETRY, stamp_ns, "no odometry tells where the image was taken")
        action = self._way.next_action(odometry.pose)
        left_m = self._way.remaining_m(odometry.pose)
        return Decision(action, stamp_ns, probability=1.0, detail=f"on the way back, {left_m:.2f} m left")

    def remaining_m(self) -> float:
        """Return how much of the way is left."""
        odometry = self._latest.odometry
        return self._way.length_m if odometry is None else self._way.remaining_m(odometry.pose)
