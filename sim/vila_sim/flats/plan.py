"""Floor plans: five rooms and a corridor, their walls and doors, varied by the rng."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vila_sim.flats.scene import Door, Room, Wall
from vila_sim.flats.textures import WALLS

WALL_M = 0.12  # thickness
WALL_HEIGHT_M = 2.5
MIN_ROOM_M = 3.3
DOOR_M = (0.92, 1.0)  # how wide doorways are
_DOOR_TO_CORNER_M = 0.18
INNER_DOOR_PROBABILITY = 0.35

ROOM_FLOORS: dict[str, tuple[str, ...]] = {
    "living_room": ("oak_planks", "walnut_planks", "pine_planks", "beige_carpet"),
    "kitchen": ("stone_tiles", "checker_tiles", "clay_tiles", "slate_tiles"),
    "bedroom": ("grey_carpet", "blue_carpet", "beige_carpet", "pine_planks"),
    "study": ("walnut_planks", "oak_planks", "grey_planks", "grey_carpet"),
    "bathroom": ("slate_tiles", "checker_tiles", "stone_tiles"),
}
CORRIDOR_FLOORS = ("walnut_planks", "oak_planks", "grey_planks", "stone_tiles")
CORRIDOR = "corridor"
PLAIN_WALL = "plain"  # walls proper are plain; the paper of each room hangs on them as decor


@dataclass(frozen=True, slots=True)
class Plan:
    """The empty flat. The corridor is the first room, if there is one."""

    width_m: float
    depth_m: float
    rooms: tuple[Room, ...]
    walls: tuple[Wall, ...]
    doors: tuple[Door, ...]


@dataclass(frozen=True, slots=True)
class Rect:
    """An axis-aligned rectangle, metres."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def area(self) -> float:
        """Square metres."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)


@dataclass(frozen=True, slots=True)
class Gap:
    """A doorway in a wall: where its centre is along the wall, and the rooms' indices."""

    at: float
    width: float
    rooms: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Line:
    """A straight wall with its doorways."""

    rect: Rect
    along_x: bool
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan in canonical orientation: the corridor, its first room if it has one, runs along x; none has a name."""

    width: float
    depth: float
    rooms: tuple[Rect, ...]
    lines: tuple[Line, ...]
    has_corridor: bool = True


def generate_plan(rng: np.random.Generator) -> Plan:
    """Draw a plan of about 12 x 9 m.

    The corridor either runs through the whole flat, with two and three rooms beside it, or ends
    at the door of a room as deep as the flat, with two and two beside it. The plan is then
    mirrored and may be transposed. Coordinates are rounded to a millimetre.
    """
    draft = _through_draft(rng) if rng.random() < 0.5 else _end_draft(rng)
    draft = oriented(draft, *(bool(b) for b in rng.integers(2, size=3)))
    return plan_of(draft, _named_rooms(draft.rooms, rng))


def plan_of(draft: Draft, rooms: tuple[Room, ...]) -> Plan:
    """Build the walls and doors of a draft whose rooms have names."""
    walls, doors = _built(draft.lines, tuple(room.name for room in rooms))
    return Plan(draft.width, draft.depth, rooms, walls, doors)


def _through_draft(rng: np.random.Generator) -> Draft:
    width, depth, corridor = _sizes(rng)
    rooms = [Rect(WALL_M, corridor[0], width - WALL_M, corridor[1])]
    below, above = (2, 3) if rng.random() < 0.5 else (3, 2)
    lines = outer_lines(width, depth)
    lines += row_beside_corridor(
        rooms, rng, span=(WALL_M, width - WALL_M), sides=(WALL_M, corridor[0] - WALL_M), count=below
    )
    lines += row_beside_corridor(
        rooms, rng, span=(WALL_M, width - WALL_M), sides=(corridor[1] + WALL_M, depth - WALL_M), count=above
    )
    return Draft(width, depth, tuple(rooms), tuple(lines))


def _end_draft(rng: np.random.Generator) -> Draft:
    width, depth, corridor = _sizes(rng)
    end = mm(WALL_M + rng.uniform(3.4, 4.2))
    start = mm(end + WALL_M)
    rooms = [Rect(start, corridor[0], width - WALL_M, corridor[1]), Rect(WALL_M, WALL_M, end, depth - WALL_M)]
    gap = gap_in(rng, corridor, (0, 1))
    lines = [*outer_lines(width, depth), Line(Rect(end, WALL_M, start, depth - WALL_M), False, (gap,))]
    lines += row_beside_corridor(
        rooms, rng, span=(start, width - WALL_M), sides=(WALL_M, corridor[0] - WALL_M), count=2
    )
    lines += row_beside_corridor(
        rooms, rng, span=(start, width - WALL_M), sides=(corridor[1] + WALL_M, depth - WALL_M), count=2
    )
    return Draft(width, depth, tuple(rooms), tuple(lines))


def _sizes(rng: np.random.Generator) -> tuple[float, float, tuple[float, float]]:
    """Width, depth, and the corridor's two faces."""
    width, depth = mm(rng.uniform(11.6, 12.6)), mm(rng.uniform(8.8, 9.6))
    corridor = rng.uniform(1.45, 1.8)
    low = (depth - corridor) / 2 + rng.uniform(-0.25, 0.25)
    return width, depth, (mm(low), mm(low + corridor))


def outer_lines(width: float, depth: float) -> list[Line]:
    """The four outer walls."""
    return [
        Line(Rect(0.0, 0.0, width, WALL_M), True),
        Line(Rect(0.0, depth - WALL_M, width, depth), True),
        Line(Rect(0.0, WALL_M, WALL_M, depth - WALL_M), False),
        Line(Rect(width - WALL_M, WALL_M, width, depth - WALL_M), False),
    ]


def row_beside_corridor(
    rooms: list[Rect],
    rng: np.random.Generator,
    *,
    span: tuple[float, float],
    sides: tuple[float, float],
    count: int,
    least_m: float = MIN_ROOM_M,
    wide_m: tuple[float, float] = DOOR_M,
) -> list[Line]:
    """Append a row of rooms beside the corridor (room 0) and return its walls."""
    ends = cuts(rng, span, count, least_m)
    lines: list[Line] = []
    gaps: list[Gap] = []
    for i in range(count):
        first = span[0] if i == 0 else ends[i - 1] + WALL_M
        last = ends[i] if i < count - 1 else span[1]
        rooms.append(Rect(mm(first), sides[0], mm(last), sides[1]))
        index = len(rooms) - 1
        gaps.append(gap_in(rng, (first, last), (0, index), wide_m))
        if i:
            joined = rng.random() < INNER_DOOR_PROBABILITY
            doors = (gap_in(rng, sides, (index - 1, index), wide_m),) if joined else ()
            lines.append(Line(Rect(mm(first - WALL_M), sides[0], mm(first), sides[1]), False, doors))
    corridor = rooms[0]
    y0, y1 = (sides[1], corridor.y0) if sides[1] < corridor.y0 else (corridor.y1, sides[0])
    return [*lines, Line(Rect(span[0], y0, span[1], y1), True, tuple(gaps))]


def cuts(rng: np.random.Generator, span: tuple[float, float], count: int, least_m: float = MIN_ROOM_M) -> list[float]:
    """Where `count` rooms of at least least_m end along a span, walls between them; not the last one's end."""
    spare = span[1] - span[0] - WALL_M * (count - 1) - least_m * count
    shares = rng.dirichlet(np.full(count, 2.0)) * max(spare, 0.0)
    ends = np.cumsum(shares + least_m + WALL_M) + span[0] - WALL_M
    return [mm(end) for end in ends[:-1]]


def gap_in(
    rng: np.random.Generator,
    span: tuple[float, float],
    rooms: tuple[int, int],
    wide_m: tuple[float, float] = DOOR_M,
) -> Gap:
    """Draw a doorway in a stretch of wall, as wide as that lets it be."""
    width = mm(min(rng.uniform(*wide_m), span[1] - span[0] - 2 * _DOOR_TO_CORNER_M))
    margin = width / 2 + _DOOR_TO_CORNER_M
    low = span[0] + margin
    return Gap(mm(rng.uniform(low, max(low, span[1] - margin))), width, rooms)


def oriented(draft: Draft, mirror_x: bool, mirror_y: bool, transpose: bool) -> Draft:
    """Mirror and turn a draft."""

    def rect(r: Rect) -> Rect:
        xs = (draft.width - r.x1, draft.width - r.x0) if mirror_x else (r.x0, r.x1)
        ys = (draft.depth - r.y1, draft.depth - r.y0) if mirror_y else (r.y0, r.y1)
        if transpose:
            xs, ys = ys, xs
        return Rect(mm(xs[0]), mm(ys[0]), mm(xs[1]), mm(ys[1]))

    def line(old: Line) -> Line:
        mirrored, extent = (mirror_x, draft.width) if old.along_x else (mirror_y, draft.depth)
        gaps = tuple(replace(gap, at=mm(extent - gap.at)) if mirrored else gap for gap in old.gaps)
        return Line(rect(old.rect), old.along_x != transpose, gaps)

    size = (draft.depth, draft.width) if transpose else (draft.width, draft.depth)
    rooms, lines = tuple(rect(r) for r in draft.rooms), tuple(line(old) for old in draft.lines)
    return Draft(*size, rooms, lines, draft.has_corridor)


def _named_rooms(rects: tuple[Rect, ...], rng: np.random.Generator) -> tuple[Room, ...]:
    """The largest is the living room, the smallest the bathroom, the others as they come."""
    by_area = sorted(range(1, len(rects)), key=lambda i: -rects[i].area)
    middle = [str(name) for name in rng.permutation(["kitchen", "bedroom", "study"])]
    names = dict(zip(by_area, ["living_room", *middle, "bathroom"], strict=True))
    papers = [str(name) for name in rng.permutation(list(WALLS))]
    rooms = []
    for index, rect in enumerate(rects):
        name = names.get(index, CORRIDOR)
        floor = str(rng.choice(ROOM_FLOORS.get(name, CORRIDOR_FLOORS)))
        rooms.append(Room(name, rect.x0, rect.y0, rect.x1, rect.y1, floor, papers[index]))
    return tuple(rooms)


def _built(lines: tuple[Line, ...], names: tuple[str, ...]) -> tuple[tuple[Wall, ...], tuple[Door, ...]]:
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
            doors.append(Door(mm(x), mm(y), gap.width, line.along_x, pair))
        walls.append(_wall(line, start, end))
    return tuple(walls), tuple(doors)


def _wall(line: Line, start: float, end: float) -> Wall:
    rect = line.rect
    start, end = mm(start), mm(end)
    if line.along_x:
        return Wall(start, rect.y0, end, rect.y1, WALL_HEIGHT_M, PLAIN_WALL)
    return Wall(rect.x0, start, rect.x1, end, WALL_HEIGHT_M, PLAIN_WALL)


def mm(value: float) -> float:
    """Round to a millimetre."""
    return round(float(value), 3)
