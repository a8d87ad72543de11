"""What people say to send the robot to an object, and which object they mean."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from vila_core.errors import WorldError
from vila_sim.flats.scene import Flat, SceneObject

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
TWO_STEP_TEMPLATES = (
    "go to the {first}, then to the {second}",
    "go to the {first} and then to the {second}",
    "first go to the {first}, then stop at the {second}",
    "walk to the {first}, then walk to the {second} and stop there",
    "visit the {first} and then move to the {second}",
    "drive by the {first}, then stop next to the {second}",
)
HELD_OUT_SPLITS = ("val_paraphrase", "val_all_unseen")  # what is said there is said in no training
NEUTRAL_INSTRUCTION = "go to the object"  # names nothing: what the instruction-blind baseline hears


def templates_of(split: str) -> tuple[str, ...]:
    """The sentence templates of a split for one thing; only HELD_OUT_SPLITS have the held-out ones."""
    return HELD_OUT_TEMPLATES if split in HELD_OUT_SPLITS else TRAIN_TEMPLATES


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
    return spoken_instruction(target.colour, target.kind, rng, split)


def spoken_instruction(colour: str, kind: str, rng: np.random.Generator, split: str = "train") -> str:
    """A random instruction as instruction_for gives it, for a thing that need not be there."""
    templates = templates_of(split)
    main = split not in HELD_OUT_SPLITS and rng.random() < 0.5
    template = templates[0] if main else templates[rng.integers(len(templates))]
    return render_instruction(template, colour, kind)


def two_step_instruction(first: SceneObject, second: SceneObject, rng: np.random.Generator) -> str:
    """A random instruction to visit one thing and to stop at another."""
    template = TWO_STEP_TEMPLATES[rng.integers(len(TWO_STEP_TEMPLATES))]
    names = [f"{spoken(thing.colour)} {spoken(thing.kind)}" for thing in (first, second)]
    return template.format(first=names[0], second=names[1])


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
