"""Furnished flats from a seed: a plan, four to seven objects a room, decor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vila_core.errors import WorldError
from vila_sim.decor import decorate
from vila_sim.furniture import COLOURS, KINDS, LARGE_KINDS, WALL_KINDS, build_object
from vila_sim.plan import Plan, generate_plan
from vila_sim.room_space import RoomSpace
from vila_sim.scene import Flat, Room, SceneObject

Pair = tuple[str, str]  # (colour, kind)

MIN_OBJECTS, MAX_OBJECTS = 4, 7  # per room
FURNISHED_M2 = 11.0  # a room gets at least one object more for each
ATTEMPTS_FLAT, ATTEMPTS_OBJECT, ATTEMPTS_KIND = 12, 14, 40
WALL_GAP_M = (0.03, 0.08)
SAME_COLOUR_PROBABILITY, SAME_KIND_PROBABILITY = 0.25, 0.2  # distractors: the blue chair beside the red


def generate_flat(seed: int, *, include: Sequence[Pair] = (), exclude_pairs: frozenset[Pair] = frozenset()) -> Flat:
    """Build the furnished flat of a seed: the same arguments give the same flat.

    include: (colour, kind) pairs that some room holds. exclude_pairs: (colour, kind) pairs that
    are never used; include wins. In a room no two objects share colour and kind, objects stand
    0.1 m apart or more, no door is blocked, and a robot of 0.22 m radius reaches every object
    from every door. The plan depends on the seed alone.
    Raises WorldError for an unknown colour or kind, or if the pairs do not fit.
    """
    for colour, kind in include:
        if colour not in COLOURS or kind not in KINDS:
            raise WorldError(
                f"unknown pair {(colour, kind)!r}; colours: {', '.join(COLOURS)}; kinds: {', '.join(KINDS)}"
            )
    plan_rng = np.random.default_rng([seed, 0])
    plan = generate_plan(plan_rng)
    decor = decorate(plan, plan_rng)
    for attempt in range(ATTEMPTS_FLAT):
        objects = _furnish(plan, np.random.default_rng([seed, 1, attempt]), tuple(include), exclude_pairs)
        if objects is not None:
            return Flat(seed, plan.width_m, plan.depth_m, plan.rooms, plan.walls, plan.doors, objects, decor)
    raise WorldError(f"flat of seed {seed} has no room for {list(include)!r} in {ATTEMPTS_FLAT} attempts")


def _furnish(
    plan: Plan, rng: np.random.Generator, include: tuple[Pair, ...], exclude: frozenset[Pair]
) -> tuple[SceneObject, ...] | None:
    """Fill every room but the corridor; None if something does not fit."""
    rooms = [room for room in plan.rooms if room.name != "corridor"]
    wanted: dict[str, list[Pair]] = {room.name: [] for room in rooms}
    for pair in dict.fromkeys(include):
        fewest = min(len(pairs) for pairs in wanted.values())
        names = [name for name, pairs in wanted.items() if len(pairs) == fewest]
        wanted[names[rng.integers(len(names))]].append(pair)
    objects: list[SceneObject] = []
    for room in rooms:
        placed = _furnish_room(room, plan, rng, wanted[room.name], exclude)
        if placed is None:
            return None
        objects.extend(placed)
    return tuple(replace(thing, name=f"{thing.name}_{i}") for i, thing in enumerate(objects))


def _furnish_room(
    room: Room, plan: Plan, rng: np.random.Generator, wanted: list[Pair], exclude: frozenset[Pair]
) -> list[SceneObject] | None:
    space = RoomSpace(room, plan.doors)
    placed: list[SceneObject] = []
    for pair in sorted(wanted, key=lambda p: p[1] not in LARGE_KINDS):
        if not _place(pair, space, placed, rng, ATTEMPTS_KIND):
            return None
    fewest = min(MIN_OBJECTS + int(_area_m2(room) / FURNISHED_M2), MAX_OBJECTS)
    count = max(int(rng.integers(fewest, MAX_OBJECTS + 1)), len(placed))
    for _ in range(3 * count):
        if len(placed) >= count:
            break
        _place(_draw_pair(placed, rng, exclude), space, placed, rng, ATTEMPTS_OBJECT)
    return placed if len(placed) >= MIN_OBJECTS else None


def _area_m2(room: Room) -> float:
    return (room.x_max_m - room.x_min_m) * (room.y_max_m - room.y_min_m)


def _draw_pair(placed: list[SceneObject], rng: np.random.Generator, exclude: frozenset[Pair]) -> Pair:
    """Draw a pair that the room does not hold; often a distractor of one that it does."""
    large = sum(thing.kind in LARGE_KINDS for thing in placed) >= 2
    kinds = [kind for kind in KINDS if not (large and kind in LARGE_KINDS)]
    taken = {(thing.colour, thing.kind) for thing in placed} | exclude
    pairs = [(colour, kind) for kind in kinds for colour in COLOURS if (colour, kind) not in taken]
    if not pairs:
        raise WorldError("every pair of colour and kind is excluded")
    chance = rng.random()
    if placed and chance < SAME_COLOUR_PROBABILITY + SAME_KIND_PROBABILITY:
        model = placed[rng.integers(len(placed))]
        if chance < SAME_COLOUR_PROBABILITY:
            similar = [pair for pair in pairs if pair[0] == model.colour]
        else:
            similar = [pair for pair in pairs if pair[1] == model.kind]
        pairs = similar or pairs
    return pairs[rng.integers(len(pairs))]


def _place(pair: Pair, space: RoomSpace, placed: list[SceneObject], rng: np.random.Generator, attempts: int) -> bool:
    """Try poses for an object until one fits; append it to `placed`."""
    colour, kind = pair
    thing = build_object(kind, colour, rng, room=space.room.name)
    for _ in range(attempts):
        x, y, yaw = _draw_pose(thing, space.room, rng)
        candidate = replace(thing, x_m=round(x, 3), y_m=round(y, 3), yaw_rad=round(yaw, 4))
        if space.add(candidate):
            placed.append(candidate)
            return True
    return False


def _draw_pose(thing: SceneObject, room: Room, rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw a pose along a wall, in a corner, or (small things and tables) inside the room."""
    chance = rng.random()
    inside = (thing.kind == "table" and chance < 0.5) or (thing.kind not in WALL_KINDS and chance < 0.3)
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
