"""Episodes are played in unit steps, slide along obstacles and are measured as they should be."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from vila_core.errors import WorldError
from vila_core.types import MoveForward, Pose, Stop, Turn
from vila_sim.environment import STEP_NS, FlatEnv, bearing_rad, move, visible_pixels
from vila_sim.episodes.oracle import MAX_DECISIONS, oracle_action
from vila_sim.episodes.splits import Episode, generate_episodes
from vila_sim.flats.grid import OccupancyGrid
from vila_sim.flats.scene import Flat, Room, SceneObject
from vila_sim.mujoco.simulator import CameraConfig

SMALL = CameraConfig(width_px=64, height_px=64)


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    return generate_episodes("val_unseen_layout", 3)


@pytest.fixture(scope="module")
def env() -> Iterator[FlatEnv]:
    env = FlatEnv(SMALL)
    yield env
    env.close()


@pytest.fixture
def grid() -> OccupancyGrid:
    post = SceneObject("red_box_0", "box", "red", "hall", 2.0, 2.0, 0.0, (0.4, 0.4), 0.5, ())
    return OccupancyGrid(Flat(0, 4.0, 4.0, (Room("hall", 0.0, 0.0, 4.0, 4.0, "", ""),), (), (), (post,)))


def test_a_free_step_is_exact(grid: OccupancyGrid) -> None:
    pose, touched = move(grid, Pose(1.0, 1.0, math.pi / 6), MoveForward(0.25))
    assert not touched
    assert (pose.x_m, pose.y_m) == pytest.approx((1.0 + 0.25 * math.cos(math.pi / 6), 1.125))
    pose, touched = move(grid, Pose(1.0, 1.0, math.pi - 0.1), Turn(0.2))
    assert not touched and pose.yaw_rad == pytest.approx(-math.pi + 0.1)
    assert move(grid, pose, Stop()) == (pose, False)


def test_a_head_on_step_stops_at_the_obstacle(grid: OccupancyGrid) -> None:
    pose, touched = move(grid, Pose(1.5, 2.0), MoveForward(0.25))
    assert touched and 1.5 <= pose.x_m < 1.6 and pose.y_m == pytest.approx(2.0, abs=1e-6)
    assert grid.free(pose.x_m, pose.y_m)


def test_a_slanting_step_slides_along_the_wall(grid: OccupancyGrid) -> None:
    pose, touched = move(grid, Pose(0.24, 1.0, math.radians(120)), MoveForward(0.25))
    assert touched and pose.y_m == pytest.approx(1.0 + 0.25 * math.sin(math.radians(120)))
    assert pose.x_m >= 0.2


def test_bearing_is_left_positive() -> None:
    target = SceneObject("a", "box", "red", "hall", 0.0, 5.0, 0.0, (1, 1), 1.0, ())
    assert bearing_rad(Pose(), target) == pytest.approx(math.pi / 2)
    assert bearing_rad(Pose(yaw_rad=math.pi), target) == pytest.approx(-math.pi / 2)


def test_visible_pixels_are_scaled_to_224() -> None:
    segmentation = np.full((112, 112), -1, np.int16)
    segmentation[0, :10] = 2
    assert visible_pixels(segmentation, 4).tolist() == [0, 0, 40, 0]


def test_one_frame_and_odometry_for_each_unit_step(env: FlatEnv, episodes: list[Episode]) -> None:
    frame, odometry = env.reset(episodes[0])
    assert frame.image.shape == (64, 64, 3) and odometry.pose == episodes[0].start
    seen = env.act(Turn(math.radians(45)))
    assert [f.stamp_ns - frame.stamp_ns for f, _ in seen] == [STEP_NS, 2 * STEP_NS, 3 * STEP_NS]
    assert [f.stamp_ns for f, _ in seen] == [o.stamp_ns for _, o in seen]
    assert len(env.path) == len(env.distances_m) == 4
    assert env.distances_m[0] == pytest.approx(episodes[0].geodesic_m, abs=1e-3)
    turned = [(o.pose.yaw_rad - episodes[0].start.yaw_rad) % (2 * math.pi) for _, o in seen]
    assert turned == pytest.approx([math.radians(a) for a in (15, 30, 45)])


def test_stop_ends_the_episode(env: FlatEnv, episodes: list[Episode]) -> None:
    env.reset(episodes[0])
    assert env.act(Stop()) == ()
    assert env.stop_called and not env.succeeded and len(env.path) == 1
    with pytest.raises(WorldError, match="over"):
        env.act(Stop())


def test_frames_of_different_episodes_have_different_keys(env: FlatEnv, episodes: list[Episode]) -> None:
    keys = [env.reset(episodes[0])[0].key for _ in range(3)]
    assert len(set(keys)) == 3


def test_view_needs_tracking_and_missing_target_is_named(env: FlatEnv, episodes: list[Episode]) -> None:
    env.reset(episodes[0])
    with pytest.raises(WorldError, match="track_target"):
        env.target_view()


def test_without_rendering_frames_are_black(env: FlatEnv, episodes: list[Episode]) -> None:
    frame, _ = env.reset(episodes[0], render=False)
    assert frame.image.shape == (64, 64, 3) and not frame.image.any()
    assert env.reset(episodes[0])[0].image.any()


def test_oracle_arrives_in_the_rendered_world(env: FlatEnv, episodes: list[Episode]) -> None:
    for episode in episodes:
        env.reset(episode, track_target=True)
        for _ in range(MAX_DECISIONS):
            env.act(oracle_action(env.pose, env.field, env.target_view()))
            if env.stop_called:
                break
        assert env.succeeded, episode
