"""The kinds of tasks: one made in a furnished flat by chance, or none if the flat does not offer it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from vila_core.types import Pose
from vila_sim.episodes.episode import Episode, Pair
from vila_sim.episodes.instructions import instruction_for, spoken_instruction, two_step_instruction
from vila_sim.flats.furniture import COLOURS, KINDS
from vila_sim.flats.grid import DistanceField, OccupancyGrid, path_points
from vila_sim.flats.scene import Flat, Room, SceneObject

MIN_START_M, MAX_START_M = 1.5, 6.0  # geodesic distance of a start from its goal, and of a goal from the next
MIN_DOOR_M, MAX_DOOR_M = 2.0, 8.0  # the same through a door
DIGITS = 3  # of positions and distances: a millimetre, as files have them
LIKE_PROBABILITY = 0.5  # that an absent thing's like, of another colour, stands in the room

Place = tuple[float, float]
Maker = Callable[[str, OccupancyGrid, tuple[Pair, ...], np.random.Generator, str], Episode | None]


@functools.cache
def held_out_pairs() -> frozenset[Pair]:
    """The (colour, kind) pairs that no training flat holds: one colour of each kind."""
    colours = sorted(COLOURS)
    return frozenset((colours[(3 * i + 1) % len(colours)], kind) for i, kind in enumerate(sorted(KINDS)))


def room_episode(
    split: str, grid: OccupancyGrid, include: tuple[Pair, ...], rng: np.random.Generator, name: str
) -> Episode | None:
    """Make a task within a room: the robot starts in the target's room, 1.5 to 6 m away, with any heading."""
    targets = [item for item in grid.flat.objects if not include or (item.colour, item.kind) in include]
    for index in rng.permutation(len(targets)):
        target = targets[index]
        field = grid.field_to(target)
        start = _draw_start(grid, field, grid.flat.room(target.room), (MIN_START_M, MAX_START_M), rng)
        if start is not None:
            said = instruction_for(target, rng, split)
            return _to_one(split, name, include, grid.flat, target, field, start, said)
    return None


def door_episode(
    split: str, grid: OccupancyGrid, include: tuple[Pair, ...], rng: np.random.Generator, name: str
) -> Episode | None:
    """Make a task through one door: from the room or corridor next to that of a thing whose like is nowhere else."""
    flat = grid.flat
    targets = [item for item in flat.objects if is_the_only_one(flat, item)]
    for index in rng.permutation(len(targets)):
        target = targets[index]
        field, rooms = grid.field_to(target), next_rooms(flat, target.room)
        for place in rng.permutation(len(rooms)):
            start = _draw_start(grid, field, rooms[place], (MIN_DOOR_M, MAX_DOOR_M), rng)
            if start is None or not _stays_in(flat, field, start, {rooms[place].name, target.room}):
                continue
            said = instruction_for(target, rng, split)
            return _to_one(split, name, include, flat, target, field, start, said)
    return None


def two_step_episode(
    split: str, grid: OccupancyGrid, include: tuple[Pair, ...], rng: np.random.Generator, name: str
) -> Episode | None:
    """Make a task of two goals in the start's room, each 1.5 to 6 m from what is before it."""
    flat = grid.flat
    for index in rng.permutation(len(flat.objects)):
        first = flat.objects[index]
        field, others = grid.field_to(first), [o for o in flat.objects if o.room == first.room and o is not first]
        start = _draw_start(grid, field, flat.room(first.room), (MIN_START_M, MAX_START_M), rng)
        if start is None:
            continue
        to_first = path_points(field, start.x_m, start.y_m)
        for place in rng.permutation(len(others)):
            second = others[place]
            onward = grid.field_to(second)
            later_m = onward.at(*to_first[-1])
            if not MIN_START_M <= later_m <= MAX_START_M:
                continue
            return Episode(
                episode_id=name,
                split=split,
                flat_seed=flat.seed,
                family=flat.family,
                include=include,
                room=first.room,
                target=second.name,
                goal_m=(second.x_m, second.y_m),
                start=start,
                instruction=two_step_instruction(first, second, rng),
                reference_path=_rounded((*to_first, *path_points(onward, *to_first[-1])[1:])),
                geodesic_m=round(field.at(start.x_m, start.y_m) + later_m, DIGITS),
                via=first.name,
                via_m=(first.x_m, first.y_m),
            )
    return None


def absent_episode(
    split: str, grid: OccupancyGrid, include: tuple[Pair, ...], rng: np.random.Generator, name: str
) -> Episode | None:
    """Make a task that cannot be done: the flat does not hold what is named; half of the time its like is there."""
    flat = grid.flat
    rooms = [room for room in flat.rooms if any(item.room == room.name for item in flat.objects)]
    room = rooms[rng.integers(len(rooms))]
    cells = np.argwhere(grid.room_cells(room))
    taken = {(item.colour, item.kind) for item in flat.objects} | held_out_pairs()
    pairs = [(colour, kind) for kind in sorted(KINDS) for colour in sorted(COLOURS) if (colour, kind) not in taken]
    kinds = {item.kind for item in flat.objects if item.room == room.name}
    alike = [pair for pair in pairs if pair[1] in kinds]
    pairs = alike if alike and rng.random() < LIKE_PROBABILITY else pairs
    if len(cells) == 0 or not pairs:
        return None
    pair = pairs[rng.integers(len(pairs))]
    start = _pose_in(grid, cells, rng)
    return Episode(
        episode_id=name,
        split=split,
        flat_seed=flat.seed,
        family=flat.family,
        include=include,
        room=room.name,
        target="",
        goal_m=(start.x_m, start.y_m),
        start=start,
        instruction=spoken_instruction(*pair, rng, split),
        reference_path=((start.x_m, start.y_m),),
        geodesic_m=0.0,
        absent=pair,
    )


def _to_one(
    split: str,
    name: str,
    include: tuple[Pair, ...],
    flat: Flat,
    target: SceneObject,
    field: DistanceField,
    start: Pose,
    instruction: str,
) -> Episode:
    return Episode(
        episode_id=name,
        split=split,
        flat_seed=flat.seed,
        family=flat.family,
        include=include,
        room=target.room,
        target=target.name,
        goal_m=(target.x_m, target.y_m),
        start=start,
        instruction=instruction,
        reference_path=_rounded(path_points(field, start.x_m, start.y_m)),
        geodesic_m=round(field.at(start.x_m, start.y_m), DIGITS),
    )


def _rounded(path: Sequence[Place]) -> tuple[Place, ...]:
    return tuple((round(x, DIGITS), round(y, DIGITS)) for x, y in path)


def _draw_start(
    grid: OccupancyGrid, field: DistanceField, room: Room, reach_m: tuple[float, float], rng: np.random.Generator
) -> Pose | None:
    """Draw a pose in the room from which the way is so long, or None."""
    in_reach = (field.values_m >= reach_m[0]) & (field.values_m <= reach_m[1])
    cells = np.argwhere(in_reach & grid.room_cells(room))
    return None if len(cells) == 0 else _pose_in(grid, cells, rng)


def _pose_in(grid: OccupancyGrid, cells: NDArray[np.intp], rng: np.random.Generator) -> Pose:
    row, column = cells[rng.integers(len(cells))]
    x, y = grid.centre(int(row), int(column))
    return Pose(round(x, DIGITS), round(y, DIGITS), float(rng.uniform(-math.pi, math.pi)))


def is_the_only_one(flat: Flat, thing: SceneObject) -> bool:
    """True if the flat holds no other thing of this colour and kind."""
    return sum((item.colour, item.kind) == (thing.colour, thing.kind) for item in flat.objects) == 1


def next_rooms(flat: Flat, room: str) -> Sequence[Room]:
    """The rooms that a door joins to the named one."""
    names = {name for door in flat.doors if room in door.rooms for name in door.rooms} - {room}
    return [flat.room(name) for name in sorted(names)]


def _stays_in(flat: Flat, field: DistanceField, start: Pose, names: set[str]) -> bool:
    """True if the shortest way passes no other room."""
    rooms = (flat.room_at(*point) for point in path_points(field, start.x_m, start.y_m))
    return all(room is None or room.name in names for room in rooms)
