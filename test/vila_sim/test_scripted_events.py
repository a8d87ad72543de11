"""Scripts, doors, and a simulator in which things can be put elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.errors import WorldError
from vila_core.types import Pose, VelocityCommand
from vila_sim.episodes.splits import split_flat
from vila_sim.events.scripted_events import ScriptedEvent, home, placements, things
from vila_sim.flats.doors import LEAF_HEIGHT_M, with_leaves
from vila_sim.flats.grid import OccupancyGrid
from vila_sim.flats.room_space import bounding_box, overlap
from vila_sim.flats.scene import Flat, Placement
from vila_sim.mujoco.mjcf import write_mjcf
from vila_sim.mujoco.simulator import Simulator
from vila_sim.robot import CameraConfig, RobotConfig

SMALL = CameraConfig(width_px=96, height_px=64)
HERE, THERE, UP = Placement(1.0, 2.0, 0.0, 0.0), Placement(2.0, 2.0, 0.0, 0.0), Placement(2.0, 2.0, 3.0, 0.0)
SLIDE = ScriptedEvent("moves", "ball", 2.0, 4.0, HERE, THERE)
LIFT = ScriptedEvent("vanishes", "ball", 6.0, 8.0, THERE, UP)


@pytest.mark.parametrize(
    ("t_s", "expected"),
    [
        (-math.inf, HERE),
        (2.0, HERE),
        (3.0, Placement(1.5, 2.0, 0.0, 0.0)),
        (5.0, THERE),
        (7.0, Placement(2.0, 2.0, 1.5, 0.0)),
        (99.0, UP),
    ],
)
def test_a_subject_goes_from_one_scripted_event_to_the_next(t_s: float, expected: Placement) -> None:
    assert placements((LIFT, SLIDE), t_s) == {"ball": expected}


@given(st.floats(-10, 20))
def test_a_scripted_event_stays_between_its_ends(t_s: float) -> None:
    at = SLIDE.at(t_s)
    assert 1.0 <= at.x_m <= 2.0 and at.y_m == 2.0
    assert SLIDE.is_under_way(t_s) or at in (HERE, THERE)


@pytest.fixture(scope="module")
def flat() -> Flat:
    return with_leaves(split_flat(5), np.random.default_rng(1))


def test_each_doorway_has_a_leaf_that_closes_it(flat: Flat) -> None:
    assert replace(flat, leaves=()) == split_flat(5)
    for door, leaf in zip(flat.doors, flat.leaves, strict=True):
        closed = bounding_box(replace(leaf.thing, yaw_rad=leaf.closed_rad))  # of a box about the hinge, twice as long
        assert overlap(closed, (door.x_m, door.y_m, door.x_m, door.y_m), 0.1)
        assert leaf.length_m == pytest.approx(door.width_m, abs=0.07) and leaf.thing.height_m == LEAF_HEIGHT_M
        assert math.dist((door.x_m, door.y_m), (leaf.thing.x_m, leaf.thing.y_m)) < door.width_m / 2
        assert (leaf.openness(leaf.closed_rad), leaf.openness(leaf.open_rad)) == (0.0, 1.0)
        assert leaf.thing.yaw_rad in (leaf.closed_rad, leaf.open_rad)


def test_only_who_asks_for_it_gets_movable_things(flat: Flat) -> None:
    plain, camera, robot = split_flat(5), CameraConfig(), RobotConfig()
    assert "mocap" not in write_mjcf(plain, camera, robot)
    assert write_mjcf(flat, camera, robot).count("mocap") == len(flat.leaves)
    assert write_mjcf(flat, camera, robot, movable=True).count("mocap") == len(things(flat))


@pytest.fixture(scope="module")
def simulator(flat: Flat) -> Iterator[Simulator]:
    simulator = Simulator(flat, SMALL, movable=True)
    yield simulator
    simulator.close()


def look_at(simulator: Simulator, index: int) -> Pose:
    """A free place from which the thing is seen."""
    thing = things(simulator.flat)[index]
    grid = OccupancyGrid(simulator.flat)
    for row, column in np.argwhere(grid.room_cells(simulator.flat.room(thing.room)))[::7]:
        x, y = grid.centre(int(row), int(column))
        if 1.2 < math.dist((x, y), (thing.x_m, thing.y_m)) < 3.0:
            pose = Pose(x, y, math.atan2(thing.y_m - y, thing.x_m - x))
            simulator.reset(pose)
            if (simulator.render_segmentation() == index).sum() > 40:
                return pose
    raise AssertionError(f"{thing.name} is seen from nowhere")


def test_a_thing_is_seen_where_it_is_put(simulator: Simulator) -> None:
    pose = look_at(simulator, 0)
    before = simulator.render()
    ball = simulator.flat.objects[0]
    simulator.place({ball.name: replace(home(ball), z_m=3.0)})
    assert not (simulator.render_segmentation() == 0).any()
    simulator.teleport(pose)
    assert not (simulator.render_segmentation() == 0).any(), "a teleport leaves things where they are"
    simulator.reset(pose)
    assert (simulator.render() == before).all(), "a reset brings them home"


def test_a_leaf_has_an_index_behind_the_objects(simulator: Simulator) -> None:
    index = len(simulator.flat.objects)
    leaf = simulator.flat.leaves[0]
    room = simulator.flat.room(leaf.thing.room)
    simulator.reset(Pose((room.x_min_m + room.x_max_m) / 2, (room.y_min_m + room.y_max_m) / 2))
    pose = look_at(simulator, index)
    counts = []
    for yaw in (leaf.closed_rad, leaf.open_rad):
        simulator.place({leaf.thing.name: replace(home(leaf.thing), yaw_rad=yaw)})
        simulator.teleport(pose)
        counts.append(int((simulator.render_segmentation() == index).sum()))
    assert counts[0] != counts[1] and max(counts) > 40


def test_the_robot_drives_through_what_moves_but_not_through_walls(simulator: Simulator) -> None:
    thing = simulator.flat.objects[0]
    simulator.reset(Pose(thing.x_m, thing.y_m))
    simulator.step(VelocityCommand(), 0.1)
    assert not simulator.collided and simulator.odometry().pose.x_m == pytest.approx(thing.x_m, abs=1e-4)
    simulator.reset(Pose(0.0, 4.0))
    simulator.step(VelocityCommand(), 0.02)
    assert simulator.collided


def test_what_cannot_move_is_refused(simulator: Simulator, flat: Flat) -> None:
    with pytest.raises(WorldError, match="'base' cannot be moved"):
        simulator.place({"base": HERE})
    with pytest.raises(WorldError, match="no object of a movable simulator"):
        Simulator(flat, SMALL).place({flat.objects[0].name: HERE})


def test_what_is_left_out_of_a_picture_was_not_in_it(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = OccupancyGrid(simulator.flat)
    rng = np.random.default_rng(0)
    cells = np.argwhere(grid.free_cells)
    for _ in range(12):
        x, y = grid.centre(*map(int, cells[rng.integers(len(cells))]))
        simulator.reset(Pose(x, y, float(rng.uniform(-3, 3))))
        quick = simulator.render(), simulator.render_segmentation()
        with monkeypatch.context() as patch:
            patch.setattr(Simulator, "_may_be_in_picture", lambda self: np.ones(self._model.ngeom, bool))
            whole = simulator.render(), simulator.render_segmentation()
        assert all((a == b).all() for a, b in zip(quick, whole, strict=True))
