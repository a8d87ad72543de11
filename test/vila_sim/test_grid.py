"""Occupancy, geodesic distances and straight-line checks on a hand-made room."""

from __future__ import annotations

import math

import pytest

from vila_core.errors import WorldError
from vila_core.types import Pose
from vila_sim.flats.grid import OccupancyGrid, lookahead, path_points, walk
from vila_sim.flats.scene import Flat, Room, SceneObject, Wall


def make_flat(*objects: SceneObject) -> Flat:
    """Two rooms of 4 x 4 m side by side; a doorway of 1 m at (4.05, 0.5) joins them."""
    rooms = (Room("west", 0.0, 0.0, 4.0, 4.0, "", ""), Room("east", 4.1, 0.0, 8.1, 4.0, "", ""))
    walls = (
        Wall(-0.1, -0.1, 8.2, 0.0, 2.5, ""),
        Wall(-0.1, 4.0, 8.2, 4.1, 2.5, ""),
        Wall(-0.1, -0.1, 0.0, 4.1, 2.5, ""),
        Wall(8.1, -0.1, 8.2, 4.1, 2.5, ""),
        Wall(4.0, 1.0, 4.1, 4.0, 2.5, ""),
    )
    return Flat(0, 8.2, 4.1, rooms, walls, (), objects)


def make_object(x: float, y: float, size: tuple[float, float] = (0.5, 0.5), yaw: float = 0.0) -> SceneObject:
    return SceneObject("red_box_0", "box", "red", "west", x, y, yaw, size, 0.5, ())


def test_walls_and_rotated_objects_are_inflated_by_the_radius() -> None:
    grid = OccupancyGrid(make_flat(make_object(2.0, 2.0, (1.0, 0.2), math.pi / 2)))
    assert grid.free(1.0, 1.0)
    assert not grid.free(0.1, 1.0) and grid.free(0.3, 1.0)  # wall
    assert not grid.free(2.25, 2.4) and grid.free(2.45, 2.4)  # long side, turned along y
    assert not grid.free(2.0, 2.65) and grid.free(2.0, 2.8)
    assert not grid.free(100.0, 1.0) and not grid.free(-5.0, -5.0)


def test_distance_in_the_open_is_nearly_euclidean() -> None:
    target = make_object(3.5, 3.5)
    grid = OccupancyGrid(make_flat(target))
    field = grid.field_to(target, within_room=True)
    for start in ((0.5, 0.5), (3.0, 0.6), (0.5, 3.0), (1.4, 0.3)):
        nearest = min(math.dist(start, grid.centre(*cell)) for cell in _true_cells(grid.goal_cells(target)))
        assert nearest - 0.08 <= field.at(*start) <= 1.03 * nearest + 0.08


def test_distance_goes_round_through_the_doorway() -> None:
    target = make_object(3.0, 3.0)
    grid = OccupancyGrid(make_flat(target))
    field = grid.field_to(target)
    assert field.at(5.0, 3.0) > 4.0  # 1.4 m away through the wall
    path = path_points(field, 5.0, 3.0)
    assert path[0] == (5.0, 3.0) and min(y for _, y in path) < 1.0
    length = sum(math.dist(a, b) for a, b in zip(path, path[1:], strict=False))
    assert field.at(5.0, 3.0) * 0.9 < length < field.at(5.0, 3.0) * 1.05
    assert all(math.dist(a, b) <= 0.2501 for a, b in zip(path, path[1:], strict=False))


def test_goal_cells_touch_the_object_on_its_own_side_of_the_wall() -> None:
    target = make_object(3.8, 2.5, (0.3, 0.3))
    grid = OccupancyGrid(make_flat(target))
    cells = _true_cells(grid.goal_cells(target))
    assert cells
    for row, column in cells:
        x, y = grid.centre(row, column)
        assert x < 4.0 and grid.free(x, y)
        gap = math.hypot(max(abs(x - 3.8) - 0.15, 0.0), max(abs(y - 2.5) - 0.15, 0.0))
        assert 0.22 <= gap <= 0.22 + 0.15


def test_walled_in_object_still_has_goal_cells() -> None:
    fence = [make_object(2.0 + dx, 2.0 + dy, (0.6, 0.6)) for dx in (-0.6, 0, 0.6) for dy in (-0.6, 0, 0.6)]
    grid = OccupancyGrid(make_flat(*fence))
    assert grid.goal_cells(fence[4]).any()


def test_room_without_free_space_is_an_error() -> None:
    target = make_object(2.0, 2.0, (4.0, 4.0))
    grid = OccupancyGrid(make_flat(target))
    with pytest.raises(WorldError, match="red_box_0"):
        grid.goal_cells(target)


def test_unreachable_points_are_infinitely_far() -> None:
    target = make_object(3.0, 3.0)
    grid = OccupancyGrid(make_flat(target))
    assert grid.field_to(target, within_room=True).at(7.5, 3.5) == math.inf  # outside the window
    assert grid.field_to(target).at(50.0, 50.0) == math.inf


def test_line_is_free_sees_thin_obstacles() -> None:
    grid = OccupancyGrid(make_flat(make_object(2.0, 2.0, (0.02, 0.02))))
    assert grid.line_is_free(0.5, 1.0, 3.5, 1.0)
    assert not grid.line_is_free(0.5, 2.0, 3.5, 2.0)
    assert not grid.line_is_free(3.0, 2.0, 5.0, 2.0)  # wall
    assert grid.line_is_free(1.0, 1.0, 1.0, 1.0)


def test_lookahead_is_the_goal_when_in_sight_and_a_corner_when_not() -> None:
    target = make_object(3.0, 3.0)
    grid = OccupancyGrid(make_flat(target))
    field = grid.field_to(target)
    ahead = lookahead(Pose(1.0, 1.0), field, 10.0)
    assert field.at(*ahead) == 0.0
    corner = lookahead(Pose(6.0, 3.0), field, 10.0)
    assert field.at(*corner) > 0.5 and grid.line_is_free(6.0, 3.0, *corner)
    near = lookahead(Pose(6.0, 3.0), field, 0.3)
    assert math.dist(near, (6.0, 3.0)) < 0.45


def test_walk_descends_to_the_goal() -> None:
    target = make_object(3.0, 3.0)
    grid = OccupancyGrid(make_flat(target))
    field = grid.field_to(target)
    values = [field.at(*point) for point in walk(field, 7.0, 3.0)]
    assert values == sorted(values, reverse=True) and values[-1] == 0.0


def _true_cells(mask) -> list[tuple[int, int]]:
    return [(int(row), int(column)) for row, column in zip(*mask.nonzero(), strict=True)]
