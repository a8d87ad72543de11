"""What people say to send the robot to an object, and which object they mean."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from vila_core.errors import WorldError
from vila_sim.scene import Flat, SceneObject

TRAIN_TEMPLATES = (
    "go to the {colour} {kind}",
    "walk to the {colour} {kind}",
    "move to the {colour} {kind}",
    "drive to the {colour} {kind} and stop there",
    "find the {colour} {kind} and stop",
    "find the {colour} {kind}",
    "go to the {colour} {kind} and stop next to it",
    "please go to the {colour} {kind}",
    "walk over to the {colour} {kind} and wait there",
    "head to the {colour} {kind}",
    "drive over to the {kind} that is {colour}",
    "stop when you are at the {colour} {kind}",
    "look for the {colour} {kind} and move to it",
)
HELD_OUT_TEMPLATES = (
    "head over to the {colour} {kind}",
    "stop when you are next to the {colour} {kind}",
    "please drive to the {kind} that is {colour}",
    "look for the {colour} {kind} and wait there",
    "approach the {colour} {kind} and stop",
    "make your way to the {colour} {kind}",
)
NEUTRAL_INSTRUCTION = "go to the object"  # names nothing: what the instruction-blind baseline hears


def templates_of(split: str) -> tuple[str, ...]:
    """The sentence templates of a split; only val_paraphrase has the held-out ones."""
    return HELD_OUT_TEMPLATES if split == "val_paraphrase" else TRAIN_TEMPLATES


def spoken(kind: str) -> str:
    """The word or words for a kind, as people say it: "waste_bin" is "waste bin"."""
    return kind.replace("_", " ")


def render_instruction(template: str, colour: str, kind: str) -> str:
    """Fill in a template."""
    return template.format(colour=spoken(colour), kind=spoken(kind))


def instruction_for(target: SceneObject, rng: np.random.Generator, split: str = "train") -> str:
    """A random instruction of the split's templates for the object.

    The main template, "go to the {colour} {kind}", comes up half of the time where it is in the split.
    """
    templates = templates_of(split)
    main = split != "val_paraphrase" and rng.random() < 0.5
    template = templates[0] if main else templates[rng.integers(len(templates))]
    return render_instruction(template, target.colour, target.kind)


def resolve_target(flat: Flat, text: str, room: str | None = None) -> SceneObject:
    """The object that an instruction names by colour and kind, in the room or in the whole flat.

    Raises WorldError if the text names no object, or several; the message lists what is there.
    """
    candidates = [item for item in flat.objects if room is None or item.room == room]
    words = text.lower()
    named = [item for item in candidates if _says(words, item.colour) and _says(words, item.kind)]
    longest = max((len(item.kind) for item in named), default=0)
    named = [item for item in named if len(item.kind) == longest]  # "floor lamp" also says "lamp"
    if len(named) != 1:
        problem = "names no object" if not named else f"could mean {_listing(named)}"
        where = f"flat {flat.seed}" + (f", {room}" if room else "")
        raise WorldError(f"{text!r} {problem}; {where} holds: {_listing(candidates)}")
    return named[0]


def _says(text: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(spoken(name))}\b", text) is not None


def _listing(items: Sequence[SceneObject]) -> str:
    return ", ".join(sorted(f"{spoken(item.colour)} {spoken(item.kind)} ({item.room})" for item in items))
