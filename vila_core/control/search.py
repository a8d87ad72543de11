"""Whether a robot that turns is looking for something, as it was told, and how sure the model was meanwhile."""

from __future__ import annotations

from vila_core.types import Action, Decision, Turn

_STOP_AND_ONE = 2  # of the actions are allowed on a planned way
_TOLD = 0.8  # share of a turn that decisions must explain: the rest is tolerance, or somebody who turns the robot


class Search:
    """Adds up the turns that were decided and done.

    told_rad: net, on the present spot. turned_rad: to both sides, over the whole mission, but for turns that no other
    motion was left beside: those are on a way that was planned. turns: on the present spot.
    arrival: how probable a stop was at most on the present spot; 0 for a model that tells no probabilities.
    """

    def __init__(self) -> None:
        self.told_rad = self.turned_rad = self.arrival = 0.0
        self.turns = 0
        self._spot = 0
        self._action: Action | None = None
        self._is_planned = False

    def note_decision(self, decision: Decision) -> None:
        """Take a decision that is going to be done."""
        self._action, self._is_planned = decision.action, sum(decision.allowed) == _STOP_AND_ONE
        self.arrival = max(self.arrival, decision.probabilities[0] if decision.probabilities else 0.0)

    def note_done(self, spot: int) -> None:
        """Take the good end of its motion; spot: a number for each place that the robot got on to."""
        if spot != self._spot:
            self._spot, self.told_rad, self.turns, self.arrival = spot, 0.0, 0, 0.0
        if isinstance(self._action, Turn):
            self.told_rad += self._action.angle_rad
            self.turned_rad += 0.0 if self._is_planned else abs(self._action.angle_rad)
            self.turns += 1

    def explains(self, turned_rad: float) -> bool:
        """Return True if the robot has turned so far because it was told to."""
        return self.told_rad * turned_rad > 0 and abs(self.told_rad) >= _TOLD * abs(turned_rad)
