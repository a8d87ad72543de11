"""A look around that showed no way is not the end: the robot drives on where a way was the most probable.

A model that sees its goal small or half hidden says forward with a probability of a third, turns on because that is the
likelier, and has looked round without having gone anywhere. From nearer it would see. So once it has turned round on
one spot, it turns to the heading in which driving was the most probable, and drives; then it may look round again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from vila_core.actions.grammar import ACTIONS
from vila_core.types import Action, MoveForward, Pose, Stop, Turn, wrap_angle

ROUND_RAD = math.radians(330.0)  # net turn that counts as round: one more turn leads to MOST_RAD at most
MOST_RAD = math.radians(375.0)  # net turn that a mission does not yet end at
_SHOWN_RAD = math.radians(265.0)  # net turn in which pictures of a right angle have shown all round
_MOVED_M = 0.3  # from where it began to look: somebody else drives it
_STRAIGHT_RAD = math.radians(8.0)
_TURNS = tuple(action for action in ACTIONS if isinstance(action, Turn))
_FORWARD = tuple(index for index, action in enumerate(ACTIONS) if isinstance(action, MoveForward))

Mask = tuple[bool, ...]
ALL: Mask = (True,) * len(ACTIONS)


class LookAround:
    """Remembers in which heading driving was how probable, since the robot last drove.

    chances: look-arounds of a mission after which it drives on; 0: none. least: probability of driving, of the three
    forward actions together, without which it does not. Call `allowed` before each decision and `note` after it.
    """

    def __init__(self, chances: int, least: float) -> None:
        self._chances, self._least = chances, least
        self._spot: Pose | None = None
        self._yaw_rad = self._turned_rad = 0.0
        self._seen: list[tuple[float, float]] = []  # heading and probability of driving
        self._wanted_rad: float | None = None  # the heading that it turns to

    def allowed(self, pose: Pose | None) -> Mask:
        """For each of grammar.ACTIONS: may it be done at this pose? All may unless the robot has looked round."""
        if pose is None:
            self._spot = None
            return ALL
        if self._spot is None or pose.distance_m(self._spot) > _MOVED_M:
            self._spot, self._yaw_rad, self._turned_rad, self._seen = pose, pose.yaw_rad, 0.0, []
            self._wanted_rad = None
        self._turned_rad += wrap_angle(pose.yaw_rad - self._yaw_rad)
        self._yaw_rad = pose.yaw_rad
        if self._wanted_rad is None and self._chances and abs(self._turned_rad) >= ROUND_RAD:
            self._choose()
        return ALL if self._wanted_rad is None else self._toward(wrap_angle(self._wanted_rad - pose.yaw_rad))

    @property
    def has_seen_all(self) -> bool:
        """True once the robot has turned so far on its spot that it has seen all round."""
        return self._spot is not None and abs(self._turned_rad) >= _SHOWN_RAD

    def note(self, action: Action, probabilities: Sequence[float]) -> None:
        """Note what is going to be done, and how probable each action was there; empty: it is not known."""
        if isinstance(action, MoveForward):
            self._spot = None  # also where something is in the way: it is not pushed again
        elif self._spot is not None and probabilities:
            self._seen.append((self._yaw_rad, sum(probabilities[index] for index in _FORWARD)))

    def _choose(self) -> None:
        heading, probability = max(self._seen, key=lambda one: one[1], default=(0.0, 0.0))
        if probability >= self._least:
            self._wanted_rad, self._chances = heading, self._chances - 1

    def _toward(self, error_rad: float) -> Mask:
        """To stop, and one motion: a turn to the heading, not once more round; where it looks there, driving."""
        if abs(error_rad) <= _STRAIGHT_RAD:
            return tuple(not isinstance(action, Turn) for action in ACTIONS)
        nearest = turn_toward(error_rad, self._turned_rad)
        return tuple(isinstance(action, Stop) or action == nearest for action in ACTIONS)


def turn_toward(error_rad: float, turned_rad: float) -> Turn:
    """Return the turn that comes nearest to an angle, the other way round where this one led once too often round.

    turned_rad: net, on this spot.
    """
    if abs(turned_rad + error_rad) > MOST_RAD:
        error_rad -= math.copysign(2 * math.pi, error_rad)
    return min(_TURNS, key=lambda turn: abs(turn.angle_rad - error_rad))
