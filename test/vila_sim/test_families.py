"""Families of flats: each furnished by the rules and passable, and nothing of what is held out in training."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vila_core.errors import ConfigError, WorldError
from vila_core.types import Pose
from vila_sim.dataset import DataOptions
from vila_sim.episodes.episode_files import parse_world_name, read_episodes, world_name, write_episodes
from vila_sim.episodes.instructions import resolve_target
from vila_sim.episodes.splits import flat_of, generate_episodes, held_out_pairs, split_flat
from vila_sim.families.clutter import HELD_OUT_CLUTTER, HELD_OUT_TABLEWARE, RICH_CLUTTER, RICH_TABLEWARE, build_clutter
from vila_sim.families.table import FAMILIES, HELD_OUT, PLAIN, RICH, TRAINING_FAMILIES
from vila_sim.flats.flat import MAX_OBJECTS, MIN_OBJECTS, generate_flat
from vila_sim.flats.furniture import COLOURS, KINDS, build_object
from vila_sim.flats.grid import OccupancyGrid
from vila_sim.flats.lighting import PLAIN_LIGHTING
from vila_sim.flats.plan import CORRIDOR
from vila_sim.flats.room_space import Box, block_box, bounding_box, overlap
from vila_sim.flats.scene import Flat, Room, Wall
from vila_sim.forms.table import HELD_OUT_FORMS, RICH_FORMS
from vila_tools.training.data_sets import episodes_main

NEW = (RICH, HELD_OUT)
SEEDS = range(12)


@pytest.fixture(scope="module")
def flats() -> dict[str, list[Flat]]:
    return {family: [split_flat(seed, family=family) for seed in SEEDS] for family in FAMILIES}


def textures(flat: Flat) -> set[str]:
    rooms = {name for room in flat.rooms for name in (room.floor_texture, room.wall_texture)}
    things = (*flat.objects, *flat.clutter, *flat.decor)
    return (rooms | {part.texture for thing in things for part in thing.primitives}) - {"", "sky"}


@pytest.mark.parametrize("family", NEW)
def test_the_same_family_and_seed_give_the_same_flat(family: str) -> None:
    assert generate_flat(5, family=family) == generate_flat(5, family=family)
    assert generate_flat(5, family=family) != generate_flat(6, family=family)
    assert generate_flat(5, family=family).family == family


@pytest.mark.parametrize("family", FAMILIES)
def test_whatever_the_seed_there_is_a_plan(family: str) -> None:
    for seed in range(1000):  # one in 240 rich ones had a corridor too narrow for the door drawn into its end
        plan = FAMILIES[family].plan(np.random.default_rng([seed, 0]))
        assert all(0.8 <= door.width_m <= 1.4 for door in plan.doors)


def test_plain_flats_are_lit_as_ever_and_hold_no_clutter(flats: dict[str, list[Flat]]) -> None:
    for flat in flats[PLAIN]:
        assert (flat.family, flat.clutter, flat.lighting) == (PLAIN, (), PLAIN_LIGHTING)
    assert PLAIN_LIGHTING.level == (1.0, 1.0, 1.0)


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(WorldError, match="'castle'; known: plain, rich, held_out"):
        generate_flat(0, family="castle")


@pytest.mark.parametrize("family", NEW)
def test_nothing_stands_in_anything(flats: dict[str, list[Flat]], family: str) -> None:
    for flat in flats[family]:
        boxes = [(thing.name, bounding_box(thing)) for thing in flat.obstacles]
        for index, (name, box) in enumerate(boxes):
            room = flat.room(flat.obstacles[index].room)
            assert room.contains(*box[:2]) and room.contains(*box[2:]), name
            assert not any(overlap(box, other, 0.0) for _, other in boxes[index + 1 :]), name
            assert not any(overlap(box, block_box(wall), 0.0) for wall in flat.walls), name


@pytest.mark.parametrize("family", NEW)
def test_rooms_hold_targets_that_can_be_told_apart(flats: dict[str, list[Flat]], family: str) -> None:
    for flat in flats[family]:
        assert len({room.name for room in flat.rooms}) == len(flat.rooms)
        assert len({thing.name for thing in flat.obstacles}) == len(flat.obstacles)
        for room in flat.rooms:
            pairs = [(thing.colour, thing.kind) for thing in flat.objects if thing.room == room.name]
            if room.name == CORRIDOR:
                assert not pairs
                continue
            assert MIN_OBJECTS <= len(pairs) <= MAX_OBJECTS
            assert len(set(pairs)) == len(pairs)
            assert not set(pairs) & held_out_pairs()
        assert not {thing.kind for thing in flat.clutter} & set(KINDS)
        assert all(thing.colour == "" for thing in flat.clutter)


@pytest.mark.parametrize("family", NEW)
def test_most_rooms_hold_hard_negatives(flats: dict[str, list[Flat]], family: str) -> None:
    """Another kind of the same colour, and another colour of the same kind."""
    rooms = [
        [thing for thing in flat.objects if thing.room == room.name] for flat in flats[family] for room in flat.rooms
    ]
    rooms = [things for things in rooms if things]
    same_colour = sum(len({thing.colour for thing in things}) < len(things) for things in rooms)
    same_kind = sum(len({thing.kind for thing in things}) < len(things) for things in rooms)
    assert same_colour > 0.75 * len(rooms)
    assert same_kind > 0.6 * len(rooms)


@pytest.mark.parametrize("family", NEW)
def test_a_robot_reaches_every_target_from_every_door(flats: dict[str, list[Flat]], family: str) -> None:
    for flat in flats[family]:
        grid = OccupancyGrid(flat)
        for thing in flat.objects:
            field = grid.field_to(thing)
            assert all(math.isfinite(field.at(door.x_m, door.y_m)) for door in flat.doors), (flat.seed, thing.name)


def test_families_have_plans_of_several_sizes(flats: dict[str, list[Flat]]) -> None:
    rich, held_out = ({len(flat.rooms) for flat in flats[family]} for family in NEW)
    assert len(rich) >= 3 and len(held_out) >= 2
    corridors = [any(room.name == CORRIDOR for room in flat.rooms) for flat in flats[RICH]]
    assert any(corridors) and not all(corridors)
    assert any(_blocks(flat) for flat in flats[RICH]) and any(_blocks(flat) for flat in flats[HELD_OUT])


def _blocks(flat: Flat) -> list[tuple[Room, Box]]:
    """What is built into rooms."""
    found = [(room, block_box(wall)) for wall in flat.walls for room in flat.rooms]
    return [(room, box) for room, box in found if overlap(box, _bounds(room), -0.01)]


def _bounds(room: Room) -> Box:
    return room.x_min_m, room.y_min_m, room.x_max_m, room.y_max_m


def test_built_in_cupboards_touch_walls_and_pillars_do_not(flats: dict[str, list[Flat]]) -> None:
    def is_in_corner(room: Room, box: Box) -> bool:
        bounds = _bounds(room)
        return (box[0] == bounds[0] or box[2] == bounds[2]) and (box[1] == bounds[1] or box[3] == bounds[3])

    assert all(is_in_corner(*block) for flat in flats[RICH] for block in _blocks(flat))
    assert not any(is_in_corner(*block) for flat in flats[HELD_OUT] for block in _blocks(flat))


def test_clutter_is_seen_and_is_no_target_in_the_segmentation() -> None:
    pytest.importorskip("mujoco")
    from vila_sim.mujoco.simulator import Simulator

    rng = np.random.default_rng(0)
    target = replace(build_object("ball", "red", rng), name="red_ball_0", room="hall", x_m=3.0, y_m=2.0)
    rack = replace(build_clutter("drying_rack", rng, room="hall"), x_m=3.0, y_m=4.0)
    hall = Room("hall", 0.0, 0.0, 6.0, 6.0, "stone_tiles", "cream_plaster")
    wall = Wall(0.0, 0.0, 6.0, 0.1, 2.5, "plain")
    simulator = Simulator(Flat(0, 6.0, 6.0, (hall,), (wall,), (), (target,), clutter=(rack,)))
    try:
        simulator.teleport(Pose(1.5, 2.0))
        assert (simulator.render_segmentation() == 0).sum() > 500
        simulator.teleport(Pose(1.5, 4.0))
        with_rack, seen = simulator.render(), simulator.render_segmentation()
        assert np.unique(seen).tolist() in ([-1], [-1, 0])
        assert simulator.scan().min() < 1.5  # the laser meets it
    finally:
        simulator.close()
    empty = Simulator(Flat(0, 6.0, 6.0, (hall,), (wall,), (), (target,)))
    try:
        empty.teleport(Pose(1.5, 4.0))
        assert (empty.render() != with_rack).any(axis=-1).sum() > 500
    finally:
        empty.close()


# --- what is held out


def test_no_training_flat_shows_anything_of_what_is_held_out(flats: dict[str, list[Flat]]) -> None:
    """Textures, forms, clutter and what lies on tables; colours and kinds are shared, since they are what is named."""
    shown = set().union(*(textures(flat) for family in TRAINING_FAMILIES for flat in flats[family]))
    held_out = set().union(*(textures(flat) for flat in flats[HELD_OUT]))
    assert len(shown) > 100 and len(held_out) > 60
    assert not shown & held_out
    assert all(name.startswith("held_out_") for name in held_out)
    training_kinds = {thing.kind for family in TRAINING_FAMILIES for flat in flats[family] for thing in flat.clutter}
    assert not training_kinds & {thing.kind for flat in flats[HELD_OUT] for thing in flat.clutter}
    assert not set(RICH_CLUTTER) & set(HELD_OUT_CLUTTER)
    assert not set(RICH_TABLEWARE) & set(HELD_OUT_TABLEWARE)
    for kind in KINDS:
        assert len(RICH_FORMS[kind]) >= 2 and len(HELD_OUT_FORMS[kind]) >= 2
        assert not {form.__name__ for form in RICH_FORMS[kind]} & {form.__name__ for form in HELD_OUT_FORMS[kind]}
        assert not set(RICH_FORMS[kind]) & set(HELD_OUT_FORMS[kind])


def test_a_training_set_of_held_out_flats_is_refused(tmp_path: Path) -> None:
    for families in ((HELD_OUT,), (RICH, HELD_OUT), ()):
        with pytest.raises(ConfigError, match="choose from plain, rich; others are for testing"):
            DataOptions(families)
    with pytest.raises(ConfigError, match="held_out"):
        episodes_main(["--out", str(tmp_path), "--families", "rich,held_out"])
    assert not list(tmp_path.iterdir())


# --- names


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("include", [(), (("red", "chair"),), (("red", "chair"), ("blue", "bin"))])
def test_a_name_tells_seed_inclusions_and_family(family: str, include: tuple[tuple[str, str], ...]) -> None:
    name = world_name(12, include, family)
    assert parse_world_name(name) == (12, include, family)
    assert name.startswith("flat/12" if family == PLAIN else f"flat/{family}/12")


@pytest.mark.parametrize("name", ["flat/castle/1", "flat//1", "flat/rich/", "flat/rich/1?", "rich/1", "flat/rich/x"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(WorldError, match="families: plain, rich, held_out"):
        parse_world_name(name)


@pytest.mark.parametrize("family", NEW)
def test_episodes_of_a_family_keep_it_in_their_file(tmp_path: Path, family: str) -> None:
    episodes = generate_episodes("val_unseen_layout", 2, family=family)
    write_episodes(tmp_path / "val.json", episodes)
    for episode, read in zip(episodes, read_episodes(tmp_path / "val.json"), strict=True):
        assert read.family == family and read.scene_id == f"flat/{family}/{episode.flat_seed}"
        flat = flat_of(read)
        assert flat.family == family
        assert resolve_target(flat, read.instruction, read.room).name == read.target


# --- forms


@pytest.mark.parametrize("family", NEW)
def test_things_show_their_colour_and_stand_on_the_floor(flats: dict[str, list[Flat]], family: str) -> None:
    for flat in flats[family]:
        for thing in flat.obstacles:
            for part in thing.primitives:
                assert abs(part.position_m[0]) <= thing.footprint_m[0] / 2
                assert abs(part.position_m[1]) <= thing.footprint_m[1] / 2
                assert 0.0 < part.position_m[2] < thing.height_m
                assert all(0.0 <= value <= 1.0 for value in part.rgb)
                assert not part.texture or part.shape == "box"
            if thing.colour:
                worn = {part.texture for part in thing.primitives} - {""}
                assert all(f"_{thing.colour}_" in name for name in worn), thing.name


@pytest.mark.parametrize("kind", KINDS)
def test_each_form_is_about_as_large_as_its_kind(kind: str) -> None:
    """A kind is a concept: not one shape, but one size and use."""
    rng = np.random.default_rng(0)
    usual = build_object(kind, "red", rng)
    for family in NEW:
        sizes = [FAMILIES[family].build(kind, list(COLOURS)[k % 8], rng, "hall") for k in range(24)]
        for thing in sizes:
            assert 0.3 < thing.height_m / usual.height_m < 2.6, (family, kind, thing.height_m)
            assert max(thing.footprint_m) < 2.5
            assert thing.room == "hall"
        assert len({thing.footprint_m for thing in sizes}) > 12
