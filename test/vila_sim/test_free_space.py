"""How far the floor is free: as far as a point could be moved."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vila_sim.episodes.splits import split_flat
from vila_sim.flats.free_space import FreeSpace, column_bearings_rad
from vila_sim.flats.grid import OccupancyGrid


@pytest.mark.parametrize("seed", [1, 5])
def test_a_ray_ends_where_small_steps_along_it_meet_something(seed: int) -> None:
    flat = split_flat(seed)
    grid, rng = OccupancyGrid(flat, robot_radius_m=0.02), np.random.default_rng(seed)
    cells = rng.permutation(np.argwhere(grid.free_cells))[:40]
    spots, angles = np.array([grid.centre(*cell) for cell in cells]), rng.uniform(-math.pi, math.pi, 40)
    ranges = FreeSpace(flat).ranges_m(spots[:, 0], spots[:, 1], angles, 3.0)
    for (x_m, y_m), angle, range_m in zip(spots, angles, ranges, strict=True):
        steps = np.arange(0.0, 3.0, 0.005)
        blocked = (at for at in steps if not grid.free(x_m + at * math.cos(angle), y_m + at * math.sin(angle)))
        assert range_m == pytest.approx(min(next(blocked, 3.0), 3.0), abs=0.05)
    assert (ranges == 3.0).any() and (ranges < 2.0).any()


def test_from_where_nothing_can_be_it_is_not_free() -> None:
    flat = split_flat(1)
    outside, towards = np.array([-50.0]), np.array([0.0])
    assert FreeSpace(flat).ranges_m(outside, outside, towards, 3.0) == 0.0


def test_the_columns_of_a_picture_lie_evenly_on_its_plane() -> None:
    bearings = column_bearings_rad(16, 90.0)
    np.testing.assert_allclose(np.tan(bearings), np.linspace(15 / 16, -15 / 16, 16))
    np.testing.assert_allclose(column_bearings_rad(1, 70.0), [0.0], atol=1e-12)
