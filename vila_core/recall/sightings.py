"""The things that a picture shows: where in it, and a vector by which each is found again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vila_core.engine.names import Floats, NameTable
from vila_core.types import Thing

MOST = 6  # things that are kept of a picture
LEAST_LOGIT = -1.0  # what is less like every name is wall or floor
_BLOB = 2.0  # cells whose logit is so near to the best are of the same thing
_MOST_LOGIT = 3.0  # what is surer counts no more in the middle of a blob


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """A thing that a picture shows. All places are shares of its width and height, from its upper left corner.

    across, down: its best cell. middle: of its cells, from the left. foot: its lower edge. thing: what it is most like,
    with the logit of that. vector: [F] what that cell shows. distance_m: how far off it is along the floor, nan from a
    model that can't tell.
    """

    across: float
    down: float
    middle: float
    foot: float
    thing: Thing
    logit: float
    vector: Floats
    distance_m: float = math.nan


def sightings(cells: Floats, names: NameTable, distances_m: Floats | None = None, most: int = MOST) -> list[Sighting]:
    """Return the things that a picture's cells [M, F] show, the surest first.

    Of two names that point to one cell the likelier counts. distances_m: [M], None where they are not known.
    """
    logits = names.logits(cells)  # [M, N]
    best, places = logits.max(axis=0), logits.argmax(axis=0)
    found: list[Sighting] = []
    taken = set[int]()
    for name in np.argsort(-best):
        place = int(places[name])
        if best[name] < LEAST_LOGIT or len(found) == most:
            break
        if place not in taken:
            taken.add(place)
            far_m = math.nan if distances_m is None else float(distances_m[place])
            found.append(_sighting(cells, logits[:, name], place, names.things[name], far_m))
    return found


def nearest(found: Sequence[Sighting], across: float, down: float) -> Sighting | None:
    """Return the sighting nearest to a place in the picture; None if there is none."""
    return min(found, key=lambda one: (one.across - across) ** 2 + (one.down - down) ** 2, default=None)


def _sighting(cells: Floats, logits: Floats, place: int, thing: Thing, far_m: float) -> Sighting:
    grid = round(len(cells) ** 0.5)
    of_it = np.flatnonzero(logits > logits[place] - _BLOB)
    shares = np.exp(np.minimum(logits[of_it], _MOST_LOGIT))
    middle = float((shares * (of_it % grid + 0.5)).sum() / shares.sum() / grid)
    foot = float(of_it.max() // grid + 1) / grid
    row, column = divmod(place, grid)
    across, down = (column + 0.5) / grid, (row + 0.5) / grid
    return Sighting(across, down, middle, foot, thing, float(logits[place]), cells[place].copy(), far_m)
