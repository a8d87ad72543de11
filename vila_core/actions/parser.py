"""Reply text -> Action: ours, which is strict, and NaVILA's own, for comparison only."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vila_core.actions.grammar import ACTIONS, FORWARD_CM, SENTENCES, TURN_DEGREES, forward_cm, turn_degrees
from vila_core.errors import ReplyError
from vila_core.types import Action, Stop

STOP_TOKENS = ("<|eot_id|>", "<|im_end|>", "</s>")
_SHOWN_CHARS = 80  # of a refused reply, in the message


def _reply_table() -> dict[str, Action]:
    table: dict[str, Action] = {}
    for sentence, action in zip(SENTENCES, ACTIONS, strict=True):
        words = sentence.lower().removesuffix(".")
        table[words] = action
        if words.endswith("degree"):
            table[words + "s"] = action
    return table


_ACTION_OF = _reply_table()


def parse_action(reply: str) -> Action:
    """Return the action that the whole reply says.

    Allowed: white space around it, one stop token's text at the end, any case, "degrees", no
    final full stop. Everything else, also a sentence with something after it or another
    number, raises ReplyError: a word such as "stop" inside a text never counts.
    """
    text = reply.strip()
    for token in STOP_TOKENS:
        if text.endswith(token):
            text = text.removesuffix(token).strip()
            break
    # ASCII only: str.lower() maps some other letters, such as the Kelvin sign, onto ASCII.
    action = _ACTION_OF.get(text.lower().removesuffix(".")) if text.isascii() else None
    if action is None:
        raise ReplyError(f"{_shown(reply)} is not a sentence of the action grammar; the robot holds still")
    return action


@dataclass(frozen=True, slots=True)
class OfficialAction:
    """What NaVILA's evaluation makes of a reply.

    action: None where its code finds no action (and habitat-lab then raises). steps: how many
    units of 25 cm or 15 degrees it executes; a stop is one step, no action is none.
    """

    action: Action | None
    steps: int


_OFFICIAL_KINDS = (
    ("stop", re.compile(r"\bstop\b", re.IGNORECASE)),
    ("move forward", re.compile(r"\bis move forward\b", re.IGNORECASE)),
    ("turn left", re.compile(r"\bis turn left\b", re.IGNORECASE)),
    ("turn right", re.compile(r"\bis turn right\b", re.IGNORECASE)),
)


def official_action(reply: str) -> OfficialAction:
    """Return what the released NaVILA VLN-CE evaluation does with the reply; never for control.

    The first pattern found anywhere wins; a missing number means one unit; other numbers snap
    to the nearest of three, multiples of the unit are not limited, and zero is still one step.
    """
    kind = next((name for name, pattern in _OFFICIAL_KINDS if pattern.search(reply)), None)
    if kind is None:
        return OfficialAction(None, 0)
    if kind == "stop":
        return OfficialAction(Stop(), 1)
    if kind == "move forward":
        distance = _official_value(reply, r"move forward (\d+) cm", FORWARD_CM)
        return OfficialAction(forward_cm(distance), max(1, distance // FORWARD_CM[0]))
    angle = _official_value(reply, rf"{kind} (\d+) degree", TURN_DEGREES)
    signed = angle if kind == "turn left" else -angle
    return OfficialAction(turn_degrees(signed), max(1, angle // TURN_DEGREES[0]))


def _official_value(reply: str, pattern: str, known: tuple[int, ...]) -> int:
    match = re.search(pattern, reply)
    value = int(match.group(1)) if match else known[0]
    return value if value % known[0] == 0 else min(known, key=lambda k: abs(k - value))


def _shown(reply: str) -> str:
    return repr(reply if len(reply) <= _SHOWN_CHARS else reply[:_SHOWN_CHARS] + "...")
