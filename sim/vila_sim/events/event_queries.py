"""What is asked about a clip: what happens in it, and what does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vila_sim.episodes.instructions import render_instruction
from vila_sim.flats.furniture import COLOURS, KINDS
from vila_sim.truth import (
    DOOR_PAIR,
    DOOR_QUERY_VERBS,
    GLIMPSED_PIXELS,
    OBJECT_VERBS,
    PLAIN_PIXELS,
    Pair,
    QueryVerb,
    Seconds,
    Truth,
)

TRAIN_TEMPLATES: dict[QueryVerb, tuple[str, ...]] = {
    "in_view": (
        "the {colour} {kind} is in view",
        "the {colour} {kind} is visible",
        "you see the {colour} {kind}",
        "the {colour} {kind} can be seen",
        "when is the {colour} {kind} in view",
        "when did you see the {colour} {kind}",
        "there is a {colour} {kind}",
        "a {colour} {kind} is in sight",
        "look out for the {colour} {kind}",
        "let me know when you see the {colour} {kind}",
        "say when a {colour} {kind} is in view",
        "when was a {colour} {kind} visible",
    ),
    "moves": (
        "the {colour} {kind} moves",
        "the {colour} {kind} is moving",
        "someone moves the {colour} {kind}",
        "the {colour} {kind} slides along the floor",
        "when does the {colour} {kind} move",
        "when did the {colour} {kind} move",
        "a {colour} {kind} is being moved",
        "someone pushes the {colour} {kind}",
        "let me know when the {colour} {kind} is moving",
        "say when someone moves the {colour} {kind}",
        "when was the {colour} {kind} moved",
    ),
    "appears": (
        "the {colour} {kind} appears",
        "the {colour} {kind} comes down",
        "someone puts the {colour} {kind} down",
        "the {colour} {kind} is put there",
        "when does the {colour} {kind} appear",
        "when did the {colour} {kind} appear",
        "a {colour} {kind} is being put down",
        "someone puts down a {colour} {kind}",
        "let me know when the {colour} {kind} is put there",
        "say when someone puts the {colour} {kind} down",
        "when was the {colour} {kind} put there",
    ),
    "vanishes": (
        "the {colour} {kind} is taken away",
        "the {colour} {kind} vanishes",
        "someone takes the {colour} {kind} away",
        "the {colour} {kind} goes up",
        "when is the {colour} {kind} taken away",
        "when did the {colour} {kind} vanish",
        "a {colour} {kind} is being taken away",
        "someone removes the {colour} {kind}",
        "let me know when the {colour} {kind} vanishes",
        "say when someone takes the {colour} {kind} away",
        "when was the {colour} {kind} taken away",
    ),
    "door_opens": (
        "the door opens",
        "a door opens",
        "someone opens the door",
        "when does the door open",
        "when did a door open",
        "a door is being opened",
        "let me know when someone opens the door",
        "say when the door opens",
        "when was the door opened",
    ),
    "door_is_open": (
        "the door is open",
        "a door is open",
        "the door stands open",
        "when is the door open",
        "when was a door open",
        "there is an open door",
        "let me know when the door is open",
        "say when a door is open",
        "when did the door stand open",
    ),
}
HELD_OUT_TEMPLATES: dict[QueryVerb, tuple[str, ...]] = {
    "in_view": ("when can the {colour} {kind} be seen", "when is the {colour} {kind} visible"),
    "moves": ("when is the {colour} {kind} moving", "tell me when the {colour} {kind} moves"),
    "appears": ("when is the {colour} {kind} put down", "tell me when the {colour} {kind} appears"),
    "vanishes": ("when does the {colour} {kind} vanish", "tell me when the {colour} {kind} is taken away"),
    "door_opens": ("someone opens a door", "tell me when the door opens"),
    "door_is_open": ("a door stands open", "when is a door open"),
}
QUERIES = 12  # of a clip
IN_VIEW = 3  # at most so many of them ask, rightly, for what is in view
_DOOR_NEGATIVE_PROBABILITY = 0.65
_NEGATIVE_WEIGHTS = (0.4, 0.2, 0.2, 0.2)  # of OBJECT_VERBS
_WHOLE_CLIP_WEIGHT = 0.3  # of a pair that is in view all the time, beside 1 for one that comes or goes


@dataclass(frozen=True, slots=True)
class ClipQuery:
    """A question about a clip and its answer; no interval means that it does not happen.

    glimpsed_s: the same, however little of it was in view: it is not false to report that.
    """

    text: str
    verb: QueryVerb
    colour: str
    kind: str
    intervals_s: tuple[Seconds, ...]
    glimpsed_s: tuple[Seconds, ...]
    held_out_template: bool


def draw_queries(truth: Truth, rng: np.random.Generator, *, held_out: float = 0.0) -> tuple[ClipQuery, ...]:
    """Draw about 12 questions, about half of which have an answer.

    held_out: the probability of a sentence that training never uses.
    """
    asked = [*_happened(truth), *_was_in_view(truth, rng)]
    for verb in DOOR_QUERY_VERBS:
        known = truth.intervals(verb, DOOR_PAIR)
        if known or rng.random() < _DOOR_NEGATIVE_PROBABILITY:
            asked.append((verb, DOOR_PAIR))
    asked += _not_seen(truth, QUERIES - len(asked), rng)
    return tuple(_worded(truth, verb, pair, rng, held_out) for verb, pair in asked)


def _happened(truth: Truth) -> list[tuple[QueryVerb, Pair]]:
    """What happens to objects, in view."""
    verbs = OBJECT_VERBS[1:]
    return [(verb, pair) for verb in verbs for pair in truth.seen_pairs() if truth.intervals(verb, pair)]


def _was_in_view(truth: Truth, rng: np.random.Generator) -> list[tuple[QueryVerb, Pair]]:
    pairs = [pair for pair in truth.seen_pairs() if truth.intervals("in_view", pair)]
    if not pairs:
        return []
    always = [truth.holds("in_view", pair).all() for pair in pairs]
    weights = np.where(always, _WHOLE_CLIP_WEIGHT, 1.0)
    chosen = rng.choice(len(pairs), min(IN_VIEW, len(pairs)), replace=False, p=weights / weights.sum())
    return [("in_view", pairs[i]) for i in chosen]


def _not_seen(truth: Truth, count: int, rng: np.random.Generator) -> list[tuple[QueryVerb, Pair]]:
    """Questions whose answer is "not seen", each about another thing or another verb."""
    asked: list[tuple[QueryVerb, Pair]] = []
    for _ in range(20 * count):
        if len(asked) >= count:
            break
        verb = OBJECT_VERBS[int(rng.choice(len(OBJECT_VERBS), p=_NEGATIVE_WEIGHTS))]
        pair = _tempting_pair(truth, rng)
        if (verb, pair) not in asked and not truth.holds(verb, pair, GLIMPSED_PIXELS).any():
            asked.append((verb, pair))
    return asked


def _tempting_pair(truth: Truth, rng: np.random.Generator) -> Pair:
    """A thing that is seen or that something happens to; its like in colour or kind; or any pair at all."""
    seen = truth.seen_pairs()
    names = {one.subject for one in truth.script}
    busy = sorted({(thing.colour, thing.kind) for thing in truth.flat.objects if thing.name in names})
    pools = [pool for pool in (seen, busy, [*busy, *seen]) if pool]
    choice = int(rng.integers(len(pools) + 1))
    if choice == len(pools):
        return _any(list(COLOURS), rng), _any(list(KINDS), rng)
    colour, kind = _any(pools[choice], rng)
    if choice < len(pools) - 1:
        return colour, kind
    if rng.random() < 0.5:
        return colour, _any(list(KINDS), rng)
    return _any(list(COLOURS), rng), kind


def _any(options: Sequence[Pair] | Sequence[str], rng: np.random.Generator):  # type: ignore[no-untyped-def]
    return options[int(rng.integers(len(options)))]


def _worded(truth: Truth, verb: QueryVerb, pair: Pair, rng: np.random.Generator, held_out: float) -> ClipQuery:
    other = bool(rng.random() < held_out)
    templates = (HELD_OUT_TEMPLATES if other else TRAIN_TEMPLATES)[verb]
    main = not other and rng.random() < 0.4
    template = templates[0] if main else templates[int(rng.integers(len(templates)))]
    text = render_instruction(template, *pair)
    intervals_s, glimpsed_s = (truth.intervals(verb, pair, least) for least in (PLAIN_PIXELS, GLIMPSED_PIXELS))
    return ClipQuery(text, verb, *pair, intervals_s, glimpsed_s, other)
