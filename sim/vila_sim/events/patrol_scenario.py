"""A live patrol in which something happens: a flat with doors, a route through one room, a script, and questions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import WorldError
from vila_sim.episodes.route import Route
from vila_sim.episodes.scenario import SPLIT
from vila_sim.episodes.splits import layout_seed, split_flat
from vila_sim.events.director import Director
from vila_sim.events.event_queries import ClipQuery, draw_queries
from vila_sim.events.patrol import Watch
from vila_sim.events.scripted_events import Script, Times, Verb
from vila_sim.events.stage import Stage
from vila_sim.flats.doors import with_leaves
from vila_sim.flats.grid import OccupancyGrid
from vila_sim.flats.scene import Flat, Room
from vila_sim.truth import Truth

DURATION_S = 90.0
PERIOD_S = 0.25
VERBS: tuple[Verb, ...] = ("appears", "moves", "vanishes", "door_opens", "moves", "appears", "door_opens", "vanishes")
_ATTEMPTS = 8


@dataclass(frozen=True, slots=True, eq=False)
class PatrolScenario:
    """What is played and driven, from the moment at which it is begun, and what is asked about it.

    truth: as it will be if the robot keeps to its route.
    """

    flat: Flat
    room: Room
    route: Route
    script: Script
    truth: Truth
    queries: tuple[ClipQuery, ...]


def make_patrol(seed: int, duration_s: float = DURATION_S) -> PatrolScenario:
    """Build the patrol: the same arguments give the same one. It renders, and frees what it rendered with.

    In its script an object appears, one moves, one is taken away and a door opens, each in view.
    Raises WorldError if that finds no place in the flat's largest room.
    """
    rng = np.random.default_rng([seed, *b"patrol"])
    flat = with_leaves(split_flat(layout_seed(SPLIT, seed)), rng)
    room = flat.room("living_room")
    grid = OccupancyGrid(flat)
    times_s = np.arange(0.0, duration_s, PERIOD_S)
    stage = Stage(flat)
    try:
        for _ in range(_ATTEMPTS):
            route = Watch(grid, room, rng).patrol(duration_s, door_wanted=True)
            script = Director(stage, grid, room, route, times_s=times_s).direct(VERBS, rng, unseen=0.0)
            if set(VERBS) <= {scripted.verb for scripted in script}:
                truth = Truth(flat, script, times_s, _pixels(stage, script, route, times_s))
                return PatrolScenario(flat, room, route, script, truth, draw_queries(truth, rng))
    finally:
        stage.close()
    raise WorldError(f"flat of seed {seed}: {', '.join(sorted(set(VERBS)))} find no place in view; try another seed")


def _pixels(stage: Stage, script: Script, route: Route, times_s: Times) -> NDArray[np.int64]:
    """How much of each thing is in view at each time: [T, N]."""
    rows: list[NDArray[np.int64]] = []
    for is_new in stage.play(script, route, times_s):
        rows.append(stage.pixels() if is_new else rows[-1])
    return np.stack(rows)
