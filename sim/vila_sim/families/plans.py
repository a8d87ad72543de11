"""Floor plans of the richer families: with a corridor through the middle or at its end, or without one.

What is held out has plans of its own: rooms along one side of a corridor, and rooms that open into each other in a row.
"""

from __future__ import annotations

import itertools

import numpy as np

from vila_sim.flats.plan import (
    CORRIDOR,
    PLAIN_WALL,
    WALL_HEIGHT_M,
    WALL_M,
    Draft,
    Gap,
    Line,
    Plan,
    Rect,
    cuts,
    gap_in,
    mm,
    oriented,
    outer_lines,
    plan_of,
    row_beside_corridor,
)
from vila_sim.flats.room_space import Box, overlap
from vila_sim.flats.scene import Door, Room, Wall
from vila_sim.flats.surfaces import HELD_OUT_SURFACES, RICH_SURFACES, Surfaces
from vila_sim.flats.textures import FLOORS, WALLS

_NAMES = ("kitchen", "bedroom", "study", "dining_room", "guest_room", "nursery")
_LEAST_M = 3.0  # of a room's sides
_DOOR_M, _WIDE_DOOR_M = (0.88, 1.08), (1.0, 1.3)
_EXTRA_DOOR = 0.35  # probability of a door that no way needs
_BLOCK = 0.4  # probability that something is built into a larger room
_BLOCKED_M2 = 11.0
_CLEAR_M = 1.0  # of what is built in to any door


def rich_plan(rng: np.random.Generator) -> Plan:
    """Draw a plan of three to seven rooms with the corridor; cupboards built into corners make some L-shaped."""
    drafts = (_through_draft, _end_draft, _grid_draft)
    draft = _turned(drafts[rng.integers(len(drafts))](rng), rng)
    plan = plan_of(draft, _rooms(draft, rng, RICH_SURFACES, plain_too=True))
    return _with_blocks(plan, rng, in_corner=True)


def held_out_plan(rng: np.random.Generator) -> Plan:
    """Draw a plan of three to five rooms as no rich one is; pillars stand in some of them."""
    drafts = (_side_draft, _enfilade_draft)
    draft = _turned(drafts[rng.integers(len(drafts))](rng), rng)
    plan = plan_of(draft, _rooms(draft, rng, HELD_OUT_SURFACES, plain_too=False))
    return _with_blocks(plan, rng, in_corner=False)


def _turned(draft: Draft, rng: np.random.Generator) -> Draft:
    return oriented(draft, *(bool(b) for b in rng.integers(2, size=3)))


# --- with a corridor, rich


def _through_draft(rng: np.random.Generator) -> Draft:
    """A corridor through the whole flat, one to three rooms on each side."""
    width, depth = mm(rng.uniform(8.0, 13.0)), mm(rng.uniform(8.2, 10.4))
    low, high = _corridor(rng, depth)
    rooms = [Rect(WALL_M, low, width - WALL_M, high)]
    span, most = (WALL_M, width - WALL_M), int((width - WALL_M) / (_LEAST_M + WALL_M))
    lines = outer_lines(width, depth)
    for sides in ((WALL_M, low - WALL_M), (high + WALL_M, depth - WALL_M)):
        count = int(rng.integers(1, min(most, 3) + 1))
        lines += row_beside_corridor(rooms, rng, span=span, sides=sides, count=count, least_m=_LEAST_M, wide_m=_DOOR_M)
    return Draft(width, depth, tuple(rooms), tuple(lines))


def _end_draft(rng: np.random.Generator) -> Draft:
    """A corridor that ends at the door of a room as deep as the flat."""
    width, depth = mm(rng.uniform(8.4, 12.4)), mm(rng.uniform(8.2, 10.0))
    low, high = _corridor(rng, depth)
    end = mm(WALL_M + rng.uniform(3.0, 4.6))
    start = mm(end + WALL_M)
    rooms = [Rect(start, low, width - WALL_M, high), Rect(WALL_M, WALL_M, end, depth - WALL_M)]
    door = gap_in(rng, (low, high), (0, 1), _DOOR_M)
    lines = [*outer_lines(width, depth), Line(Rect(end, WALL_M, start, depth - WALL_M), False, (door,))]
    span = (start, width - WALL_M)
    most = int((span[1] - span[0] + WALL_M) / (_LEAST_M + WALL_M))
    for sides in ((WALL_M, low - WALL_M), (high + WALL_M, depth - WALL_M)):
        count = int(rng.integers(1, min(most, 2) + 1))
        lines += row_beside_corridor(rooms, rng, span=span, sides=sides, count=count, least_m=_LEAST_M, wide_m=_DOOR_M)
    return Draft(width, depth, tuple(rooms), tuple(lines))


def _corridor(rng: np.random.Generator, depth: float) -> tuple[float, float]:
    """The two faces of a corridor about the middle."""
    wide = rng.uniform(1.4, 2.0)
    low = (depth - wide) / 2 + rng.uniform(-0.15, 0.15)
    return mm(low), mm(low + wide)


# --- without one, rich


def _grid_draft(rng: np.random.Generator) -> Draft:
    """Two rows of two or three rooms; every room has a way to every other."""
    per_row = int(rng.integers(1, 4)), int(rng.integers(2, 4))
    width = mm(rng.uniform(3.3, 4.6) * max(per_row))
    depth = mm(rng.uniform(6.8, 9.6))
    middle = mm(depth / 2 + rng.uniform(-0.3, 0.3))
    rooms: list[Rect] = []
    between: list[tuple[Rect, bool, list[tuple[tuple[float, float], tuple[int, int]]]]] = []
    for (low, high), count in zip(((WALL_M, middle), (middle + WALL_M, depth - WALL_M)), per_row, strict=True):
        ends = [*cuts(rng, (WALL_M, width - WALL_M), count, _LEAST_M), mm(width - WALL_M)]
        start = WALL_M
        for number, end in enumerate(ends):
            rooms.append(Rect(mm(start), mm(low), end, mm(high)))
            if number:
                wall = Rect(mm(start - WALL_M), mm(low), mm(start), mm(high))
                between.append((wall, False, [((low, high), (len(rooms) - 2, len(rooms) - 1))]))
            start = end + WALL_M
    below, above = range(per_row[0]), range(per_row[0], len(rooms))
    shared = [
        ((max(rooms[a].x0, rooms[b].x0), min(rooms[a].x1, rooms[b].x1)), (a, b))
        for a, b in itertools.product(below, above)
    ]
    between.append((Rect(WALL_M, middle, mm(width - WALL_M), mm(middle + WALL_M)), True, shared))
    doors = _ways(rng, [place for _, _, places in between for place in places], len(rooms), _DOOR_M)
    lines = [
        Line(rect, along_x, tuple(doors[pair] for _, pair in places if pair in doors))
        for rect, along_x, places in between
    ]
    return Draft(width, depth, tuple(rooms), (*outer_lines(width, depth), *lines), has_corridor=False)


def _ways(
    rng: np.random.Generator,
    places: list[tuple[tuple[float, float], tuple[int, int]]],
    rooms: int,
    wide_m: tuple[float, float],
) -> dict[tuple[int, int], Gap]:
    """Draw doors in these stretches of wall: as many as join all rooms, and some more."""
    group = list(range(rooms))
    doors: dict[tuple[int, int], Gap] = {}
    for index in rng.permutation(len(places)):
        span, (a, b) = places[index]
        is_needed = group[a] != group[b]
        wanted = rng.random() < _EXTRA_DOOR
        if span[1] - span[0] > wide_m[1] + 0.6 and (is_needed or wanted):
            doors[(a, b)] = gap_in(rng, span, (a, b), wide_m)
            group = [group[a] if one == group[b] else one for one in group]
    return doors


# --- held out


def _side_draft(rng: np.random.Generator) -> Draft:
    """A corridor along an outer wall, three or four rooms beside it."""
    count = int(rng.integers(3, 5))
    width, depth = mm(rng.uniform(3.4, 4.2) * count), mm(rng.uniform(5.6, 6.8))
    high = mm(WALL_M + rng.uniform(1.5, 2.1))
    rooms = [Rect(WALL_M, WALL_M, width - WALL_M, high)]
    span, sides = (WALL_M, width - WALL_M), (high + WALL_M, depth - WALL_M)
    lines = row_beside_corridor(rooms, rng, span=span, sides=sides, count=count, least_m=_LEAST_M, wide_m=_WIDE_DOOR_M)
    return Draft(width, depth, tuple(rooms), (*outer_lines(width, depth), *lines))


def _enfilade_draft(rng: np.random.Generator) -> Draft:
    """Three or four rooms in a row, each with a door to the next."""
    count = int(rng.integers(3, 5))
    width, depth = mm(rng.uniform(3.6, 4.6) * count), mm(rng.uniform(4.4, 5.8))
    ends = [*cuts(rng, (WALL_M, width - WALL_M), count, _LEAST_M), mm(width - WALL_M)]
    sides = (WALL_M, mm(depth - WALL_M))
    rooms, lines, start = list[Rect](), outer_lines(width, depth), WALL_M
    for number, end in enumerate(ends):
        rooms.append(Rect(mm(start), sides[0], end, sides[1]))
        if number:
            door = gap_in(rng, sides, (number - 1, number), _WIDE_DOOR_M)
            lines.append(Line(Rect(mm(start - WALL_M), sides[0], mm(start), sides[1]), False, (door,)))
        start = end + WALL_M
    return Draft(width, depth, tuple(rooms), tuple(lines), has_corridor=False)


# --- names, floors and walls; what is built in


def _rooms(draft: Draft, rng: np.random.Generator, surfaces: Surfaces, *, plain_too: bool) -> tuple[Room, ...]:
    """The largest room is the living room, the smallest of four or more the bathroom, the others as they come."""
    first = 1 if draft.has_corridor else 0
    by_area = sorted(range(first, len(draft.rooms)), key=lambda i: -draft.rooms[i].area)
    middle = [str(name) for name in rng.permutation(_NAMES)]
    names = ["living_room", *middle[: len(by_area) - 1]]
    if len(by_area) >= 4:
        names[-1] = "bathroom"
    name_of = dict(zip(by_area, names, strict=True))
    floors = (*surfaces.floors, *FLOORS) if plain_too else surfaces.floors
    papers = [str(name) for name in rng.permutation((*surfaces.walls, *WALLS) if plain_too else surfaces.walls)]
    return tuple(
        Room(name_of.get(i, CORRIDOR), r.x0, r.y0, r.x1, r.y1, str(floors[rng.integers(len(floors))]), papers[i])
        for i, r in enumerate(draft.rooms)
    )


def _with_blocks(plan: Plan, rng: np.random.Generator, *, in_corner: bool) -> Plan:
    """Build a cupboard into a corner of some rooms, or a pillar into their middle, clear of all doors."""
    blocks = []
    for room in plan.rooms:
        wide, deep = room.x_max_m - room.x_min_m, room.y_max_m - room.y_min_m
        chance, sizes, at = rng.random(), rng.uniform(0.22, 0.4, 2), rng.random(2)
        if room.name == CORRIDOR or wide * deep < _BLOCKED_M2 or chance > _BLOCK:
            continue
        box = _corner(room, sizes, at) if in_corner else _pillar(room, sizes, at)
        if not any(overlap(box, _door_box(door), _CLEAR_M) for door in plan.doors):
            blocks.append(Wall(*box, WALL_HEIGHT_M, PLAIN_WALL))
    return Plan(plan.width_m, plan.depth_m, plan.rooms, (*plan.walls, *blocks), plan.doors)


def _corner(room: Room, sizes: np.ndarray, at: np.ndarray) -> Box:
    wide = mm((room.x_max_m - room.x_min_m) * sizes[0])
    deep = mm((room.y_max_m - room.y_min_m) * sizes[1])
    x = room.x_min_m if at[0] < 0.5 else mm(room.x_max_m - wide)
    y = room.y_min_m if at[1] < 0.5 else mm(room.y_max_m - deep)
    return x, y, mm(x + wide), mm(y + deep)


def _pillar(room: Room, sizes: np.ndarray, at: np.ndarray) -> Box:
    edge = mm(0.9 * sizes[0])
    x = mm(room.x_min_m + 1.1 + at[0] * (room.x_max_m - room.x_min_m - 2.2 - edge))
    y = mm(room.y_min_m + 1.1 + at[1] * (room.y_max_m - room.y_min_m - 2.2 - edge))
    return x, y, mm(x + edge), mm(y + edge)


def _door_box(door: Door) -> Box:
    half_x, half_y = (door.width_m / 2, WALL_M / 2) if door.along_x else (WALL_M / 2, door.width_m / 2)
    return door.x_m - half_x, door.y_m - half_y, door.x_m + half_x, door.y_m + half_y
