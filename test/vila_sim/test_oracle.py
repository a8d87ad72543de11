"""The oracle searches, drives, stops in front of its goal; every fourth thing of furnished flats is reached."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vila_core.actions.grammar import action_index, unit_steps
from vila_core.types import MoveForward, Pose, Stop, Turn
from vila_sim.environment import bearing_rad, move
from vila_sim.episodes.oracle import MAX_DECISIONS, TargetView, oracle_action
from vila_sim.flats.flat import generate_flat
from vila_sim.flats.grid import DistanceField, OccupancyGrid
from vila_sim.flats.scene import Flat, Room, SceneObject

SEEN = TargetView(visible_now=True, seen_before=True, rotated_rad=0.0, bearing_rad=0.0)
UNSEEN = TargetView(visible_now=False, seen_before=False, rotated_rad=0.0, bearing_rad=0.0)


def empty_room(target: SceneObject) -> Flat:
    return Flat(0, 6.0, 6.0, (Room("hall", 0.0, 0.0, 6.0, 6.0, "", ""),), (), (), (target,))


@pytest.fixture(scope="module")
def to_goal() -> DistanceField:
    target = SceneObject("red_box_0", "box", "red", "hall", 5.0, 3.0, 0.0, (0.4, 0.4), 0.5, ())
    return OccupancyGrid(empty_room(target)).field_to(target)


def test_searches_to_the_left_until_it_has_turned_round(to_goal: DistanceField) -> None:
    assert oracle_action(Pose(1.0, 3.0), to_goal, UNSEEN) == Turn(math.radians(45))
    done = TargetView(False, False, 2 * math.pi, 0.0)
    assert oracle_action(Pose(1.0, 3.0), to_goal, done) == MoveForward(0.75)


@pytest.mark.parametrize(
    ("yaw_deg", "expected"),
    [
        (0, MoveForward(0.75)),
        (8, MoveForward(0.75)),
        (-15, Turn(math.radians(15))),
        (28, Turn(math.radians(-30))),
        (90, Turn(math.radians(-45))),
        (-170, Turn(math.radians(45))),
    ],
)
def test_turns_to_the_path_then_drives(to_goal: DistanceField, yaw_deg: float, expected: object) -> None:
    action = oracle_action(Pose(1.0, 3.0, math.radians(yaw_deg)), to_goal, SEEN)
    assert action_index(action) == action_index(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(("start_x_m", "last_m"), [(1.0, 0.75), (1.5, 0.5), (1.6, 0.25)])
def test_shortens_the_last_move_then_stops(to_goal: DistanceField, start_x_m: float, last_m: float) -> None:
    lengths = []
    pose = Pose(start_x_m, 3.0)
    while isinstance(action := oracle_action(pose, to_goal, SEEN), MoveForward):
        pose = pose.advanced(action.distance_m)
        lengths.append(action.distance_m)
    assert action == Stop()
    assert 0.15 <= to_goal.at(pose.x_m, pose.y_m) <= 0.5
    assert lengths[-1] == last_m and set(lengths[:-1]) == {0.75}


def test_faces_a_seen_target_before_it_stops(to_goal: DistanceField) -> None:
    beside = TargetView(False, True, 0.0, math.radians(80))
    assert oracle_action(Pose(4.1, 3.0, 1.0), to_goal, beside) == Turn(math.radians(45))
    assert oracle_action(Pose(4.1, 3.0, 0.0), to_goal, TargetView(False, True, 0.0, 0.1)) == Stop()


@pytest.mark.parametrize(("family", "flats"), [("plain", 8), ("rich", 6), ("held_out", 6)])
def test_reaches_the_goals_of_furnished_flats(family: str, flats: int) -> None:
    """From a random pose in the goal's room, which it has not seen at first."""
    rng = np.random.default_rng(0)
    missed = []
    for seed in range(flats):
        flat = generate_flat(seed, family=family)
        grid = OccupancyGrid(flat)
        for target in flat.objects[::4]:
            if not _reaches(grid, target, rng):
                missed.append((seed, target.name))
    assert not missed


def _reaches(grid: OccupancyGrid, target: SceneObject, rng: np.random.Generator) -> bool:
    field = grid.field_to(target, within_room=True)
    cells = np.argwhere(grid.room_cells(grid.flat.room(target.room)) & np.isfinite(field.values_m))
    pose = Pose(*grid.centre(*cells[rng.integers(len(cells))]), float(rng.uniform(-math.pi, math.pi)))
    seen, rotated = False, 0.0
    for _ in range(MAX_DECISIONS):
        bearing = bearing_rad(pose, target)
        visible = abs(bearing) < math.radians(45)
        action = oracle_action(pose, field, TargetView(visible, seen, rotated, bearing))
        if isinstance(action, Stop):
            return field.at(pose.x_m, pose.y_m) < 1.0
        seen |= visible
        rotated += abs(action.angle_rad) if isinstance(action, Turn) else 0.0
        for step in unit_steps(action):
            pose, _ = move(grid, pose, step)
    return False
