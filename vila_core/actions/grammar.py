"""The ten sentences that move the robot: one source for scoring, parsing and training labels.

The strings are the targets that NaVILA was trained on, letter for letter (stop is a sentence
of its own; "degree" is singular). Centimetres and degrees exist only in this file.
"""

from __future__ import annotations

import math

from vila_core.types import Action, MoveForward, Stop, Turn

STOP_SENTENCE = "I think I should stop because I have finished the instruction."
FORWARD_CM = (25, 50, 75)
TURN_DEGREES = (15, 30, 45)
_TOLERANCE = 1e-6  # m or rad: an action that went through sums or messages is still the same


def forward_cm(distance_cm: int) -> MoveForward:
    """Return the forward motion of so many centimetres."""
    return MoveForward(distance_cm / 100)


def turn_degrees(angle_degrees: int) -> Turn:
    """Return the turn by so many degrees, left > 0."""
    return Turn(math.radians(angle_degrees))


SENTENCES: tuple[str, ...] = (
    STOP_SENTENCE,
    *(f"The next action is move forward {d} cm." for d in FORWARD_CM),
    *(f"The next action is turn left {a} degree." for a in TURN_DEGREES),
    *(f"The next action is turn right {a} degree." for a in TURN_DEGREES),
)

ACTIONS: tuple[Action, ...] = (
    Stop(),
    *(forward_cm(d) for d in FORWARD_CM),
    *(turn_degrees(a) for a in TURN_DEGREES),
    *(turn_degrees(-a) for a in TURN_DEGREES),
)


def action_index(action: Action) -> int:
    """Return the action's place in ACTIONS.

    Raises ValueError if it is not one of the ten (to 1e-6 m or rad).
    """
    for index, known in enumerate(ACTIONS):
        if _same(action, known):
            return index
    raise ValueError(f"{action!r} is not one of the {len(ACTIONS)} actions of the grammar")


def format_action(action: Action) -> str:
    """Return the sentence that says the action; ValueError if it is not one of the ten."""
    return SENTENCES[action_index(action)]


def short_name(action: Action) -> str:
    """Return an action in a word or three: "left 15", "forward 75 cm"."""
    if isinstance(action, Stop):
        return "stop"
    if isinstance(action, MoveForward):
        return f"forward {round(action.distance_m * 100)} cm"
    return f"{'left' if action.angle_rad > 0 else 'right'} {round(abs(math.degrees(action.angle_rad)))}°"


def unit_steps(action: Action) -> tuple[Action, ...]:
    """Cut the action into pieces of 25 cm or 15 degrees, as VLN-CE executes it; Stop stays one.

    Raises ValueError if it is not one of the ten.
    """
    known = ACTIONS[action_index(action)]
    if isinstance(known, MoveForward):
        unit = forward_cm(FORWARD_CM[0])
        return (unit,) * round(known.distance_m / unit.distance_m)
    if isinstance(known, Turn):
        turn = turn_degrees(int(math.copysign(TURN_DEGREES[0], known.angle_rad)))
        return (turn,) * round(known.angle_rad / turn.angle_rad)
    return (known,)


def _same(action: Action, known: Action) -> bool:
    if isinstance(action, MoveForward) and isinstance(known, MoveForward):
        return abs(action.distance_m - known.distance_m) < _TOLERANCE
    if isinstance(action, Turn) and isinstance(known, Turn):
        return abs(action.angle_rad - known.angle_rad) < _TOLERANCE
    return isinstance(action, Stop) and isinstance(known, Stop)
