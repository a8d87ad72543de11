"""One live task from a sentence and a seed: an unseen flat that holds the target, and a start near it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from vila_core.errors import WorldError
from vila_core.types import Pose
from vila_sim.episodes.instructions import spoken
from vila_sim.episodes.splits import Pair, layout_seed, split_flat
from vila_sim.families.table import PLAIN
from vila_sim.flats.furniture import COLOURS, KINDS
from vila_sim.flats.grid import DistanceField, OccupancyGrid
from vila_sim.flats.plan import CORRIDOR
from vila_sim.flats.scene import Flat, SceneObject

SPLIT = "val_unseen_layout"  # no layout of it was trained on
START_BANDS_M = ((2.5, 4.5), (1.5, 6.0))  # geodesic distance of the start; the second if the room is small
_MAX_GAP_CHARS = 24  # between a colour and a kind in either order: "the chair that is red"


@dataclass(frozen=True, slots=True, eq=False)
class Scenario:
    """A task for a live robot. distance: geodesic distances to the target."""

    flat: Flat
    target: SceneObject
    start: Pose
    distance: DistanceField

    def distance_m(self, pose: Pose) -> float:
        """Geodesic distance from the pose to where a robot stands at the target."""
        return self.distance.at(pose.x_m, pose.y_m)


def named_pair(text: str) -> Pair:
    """Return the (colour, kind) that the text names.

    Raises WorldError if it names none; the message lists the colours and kinds there are.
    """
    pairs = [(colour, kind) for colour in COLOURS for kind in KINDS if _names(text.lower(), colour, kind)]
    if not pairs:
        raise WorldError(
            f"{text!r} names no object of this world, such as 'red chair'; colours: {', '.join(COLOURS)};"
            f" kinds: {', '.join(map(spoken, KINDS))}"
        )
    return max(pairs, key=lambda pair: len(pair[1]))


def make_scenario(instruction: str, seed: int, family: str = PLAIN) -> Scenario:
    """Build the task: the same arguments give the same flat, target and start.

    The robot starts in the target's room, 2.5 to 4.5 m away where the room is large enough, with any heading.
    Raises WorldError if the instruction names no object, or the flat has no such start.
    """
    pair = named_pair(instruction)
    flat = split_flat(layout_seed(SPLIT, seed), (pair,), family)
    grid = OccupancyGrid(flat)
    rng = np.random.default_rng([seed, *pair[0].encode(), *pair[1].encode()])
    for target in (item for item in flat.objects if (item.colour, item.kind) == pair):
        distance = grid.field_to(target)
        start = _start(grid, distance, target, rng)
        if start is not None:
            return Scenario(flat, target, start, distance)
    raise WorldError(f"flat of seed {seed} has no free place to start towards the {' '.join(pair)}; try another seed")


def live_world(seed: int, instruction: str = "", family: str = PLAIN) -> tuple[Flat, Pose]:
    """Return the flat of a seed and the robot's start in it, in every simulator the same.

    instruction: the flat holds what it names and the robot starts in that room; without, at `first_pose`.
    Raises WorldError as `make_scenario` does.
    """
    if instruction:
        scenario = make_scenario(instruction, seed, family)
        return scenario.flat, scenario.start
    flat = split_flat(layout_seed(SPLIT, seed), family=family)
    return flat, first_pose(flat)


def first_pose(flat: Flat) -> Pose:
    """Return where a robot begins that is told no room: in the corridor, else in a doorway."""
    room = flat.rooms[0]
    if room.name == CORRIDOR or not flat.doors:
        return Pose((room.x_min_m + room.x_max_m) / 2, (room.y_min_m + room.y_max_m) / 2)
    door = flat.doors[0]
    return Pose(door.x_m, door.y_m, door.heading_rad)


def _names(text: str, colour: str, kind: str) -> bool:
    a, b = re.escape(spoken(colour)), re.escape(spoken(kind))
    gap = rf"\b.{{1,{_MAX_GAP_CHARS}}}?\b"
    return re.search(rf"\b{a}\s+{b}\b|\b{b}{gap}{a}\b", text) is not None


def _start(grid: OccupancyGrid, distance: DistanceField, target: SceneObject, rng: np.random.Generator) -> Pose | None:
    in_room = grid.room_cells(grid.flat.room(target.room))
    for low_m, high_m in START_BANDS_M:
        cells = np.argwhere(in_room & (distance.values_m >= low_m) & (distance.values_m <= high_m))
        if len(cells):
            row, column = cells[rng.integers(len(cells))]
            return Pose(*grid.centre(int(row), int(column)), float(rng.uniform(-math.pi, math.pi)))
    return None
