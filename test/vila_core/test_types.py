"""Poses in other poses' frames."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from vila_core.types import Pose

METRES = st.floats(-50.0, 50.0)
ANGLES = st.floats(-10.0, 10.0)
POSES = st.builds(Pose, METRES, METRES, ANGLES)


def is_near(a: Pose, b: Pose) -> bool:
    turn = math.remainder(a.yaw_rad - b.yaw_rad, 2 * math.pi)
    return a.distance_m(b) < 1e-9 and abs(turn) < 1e-9


@given(POSES, POSES)
def test_relative_undoes_compose(base: Pose, inner: Pose) -> None:
    assert is_near(base.compose(inner).relative_to(base), inner)
    assert is_near(base.compose(inner.relative_to(base)), inner)


@given(POSES, POSES, POSES)
def test_frames_may_be_joined_in_any_order(a: Pose, b: Pose, c: Pose) -> None:
    assert is_near(a.compose(b).compose(c), a.compose(b.compose(c)))


@given(POSES, METRES, ANGLES)
def test_moving_and_turning_are_compositions(pose: Pose, distance_m: float, angle_rad: float) -> None:
    assert is_near(pose.compose(Pose(distance_m)), pose.advanced(distance_m))
    assert is_near(pose.compose(Pose(yaw_rad=angle_rad)), pose.turned(angle_rad))


def test_a_pose_to_the_left_of_a_robot_that_looks_left() -> None:
    assert is_near(Pose(1.0, 2.0, math.pi / 2).compose(Pose(3.0, 1.0, 0.5)), Pose(0.0, 5.0, math.pi / 2 + 0.5))
