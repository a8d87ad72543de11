"""Furnished flats from a family and a seed: a plan, four to seven objects a room, clutter, decor, light."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vila_core.errors import WorldError
from vila_sim.families.clutter import WALL_CLUTTER, build_clutter
from vila_sim.families.table import PLAIN, Family, family_of
from vila_sim.flats.furniture import COLOURS, KINDS, LARGE_KINDS, WALL_KINDS
from vila_sim.flats.plan import CORRIDOR, Plan
from vila_sim.flats.room_space import RoomSpace
from vila_sim.flats.scene import Flat, Room, SceneObject

Pair = tuple[str, str]  # (colour, kind)

MIN_OBJECTS, MAX_OBJECTS = 4, 7  # per room
FURNISHED_M2 = 11.0  # a room gets at least one object more for each
ATTEMPTS_FLAT, ATTEMPTS_OBJECT, ATTEMPTS_KIND = 12, 14, 40
WALL_GAP_M = (0.03, 0.08)
_AGAINST_WALL = WALL_KINDS | WALL_CLUTTER


def generate_flat(
    seed: int, *, include: Sequence[Pair] = (), exclude_pairs: frozenset[Pair] = frozenset(), family: str = PLAIN
) -> Flat:
    """Build the furnished flat of a seed: the same arguments give the same flat.

    include: (colour, kind) pairs that some room holds. exclude_pairs: (colour, kind) pairs that
    are never used; include wins. family: a row of families.table.FAMILIES. In a room no two objects share
    colour and kind, things stand 0.1 m apart or more, no door is blocked, and a robot of 0.22 m radius reaches
    every object from every door. The plan depends on family and seed alone.
    Raises WorldError for an unknown colour, kind or family, or if the pairs do not fit.
    """
    for colour, kind in include:
        if colour not in COLOURS or kind not in KINDS:
            raise WorldError(
                f"unknown pair {(colour, kind)!r}; colours: {', '.join(COLOURS)}; kinds: {', '.join(KINDS)}"
            )
    drawn, tag = family_of(family), () if family == PLAIN else tuple(family.encode())
    plan_rng = np.random.default_rng([seed, 0, *tag])
    plan = drawn.plan(plan_rng)
    decor = drawn.decorate(plan, plan_rng)
    lighting = drawn.light(plan.rooms, plan_rng)
    for attempt in range(ATTEMPTS_FLAT):
        rng = np.random.default_rng([seed, 1, attempt, *tag])
        furniture = _Furnisher(plan, drawn, rng, exclude_pairs).furnish(tuple(include))
        if furniture is not None:
            objects, clutter = furniture
            return Flat(
                seed,
                plan.width_m,
                plan.depth_m,
                plan.rooms,
                plan.walls,
                plan.doors,
                objects,
                (*decor, *drawn.lay(objects, rng)),
                clutter=clutter,
                family=family,
                lighting=lighting,
            )
    raise WorldError(f"{family} flat of seed {seed} has no room for {list(include)!r} in {ATTEMPTS_FLAT} attempts")


@dataclass(frozen=True, slots=True)
class _Furnisher:
    """Fills the rooms of a plan as a family has it."""

    plan: Plan
    family: Family
    rng: np.random.Generator
    exclude: frozenset[Pair]

    def furnish(self, include: tuple[Pair, ...]) -> tuple[tuple[SceneObject, ...], tuple[SceneObject, ...]] | None:
        """Return targets and clutter of all rooms but the corridor; None if something does not fit."""
        rooms = [room for room in self.plan.rooms if room.name != CORRIDOR]
        wanted: dict[str, list[Pair]] = {room.name: [] for room in rooms}
        for pair in dict.fromkeys(include):
            fewest = min(len(pairs) for pairs in wanted.values())
            names = [name for name, pairs in wanted.items() if len(pairs) == fewest]
            wanted[names[self.rng.integers(len(names))]].append(pair)
        objects, clutter = list[SceneObject](), list[SceneObject]()
        for room in rooms:
            space = RoomSpace(room, self.plan.doors, self.plan.walls)
            placed = self._furnish_room(space, wanted[room.name])
            if placed is None:
                return None
            objects.extend(placed)
            clutter.extend(self._clutter(space))
        return tuple(map(_numbered, objects, itertools.count())), tuple(map(_numbered, clutter, itertools.count()))

    def _furnish_room(self, space: RoomSpace, wanted: list[Pair]) -> list[SceneObject] | None:
        placed: list[SceneObject] = []
        for pair in sorted(wanted, key=lambda p: p[1] not in LARGE_KINDS):
            if not self._place(pair, space, placed, ATTEMPTS_KIND):
                return None
        fewest = min(MIN_OBJECTS + int(_area_m2(space.room) / FURNISHED_M2), MAX_OBJECTS)
        count = max(int(self.rng.integers(fewest, MAX_OBJECTS + 1)), len(placed))
        for _ in range(3 * count):
            if len(placed) >= count:
                break
            self._place(self._draw_pair(placed), space, placed, ATTEMPTS_OBJECT)
        return placed if len(placed) >= MIN_OBJECTS else None

    def _draw_pair(self, placed: list[SceneObject]) -> Pair:
        """Draw a pair that the room does not hold; often a distractor: the blue chair by the red."""
        rng, family = self.rng, self.family
        large = sum(thing.kind in LARGE_KINDS for thing in placed) >= 2
        kinds = [kind for kind in KINDS if not (large and kind in LARGE_KINDS)]
        taken = {(thing.colour, thing.kind) for thing in placed} | self.exclude
        pairs = [(colour, kind) for kind in kinds for colour in COLOURS if (colour, kind) not in taken]
        if not pairs:
            raise WorldError("every pair of colour and kind is excluded")
        chance = rng.random()
        if placed and chance < family.same_colour + family.same_kind:
            model = placed[rng.integers(len(placed))]
            if chance < family.same_colour:
                similar = [pair for pair in pairs if pair[0] == model.colour]
            else:
                similar = [pair for pair in pairs if pair[1] == model.kind]
            pairs = similar or pairs
        return pairs[rng.integers(len(pairs))]

    def _place(self, pair: Pair, space: RoomSpace, placed: list[SceneObject], attempts: int) -> bool:
        """Try poses for a target until one fits; append it to `placed`."""
        colour, kind = pair
        thing = _placed(self.family.build(kind, colour, self.rng, space.room.name), space, self.rng, attempts)
        if thing is not None:
            placed.append(thing)
        return thing is not None

    def _clutter(self, space: RoomSpace) -> Iterator[SceneObject]:
        """Put clutter where the targets leave room for it."""
        kinds = self.family.clutter_kinds
        for _ in range(int(self.rng.integers(*self.family.clutter, endpoint=True)) if kinds else 0):
            piece = build_clutter(kinds[self.rng.integers(len(kinds))], self.rng, room=space.room.name)
            thing = _placed(piece, space, self.rng, ATTEMPTS_OBJECT)
            if thing is not None:
                yield thing


def _numbered(thing: SceneObject, number: int) -> SceneObject:
    return replace(thing, name=f"{thing.name}_{number}")


def _area_m2(room: Room) -> float:
    return (room.x_max_m - room.x_min_m) * (room.y_max_m - room.y_min_m)


def _placed(thing: SceneObject, space: RoomSpace, rng: np.random.Generator, attempts: int) -> SceneObject | None:
    """Try poses for a thing until the room takes it; None if it does not."""
    for _ in range(attempts):
        x, y, yaw = _draw_pose(thing, space.room, rng)
        candidate = replace(thing, x_m=round(x, 3), y_m=round(y, 3), yaw_rad=round(yaw, 4))
        if space.add(candidate):
            return candidate
    return None


def _draw_pose(thing: SceneObject, room: Room, rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw a pose along a wall, in a corner, or (small things and tables) inside the room."""
    chance = rng.random()
    inside = (thing.kind == "table" and chance < 0.5) or (thing.kind not in _AGAINST_WALL and chance < 0.3)
    if inside:
        return _pose_inside(thing, room, rng)
    side = int(rng.integers(4))
    yaw = side * math.pi / 2  # the object's front looks away from the wall
    depth, width = thing.footprint_m
    off = rng.uniform(*WALL_GAP_M) + depth / 2
    along_y = side % 2 == 0
    low, high = (room.y_min_m, room.y_max_m) if along_y else (room.x_min_m, room.x_max_m)
    margin = width / 2 + WALL_GAP_M[0]
    if high - low <= 2 * margin:
        return math.nan, math.nan, yaw
    if chance > 0.75:
        at = low + margin + 0.02 if rng.random() < 0.5 else high - margin - 0.02
    else:
        at = rng.uniform(low + margin, high - margin)
    if along_y:
        return (room.x_min_m + off if side == 0 else room.x_max_m - off), at, yaw
    return at, (room.y_min_m + off if side == 1 else room.y_max_m - off), yaw


def _pose_inside(thing: SceneObject, room: Room, rng: np.random.Generator) -> tuple[float, float, float]:
    margin = math.hypot(*thing.footprint_m) / 2 + 0.5
    if min(room.x_max_m - room.x_min_m, room.y_max_m - room.y_min_m) <= 2 * margin:
        return math.nan, math.nan, 0.0
    square = thing.kind == "table"
    yaw = float(rng.integers(4)) * math.pi / 2 if square else float(rng.uniform(-math.pi, math.pi))
    x = rng.uniform(room.x_min_m + margin, room.x_max_m - margin)
    y = rng.uniform(room.y_min_m + margin, room.y_max_m - margin)
    return x, y, yaw
