"""Flats: deterministic, varied, furnished by the rules, and passable."""

import math

import numpy as np
import pytest
from scipy import ndimage

from vila_core.errors import WorldError
from vila_sim.flats.flat import MAX_OBJECTS, MIN_OBJECTS, generate_flat
from vila_sim.flats.furniture import COLOURS, KINDS, build_object
from vila_sim.flats.room_space import bounding_box, footprint_distance
from vila_sim.flats.scene import Flat

SEEDS = range(20)
CELL_M = 0.05
RADIUS_M = 0.2


@pytest.fixture(scope="module")
def flats() -> list[Flat]:
    return [generate_flat(seed) for seed in SEEDS]


def free_floor(flat: Flat) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the robot's centre may be: mask [rows, columns] and the cells' x and y."""
    x = np.arange(CELL_M / 2, flat.width_m, CELL_M)[None, :]
    y = np.arange(CELL_M / 2, flat.depth_m, CELL_M)[:, None]
    distance = np.full((y.size, x.size), math.inf)
    for wall in flat.walls:
        dx = np.maximum(np.maximum(wall.x_min_m - x, x - wall.x_max_m), 0.0)
        dy = np.maximum(np.maximum(wall.y_min_m - y, y - wall.y_max_m), 0.0)
        distance = np.minimum(distance, np.hypot(dx, dy))
    for thing in flat.objects:
        distance = np.minimum(distance, footprint_distance(thing, x, y))
    return distance > RADIUS_M, x, y


def test_the_same_seed_gives_the_same_flat() -> None:
    assert generate_flat(11) == generate_flat(11)


def test_every_seed_gives_another_plan(flats: list[Flat]) -> None:
    assert len({flat.walls for flat in flats}) == len(flats)


def test_a_flat_has_five_rooms_and_a_corridor(flats: list[Flat]) -> None:
    for flat in flats:
        assert [room.name for room in flat.rooms].count("corridor") == 1
        assert len({room.name for room in flat.rooms}) == 6
        assert sorted((flat.width_m, flat.depth_m)) == pytest.approx([9.2, 12.1], abs=0.6)


def test_each_room_holds_four_to_seven_different_objects(flats: list[Flat]) -> None:
    for flat in flats:
        for room in flat.rooms[1:]:
            pairs = [(thing.colour, thing.kind) for thing in flat.objects if thing.room == room.name]
            assert MIN_OBJECTS <= len(pairs) <= MAX_OBJECTS
            assert len(set(pairs)) == len(pairs)
    assert all(len({thing.name for thing in flat.objects}) == len(flat.objects) for flat in flats)


def test_objects_stand_apart_and_inside_their_room(flats: list[Flat]) -> None:
    for flat in flats:
        for index, thing in enumerate(flat.objects):
            x0, y0, x1, y1 = bounding_box(thing)
            room = flat.room(thing.room)
            assert room.contains(x0, y0) and room.contains(x1, y1)
            for other in flat.objects[index + 1 :]:
                u0, v0, u1, v1 = bounding_box(other)
                assert x1 <= u0 or u1 <= x0 or y1 <= v0 or v1 <= y0, (thing.name, other.name)


def test_primitives_stay_within_the_footprint_and_above_the_floor() -> None:
    rng = np.random.default_rng(0)
    for kind in KINDS:
        thing = build_object(kind, "red", rng)
        for part in thing.primitives:
            assert abs(part.position_m[0]) <= thing.footprint_m[0] / 2
            assert abs(part.position_m[1]) <= thing.footprint_m[1] / 2
            assert 0.0 < part.position_m[2] < thing.height_m


def test_doors_open_into_both_of_their_rooms(flats: list[Flat]) -> None:
    for flat in flats:
        for door in flat.doors:
            step = (0.0, 0.3) if door.along_x else (0.3, 0.0)
            sides = {flat.room_at(door.x_m + s * step[0], door.y_m + s * step[1]) for s in (-1, 1)}
            assert {room.name for room in sides if room} == set(door.rooms)
            assert 0.9 <= door.width_m <= 1.0
        assert {name for door in flat.doors for name in door.rooms} == {room.name for room in flat.rooms}


def test_the_robot_reaches_every_room_and_every_object(flats: list[Flat]) -> None:
    for flat in flats:
        free, x, y = free_floor(flat)
        labels, _ = ndimage.label(free)
        reached = labels == np.bincount(labels[free]).argmax()
        assert int(free.sum()) - int(reached.sum()) < 0.02 * free.sum()
        for thing in flat.objects:
            assert footprint_distance(thing, x, y)[reached].min() < RADIUS_M + 0.15, thing.name
        for door in flat.doors:
            assert reached[int(door.y_m / CELL_M), int(door.x_m / CELL_M)], door


def test_included_pairs_are_present_and_excluded_pairs_absent() -> None:
    include = [("red", "bed"), ("black", "vase"), ("white", "sofa"), ("blue", "ball")]
    exclude = frozenset((colour, kind) for colour in ("green", "yellow") for kind in KINDS)
    for seed in range(5):
        flat = generate_flat(seed, include=include, exclude_pairs=exclude)
        pairs = {(thing.colour, thing.kind) for thing in flat.objects}
        assert pairs >= set(include)
        assert not pairs & exclude


def test_include_does_not_change_the_plan() -> None:
    plain, wished = generate_flat(3), generate_flat(3, include=[("red", "bear")])
    assert plain.walls == wished.walls and plain.decor == wished.decor


def test_unknown_pairs_are_refused() -> None:
    with pytest.raises(WorldError, match="mauve"):
        generate_flat(0, include=[("mauve", "chair")])


def test_too_many_pairs_are_refused() -> None:
    with pytest.raises(WorldError, match="no room"):
        generate_flat(0, include=[(colour, "bed") for colour in COLOURS] + [(colour, "sofa") for colour in COLOURS])
