"""What leads nowhere is not tried again: the best reply that is not a repetition on the spot."""

from __future__ import annotations

from collections.abc import Sequence

from vila_core.actions.grammar import ACTIONS
from vila_core.types import Action, MoveForward, Pose, Stop, Turn

_MOVED_M = 0.1  # from where the robot was: it got on, whatever it did before is no repetition
_SWINGS = 2  # changes of the turning direction on one spot, after which the direction stays


class RepetitionGuard:
    """Remembers what was done since the robot last got anywhere, and rules out what would repeat it.

    A model that chooses by the image alone can fall into a loop: left, right, left, right; or
    forward against an obstacle that it does not see. Two rules end both, and use odometry only:

    1. On one spot, after the turning direction changed twice, it does not change again.
    2. After a forward motion that did not move the robot, no forward motion before a turn.

    Stop is never ruled out. Call `allowed` before each decision and `note` after it.
    """

    def __init__(self) -> None:
        self._spot: Pose | None = None
        self._done: list[Action] = []  # since the robot came to the spot

    def allowed(self, pose: Pose | None) -> tuple[bool, ...]:
        """For each of grammar.ACTIONS: may it be done at this pose? All may if the pose is unknown."""
        if pose is None or self._spot is None or pose.distance_m(self._spot) > _MOVED_M:
            self._spot, self._done = pose, []
        return tuple(not self._repeats(action) for action in ACTIONS)

    def note(self, action: Action) -> None:
        """Note that the action is going to be done."""
        if self._spot is not None:
            self._done.append(action)

    def _repeats(self, action: Action) -> bool:
        if isinstance(action, MoveForward):
            return bool(self._done) and isinstance(self._done[-1], MoveForward)
        if not isinstance(action, Turn):
            return False
        turns = [done.angle_rad > 0 for done in self._done if isinstance(done, Turn)]
        swings = sum(one != other for one, other in zip(turns, turns[1:], strict=False))
        return swings >= _SWINGS and (action.angle_rad > 0) != turns[-1]


def best_allowed(probabilities: Sequence[float], allowed: Sequence[bool], choice: int) -> int:
    """Return choice if it is allowed, else the most probable motion that is, else choice.

    Stop says that the goal is reached: it is never taken as a way out.
    """
    motions = [index for index, is_open in enumerate(allowed) if is_open and not isinstance(ACTIONS[index], Stop)]
    if allowed[choice] or not motions:
        return choice
    return max(motions, key=lambda index: probabilities[index])
