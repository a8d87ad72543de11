"""A tour visits things over a whole flat, one unit step after the other, and tells what was in view."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")

from vila_sim.environment import STEP_NS
from vila_sim.episodes.splits import layout_seed, split_flat
from vila_sim.flats.grid import OccupancyGrid
from vila_sim.tour import tour


def test_a_tour_is_a_drive_of_unit_steps_that_sees_many_things() -> None:
    flat = split_flat(layout_seed("val_unseen_layout", 3, 0))
    sights = list(tour(flat, np.random.default_rng(0), 60, first_ns=7))
    poses = [sight.odometry.pose for sight in sights]
    assert len(sights) == 60
    assert [sight.frame.stamp_ns for sight in sights] == [7 + number * STEP_NS for number in range(60)]
    assert all(sight.frame.stamp_ns == sight.odometry.stamp_ns for sight in sights)
    assert all(a.distance_m(b) <= 0.26 for a, b in zip(poses, poses[1:], strict=False))
    grid = OccupancyGrid(flat)
    assert all(grid.free(pose.x_m, pose.y_m) for pose in poses)
    seen = np.array([sight.pixels for sight in sights]).max(axis=0)
    assert seen.shape == (len(flat.objects),) and (seen > 150).sum() >= 4
    again = list(tour(flat, np.random.default_rng(0), 60, first_ns=7))
    assert [sight.odometry.pose for sight in again] == poses
