"""Floor plans: five rooms and a corridor, their walls and doors, varied by the rng."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vila_sim.scene import Door, Room, Wall
from vila_sim.textures import WALLS

WALL_M = 0.12  # thickness
WALL_HEIGHT_M = 2.5
MIN_ROOM_M = 3.3
INNER_DOOR_PROBABILITY = 0.35

ROOM_FLOORS: dict[str, tuple[str, ...]] = {
    "living_room": ("oak_planks", "walnut_planks", "pine_planks", "beige_carpet"),
    "kitchen": ("stone_tiles", "checker_tiles", "clay_tiles", "slate_tiles"),
    "bedroom": ("grey_carpet", "blue_carpet", "beige_carpet", "pine_planks"),
    "study": ("walnut_planks", "oak_planks", "grey_planks", "grey_carpet"),
    "bathroom": ("slate_tiles", "checker_tiles", "stone_tiles"),
}
CORRIDOR_FLOORS = ("walnut_planks", "oak_planks", "grey_planks", "stone_tiles")
PLAIN_WALL = "plain"  # walls proper are plain; the paper of each room hangs on them as decor


@dataclass(frozen=True, slots=True)
class Plan:
    """The empty flat. The corridor is the first room."""

    width_m: float
    depth_m: float
    rooms: tuple[Room, ...]
    walls: tuple[Wall, ...]
    doors: tuple[Door, ...]


@dataclass(frozen=True, slots=True)
class _Rect:
    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def area(self) -> float:
        return (self.x1 - self.x0) * (self.y1 - self.y0)


@dataclass(frozen=True, slots=True)
class _Gap:
    """A doorway in a wall: where its centre is along the wall, and the rooms' indices."""

    at: float
    width: float
    rooms: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Line:
    """A straight wall with its doorways."""

    rect: _Rect
    along_x: bool
    gaps: tuple[_Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class _Draft:
    """A plan in canonical orientation: the corridor runs along x, rooms have no names yet."""

    width: float
    depth: float
    rooms: tuple[_Rect, ...]
    lines: tuple[_Line, ...]


def generate_plan(rng: np.random.Generator) -> Plan:
    """Draw a plan of about 12 x 9 m.

    The corridor either runs through the whole flat, with two and three rooms beside it, or ends
    at the door of a room as deep as the flat, with two and two beside it. The plan is then
    mirrored and may be transposed. Coordinates are rounded to a millimetre.
    """
    draft = _through_draft(rng) if rng.random() < 0.5 else _end_draft(rng)
    draft = _oriented(draft, *(bool(b) for b in rng.integers(2, size=3)))
    rooms = _named_rooms(draft.rooms, rng)
    walls, doors = _built(draft.lines, tuple(room.name for room in rooms))
    return Plan(draft.width, draft.depth, rooms, walls, doors)


def _through_draft(rng: np.random.Generator) -> _Draft:
    width, depth, corridor = _sizes(rng)
    rooms = [_Rect(WALL_M, corridor[0], width - WALL_M, corridor[1])]
    below, above = (2, 3) if rng.random() < 0.5 else (3, 2)
    lines = _outer_lines(width, depth)
    lines += _row(rooms, rng, span=(WALL_M, width - WALL_M), sides=(WALL_M, corridor[0] - WALL_M), count=below)
    lines += _row(rooms, rng, span=(WALL_M, width - WALL_M), sides=(corridor[1] + WALL_M, depth - WALL_M), count=above)
    return _Draft(width, depth, tuple(rooms), tuple(lines))


def _end_draft(rng: np.random.Generator) -> _Draft:
    width, depth, corridor = _sizes(rng)
    end = _mm(WALL_M + rng.uniform(3.4, 4.2))
    start = _mm(end + WALL_M)
    rooms = [_Rect(start, corridor[0], width - WALL_M, corridor[1]), _Rect(WALL_M, WALL_M, end, depth - WALL_M)]
    gap = _gap(rng, corridor, (0, 1))
    lines = [*_outer_lines(width, depth), _Line(_Rect(end, WALL_M, start, depth - WALL_M), False, (gap,))]
    lines += _row(rooms, rng, span=(start, width - WALL_M), sides=(WALL_M, corridor[0] - WALL_M), count=2)
    lines += _row(rooms, rng, span=(start, width - WALL_M), sides=(corridor[1] + WALL_M, depth - WALL_M), count=2)
    return _Draft(width, depth, tuple(rooms), tuple(lines))


def _sizes(rng: np.random.Generator) -> tuple[float, float, tuple[float, float]]:
    """Width, depth, and the corridor's two faces."""
    width, depth = _mm(rng.uniform(11.6, 12.6)), _mm(rng.uniform(8.8, 9.6))
    corridor = rng.uniform(1.45, 1.8)
    low = (depth - corridor) / 2 + rng.uniform(-0.25, 0.25)
    return width, depth, (_mm(low), _mm(low + corridor))


def _outer_lines(width: float, depth: float) -> list[_Line]:
    return [
        _Line(_Rect(0.0, 0.0, width, WALL_M), True),
        _Line(_Rect(0.0, depth - WALL_M, width, depth), True),
        _Line(_Rect(0.0, WALL_M, WALL_M, depth - WALL_M), False),
        _Line(_Rect(width - WALL_M, WALL_M, width, depth - WALL_M), False),
    ]


def _row(
    rooms: list[_Rect],
    rng: np.random.Generator,
    *,
    span: tuple[float, float],
    sides: tuple[float, float],
    count: int,
) -> list[_Line]:
    """Append a row of rooms beside the corridor (room 0) and return its walls."""
    cuts = _cuts(rng, span, count)
    lines: list[_Line] = []
    gaps: list[_Gap] = []
    for i in range(count):
        first = span[0] if i == 0 else cuts[i - 1] + WALL_M
        last = cuts[i] if i < count - 1 else span[1]
        rooms.append(_Rect(_mm(first), sides[0], _mm(last), sides[1]))
        index = len(rooms) - 1
        gaps.append(_gap(rng, (first, last), (0, index)))
        if i:
            joined = rng.random() < INNER_DOOR_PROBABILITY
            doors = (_gap(rng, sides, (index - 1, index)),) if joined else ()
            lines.append(_Line(_Rect(_mm(first - WALL_M), sides[0], _mm(first), sides[1]), False, doors))
    corridor = rooms[0]
    y0, y1 = (sides[1], corridor.y0) if sides[1] < corridor.y0 else (corridor.y1, sides[0])
    return [*lines, _Line(_Rect(span[0], y0, span[1], y1), True, tuple(gaps))]


def _cuts(rng: np.random.Generator, span: tuple[float, float], count: int) -> list[float]:
    spare = span[1] - span[0] - WALL_M * (count - 1) - MIN_ROOM_M * count
    shares = rng.dirichlet(np.full(count, 2.0)) * max(spare, 0.0)
    ends = np.cumsum(shares + MIN_ROOM_M + WALL_M) + span[0] - WALL_M
    return [_mm(end) for end in ends[:-1]]


def _gap(rng: np.random.Generator, span: tuple[float, float], rooms: tuple[int, int]) -> _Gap:
    width = _mm(rng.uniform(0.92, 1.0))
    margin = width / 2 + 0.18
    return _Gap(_mm(rng.uniform(span[0] + margin, span[1] - margin)), width, rooms)


def _oriented(draft: _Draft, mirror_x: bool, mirror_y: bool, transpose: bool) -> _Draft:
    def rect(r: _Rect) -> _Rect:
        xs = (draft.width - r.x1, draft.width - r.x0) if mirror_x else (r.x0, r.x1)
        ys = (draft.depth - r.y1, draft.depth - r.y0) if mirror_y else (r.y0, r.y1)
        if transpose:
            xs, ys = ys, xs
        return _Rect(_mm(xs[0]), _mm(ys[0]), _mm(xs[1]), _mm(ys[1]))

    def line(old: _Line) -> _Line:
        mirrored, extent = (mirror_x, draft.width) if old.along_x else (mirror_y, draft.depth)
        gaps = tuple(replace(gap, at=_mm(extent - gap.at)) if mirrored else gap for gap in old.gaps)
        return _Line(rect(old.rect), old.along_x != transpose, gaps)

    size = (draft.depth, draft.width) if transpose else (draft.width, draft.depth)
    return _Draft(*size, tuple(rect(r) for r in draft.rooms), tuple(line(old) for old in draft.lines))


def _named_rooms(rects: tuple[_Rect, ...], rng: np.random.Generator) -> tuple[Room, ...]:
    """The largest is the living room, the smallest the bathroom, the others as they come."""
    by_area = sorted(range(1, len(rects)), key=lambda i: -rects[i].area)
    middle = [str(name) for name in rng.permutation(["kitchen", "bedroom", "study"])]
    names = dict(zip(by_area, ["living_room", *middle, "bathroom"], strict=True))
    papers = [str(name) for name in rng.permutation(list(WALLS))]
    rooms = []
    for index, rect in enumerate(rects):
        name = names.get(index, "corridor")
        floor = str(rng.choice(ROOM_FLOORS.get(name, CORRIDOR_FLOORS)))
        rooms.append(Room(name, rect.x0, rect.y0, rect.x1, rect.y1, floor, papers[index]))
    return tuple(rooms)


def _built(lines: tuple[_Line, ...], names: tuple[str, ...]) -> tuple[tuple[Wall, ...], tuple[Door, ...]]:
    """Cut the doorways out of the walls."""
    walls: list[Wall] = []
    doors: list[Door] = []
    for line in lines:
        rect = line.rect
        start, end = (rect.x0, rect.x1) if line.along_x else (rect.y0, rect.y1)
        for gap in sorted(line.gaps, key=lambda g: g.at):
            walls.append(_wall(line, start, gap.at - gap.width / 2))
            start = gap.at + gap.width / 2
            across = (rect.y0 + rect.y1) / 2 if line.along_x else (rect.x0 + rect.x1) / 2
            x, y = (gap.at, across) if line.along_x else (across, gap.at)
            pair = (names[gap.rooms[0]], names[gap.rooms[1]])
            doors.append(Door(_mm(x), _mm(y), gap.width, line.along_x, pair))
        walls.append(_wall(line, start, end))
    return tuple(walls), tuple(doors)


def _wall(line: _Line, start: float, end: float) -> Wall:
    rect = line.rect
    start, end = _mm(start), _mm(end)
    if line.along_x:
        return Wall(start, rect.y0, end, rect.y1, WALL_HEIGHT_M, PLAIN_WALL)
    return Wall(rect.x0, start, rect.x1, end, WALL_HEIGHT_M, PLAIN_WALL)


def _mm(value: float) -> float:
    return round(float(value), 3)
