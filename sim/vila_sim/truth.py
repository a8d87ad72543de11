"""When what a query names really goes on: from what is in view and from the script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vila_core.config import EventsConfig
from vila_sim.events.scripted_events import Script, Times, placements, things
from vila_sim.flats.doors import DOOR
from vila_sim.flats.scene import Flat, SceneObject

QueryVerb = Literal["in_view", "moves", "appears", "vanishes", "door_opens", "door_is_open"]
Pair = tuple[str, str]  # (colour, kind); a door has no colour
Seconds = tuple[float, float]

OBJECT_VERBS: tuple[QueryVerb, ...] = ("in_view", "moves", "appears", "vanishes")
DOOR_QUERY_VERBS: tuple[QueryVerb, ...] = ("door_opens", "door_is_open")
DOOR_PAIR: Pair = ("", DOOR)
HALF_OPEN = 0.5
PLAIN_PIXELS = 150  # of a thing, in a 224 px image (12 x 12 of them), for it to be plainly in view
GLIMPSED_PIXELS = 30  # from which on it would be wrong to say that it is not in view


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What was in view while a script was played.

    pixels: [T, N], see environment.visible_pixels, for the times and scripted_events.things(flat).
    """

    flat: Flat
    script: Script
    times_s: Times  # [T]
    pixels: NDArray[np.int64]  # [T, N]
    _things: tuple[SceneObject, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_things", things(self.flat))

    def holds(self, verb: QueryVerb, pair: Pair, least: int = PLAIN_PIXELS) -> NDArray[np.bool_]:
        """For each time, whether it goes on in view, with any object of the pair or any door: [T].

        least: of so many pixels of the thing.
        """
        mask = np.zeros(len(self.times_s), bool)
        for index, thing in enumerate(self._things):
            if (thing.colour, thing.kind) == pair:
                mask |= (self.pixels[:, index] >= least) & self._goes_on(verb, index)
        return mask

    def intervals(self, verb: QueryVerb, pair: Pair, least: int = PLAIN_PIXELS) -> tuple[Seconds, ...]:
        """The intervals in which it goes on, see intervals_of."""
        return intervals_of(self.holds(verb, pair, least), self.times_s)

    def goes_on(self, least: int = PLAIN_PIXELS) -> list[tuple[QueryVerb, Pair]]:
        """All that goes on in view at any of the times, with so many pixels of the thing."""
        asked = [(verb, pair) for verb in OBJECT_VERBS for pair in self.seen_pairs(least)]
        asked += [(verb, DOOR_PAIR) for verb in DOOR_QUERY_VERBS]
        return [(verb, pair) for verb, pair in asked if self.holds(verb, pair, least).any()]

    def seen_pairs(self, least: int = PLAIN_PIXELS) -> list[Pair]:
        """The pairs of the objects that were in view at some time, with so many pixels."""
        most = self.pixels.max(axis=0)
        pairs = {(thing.colour, thing.kind) for i, thing in enumerate(self._things) if most[i] >= least}
        return sorted(pairs - {DOOR_PAIR})

    def _goes_on(self, verb: QueryVerb, index: int) -> NDArray[np.bool_]:
        if verb == "in_view":
            return np.ones(len(self.times_s), bool)
        if verb == "door_is_open":
            return self._stands_open(index)
        own = [one for one in self.script if one.verb == verb and one.subject == self._things[index].name]
        return np.array([any(one.is_under_way(float(t)) for one in own) for t in self.times_s])

    def _stands_open(self, index: int) -> NDArray[np.bool_]:
        leaf = self.flat.leaves[index - len(self.flat.objects)]
        spots = (placements(self.script, float(t)).get(leaf.thing.name) for t in self.times_s)
        yaws = [leaf.thing.yaw_rad if spot is None else spot.yaw_rad for spot in spots]
        return np.array([leaf.openness(yaw) > HALF_OPEN for yaw in yaws])


def as_events(intervals: Sequence[Seconds], rules: EventsConfig) -> tuple[Seconds, ...]:
    """What of the intervals counts as an event: near ones are one, and a short one is none."""
    merged: list[Seconds] = []
    for start, end in sorted(intervals):
        if merged and start - merged[-1][1] <= rules.merge_gap_s:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return tuple((start, end) for start, end in merged if end - start >= rules.min_duration_s)


def intervals_of(mask: NDArray[np.bool_], times_s: Times) -> tuple[Seconds, ...]:
    """The runs of a mask [T] as (first, last) times.

    A gap of one image is closed, and what then holds in one image alone is no interval: at the edge of what counts as
    seen, a thing comes and goes from image to image.
    """
    closed = mask.copy()
    closed[1:-1] |= mask[:-2] & mask[2:]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], closed, [False]]).astype(np.int8)))
    runs = zip(edges[::2], edges[1::2] - 1, strict=True)
    return tuple((float(times_s[i]), float(times_s[j])) for i, j in runs if j > i)
