"""Motions by odometry that lies, and by odometry that is only as bad as that of real robots."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from late_base import ONE, LateBase, as_it_is, commanded, drive, moved, size

from vila_core.actions.grammar import ACTIONS
from vila_core.config import ControlConfig
from vila_core.control.limits import longest_time_s
from vila_core.control.motion.step import MotionState
from vila_core.control.reasons import MotionFault
from vila_core.types import MoveForward, Odometry, Pose, Turn, wrap_angle

CONFIG = ControlConfig()
BRISK = ControlConfig(
    max_linear_mps=0.5,
    max_angular_rps=1.4,
    max_linear_accel_mps2=2.0,
    max_angular_accel_rps2=6.0,
    position_tolerance_m=0.04,
    angle_tolerance_rad=0.05,
)
FAR, HALF_RIGHT = MoveForward(0.75), Turn(math.radians(-45))


def jumping(**by):
    return lambda odometry, since_s: [(moved(odometry, **by) if since_s > 1.0 else odometry, ONE)]


def drifting(x_mps=0.0, yaw_rps=0.0):
    def edit(odometry, since_s):
        since_s = max(0.0, since_s)
        return [(moved(odometry, x_m=x_mps * since_s, yaw_rad=yaw_rps * since_s), ONE)]

    return edit


def jumping_back_again_and_again(odometry, since_s):
    return [(moved(odometry, x_m=-0.25 * (max(0.0, since_s) // 1.2)), ONE)]


def held(**changes):
    """The pose stands still from 0.8 s; changes: of what else is in the message."""
    last = Odometry(0, Pose())

    def edit(odometry, since_s):
        nonlocal last
        if since_s < 0.8:
            last = odometry
            return [(odometry, ONE)]
        return [(dataclasses.replace(odometry, pose=last.pose, **changes), ONE)]

    return edit


def along_a_wall(odometry, since_s):
    """From x = 0.15 m on it gets two fifths as far, by pose and velocity."""
    pose = odometry.pose
    if since_s < 0 or pose.x_m < 0.15:
        return [(odometry, ONE)]
    slid = Pose(0.15 + 0.4 * (pose.x_m - 0.15), 0.2 * (pose.x_m - 0.15), pose.yaw_rad)
    return [(dataclasses.replace(odometry, pose=slid, linear_mps=0.4 * odometry.linear_mps), ONE)]


def to_another_frame(odometry, since_s):
    source = ONE if since_s < 1.0 else dataclasses.replace(ONE, frame="map")
    return [(odometry, source)]


def another_robot(with_gid):
    own = ONE if with_gid else dataclasses.replace(ONE, publisher=b"", publishers=2)
    other = dataclasses.replace(own, publisher=b"other" if with_gid else b"")

    def edit(odometry, since_s):
        stranger = Odometry(odometry.stamp_ns + 1000, Pose())
        return [(odometry, own)] + ([(stranger, other)] if since_s > 1.0 else [])

    return edit


def the_same_a_little_older(odometry, since_s):
    own = dataclasses.replace(ONE, publisher=b"", publishers=2)
    older = dataclasses.replace(odometry, stamp_ns=odometry.stamp_ns - 30_000_000)
    return [(odometry, own)] + ([(older, own)] if since_s > 1.0 else [])


def ahead_of_time(odometry, since_s):
    return [(dataclasses.replace(odometry, stamp_ns=odometry.stamp_ns + 5_000_000_000 * (since_s > 1.0)), ONE)]


def behind_the_time(odometry, since_s):
    return [(dataclasses.replace(odometry, stamp_ns=odometry.stamp_ns - 5_000_000_000 * (since_s > 1.0)), ONE)]


def silent(odometry, since_s):
    return [(odometry, ONE)] if since_s < 1.0 else []


JUMP, CONTRADICTS = MotionFault.ODOMETRY_JUMP, MotionFault.ODOMETRY_CONTRADICTS
LIES = [
    ("jumps back 0.3 m", FAR, jumping(x_m=-0.3), JUMP, 1.3),
    ("jumps back 5 m", FAR, jumping(x_m=-5.0), JUMP, 1.3),
    ("jumps ahead 0.3 m", FAR, jumping(x_m=0.3), JUMP, 1.3),
    ("jumps back 5 cm", FAR, jumping(x_m=-0.05), JUMP, 1.3),
    ("jumps aside 0.1 m", FAR, jumping(y_m=0.1), JUMP, 1.3),
    ("turns 20 degrees at once", FAR, jumping(yaw_rad=0.35), JUMP, 1.3),
    ("turns 10 degrees at once in a turn", HALF_RIGHT, jumping(yaw_rad=-0.175), JUMP, 1.3),
    ("jumps back each 1.2 s", FAR, jumping_back_again_and_again, JUMP, 1.5),
    ("drifts back", FAR, drifting(-0.1), CONTRADICTS, 1.5),
    ("drifts ahead", FAR, drifting(0.1), CONTRADICTS, 1.5),
    ("drifts back as fast as it drives", FAR, drifting(-0.3), CONTRADICTS, 1.5),
    ("its heading drifts", FAR, drifting(yaw_rps=0.2), CONTRADICTS, 1.5),
    ("its heading drifts in a turn", HALF_RIGHT, drifting(yaw_rps=0.3), CONTRADICTS, 1.5),
    ("stands still, its velocity does not", FAR, held(), CONTRADICTS, 2.2),
    ("stands still in a turn, its velocity does not", HALF_RIGHT, held(), CONTRADICTS, 2.2),
    ("stands still all in all", FAR, held(linear_mps=0.0, angular_rps=0.0), MotionFault.STALLED, 2.2),
    ("slides along a wall", FAR, along_a_wall, MotionFault.STALLED, 2.2),
    ("changes its frame", FAR, to_another_frame, MotionFault.ODOMETRY_FRAME, 1.3),
    ("two publishers", FAR, another_robot(True), MotionFault.ODOMETRY_PUBLISHERS, 1.3),
    ("two publishers, not told apart", FAR, another_robot(False), MotionFault.ODOMETRY_PUBLISHERS, 1.3),
    ("two publishers of one pose", FAR, the_same_a_little_older, MotionFault.ODOMETRY_PUBLISHERS, 1.3),
    ("stamps 5 s ahead", FAR, ahead_of_time, MotionFault.CLOCK, 1.3),
    ("stamps 5 s behind", FAR, behind_the_time, MotionFault.CLOCK, 1.3),
    ("silence", FAR, silent, MotionFault.ODOMETRY_SILENT, 1.6),
]


# a brisk turn is over before these lies begin
ROWS = [(config, *row) for row in LIES for config in (CONFIG, BRISK) if row[1] is FAR or config is CONFIG]


@pytest.mark.parametrize("rate_hz", [10, 50])
@pytest.mark.parametrize(("config", "what", "action", "edit", "fault", "limit_s"), ROWS)
def test_a_lie_ends_the_motion_in_time(config, what, action, edit, fault, limit_s, rate_hz) -> None:
    result = drive(LateBase(rate_hz=rate_hz), action, edit, config)
    assert result.step.state is MotionState.ABORTED and result.step.fault is fault, (what, result.step.detail)
    assert result.step.command.is_zero and result.step.detail
    assert result.seconds < limit_s + 0.05
    assert commanded(result.step, action) <= 1.2 * size(action)


@pytest.mark.parametrize("told", [-1.0, 0.1, 0.5, 2.0, 10.0])
@pytest.mark.parametrize("speed_told", ["as the pose", "right", "never"])
@pytest.mark.parametrize("action", [ACTIONS[1], FAR, Turn(math.radians(15)), HALF_RIGHT], ids=repr)
@pytest.mark.parametrize("late", [{}, {"lag_s": 0.3, "dead_s": 0.2}], ids=["quick base", "late base"])
def test_a_wrong_scale_ends_before_it_matters(told, speed_told, action, late) -> None:
    speed = {"as the pose": told, "right": 1.0, "never": 0.0}[speed_told]
    result = drive(LateBase(told=told, speed_told=speed, **late), action)
    assert result.step.state is MotionState.ABORTED, f"told {result.path_m} m as {result.step.executed_m} m"
    assert result.step.fault in (CONTRADICTS, JUMP), result.step.detail
    assert result.apart_m < 0.1 and result.apart_rad < math.radians(15)
    assert commanded(result.step, action) <= 1.2 * size(action)


@pytest.mark.parametrize("action", [FAR, HALF_RIGHT], ids=repr)
@pytest.mark.parametrize("blocked_at_m", [0.0, 0.2])
@pytest.mark.parametrize("late", [{}, {"lag_s": 0.2, "dead_s": 0.1}, {"noise_m": 0.002, "noise_rad": 0.004}])
def test_a_robot_that_stands_is_told_from_odometry_that_lies(action, blocked_at_m, late) -> None:
    result = drive(LateBase(blocked_at_m=blocked_at_m, **late), action)
    if isinstance(action, Turn) and blocked_at_m:
        assert result.step.state is MotionState.DONE
        return
    drove_late = bool(blocked_at_m and "dead_s" in late)  # it has driven on while it was commanded to: no telling
    assert result.step.fault is MotionFault.STALLED or drove_late, result.step.detail
    assert result.apart_m < 0.1 and result.apart_rad < math.radians(15)
    assert result.step.executed_m == pytest.approx(result.path_m, abs=0.02)


@settings(max_examples=150)
@given(
    action=st.sampled_from(ACTIONS[1:]),
    brisk=st.booleans(),
    lag_s=st.floats(0.0, 0.3),
    dead_s=st.floats(0.0, 0.2),
    delay_s=st.floats(0.0, 0.2),
    rate_hz=st.sampled_from([10, 20, 50, 100]),
    noise_m=st.floats(0.0, 0.003),
    scale=st.floats(0.96, 1.04),
    speed_told=st.sampled_from([0.0, 1.0]),
    jitter_s=st.sampled_from([0.0, 0.05, 0.1]),
    seed=st.integers(0, 1000),
)
def test_a_healthy_robot_is_not_stopped(action, brisk, jitter_s, **base) -> None:
    base["noise_rad"] = 2 * base["noise_m"]
    result = drive(LateBase(**base), action, as_it_is, BRISK if brisk else CONFIG, jitter_s)
    assert result.step.state is MotionState.DONE, (result.step.fault.name, result.step.detail)
    assert commanded(result.step, action) <= 1.2 * size(action)


@given(
    action=st.sampled_from(ACTIONS[1:]),
    edits=st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1), st.floats(-2, 12)), max_size=4),
    lag_s=st.floats(0.0, 0.6),
)
def test_whatever_odometry_says_a_motion_is_bounded(action, edits, lag_s) -> None:
    """edits: each a drift along x and y and of the yaw, and a scale."""

    def edit(odometry, since_s):
        since_s, pose = max(0.0, since_s), odometry.pose
        for x_mps, y_mps, yaw_rps, scale in edits:
            pose = Pose(
                scale * pose.x_m + x_mps * since_s,
                scale * pose.y_m + y_mps * since_s,
                wrap_angle(pose.yaw_rad + yaw_rps * since_s),
            )
        return [(dataclasses.replace(odometry, pose=pose), ONE)]

    result = drive(LateBase(lag_s=lag_s), action, edit)
    assert result.step.state in (MotionState.DONE, MotionState.ABORTED)
    assert commanded(result.step, action) <= 1.2 * size(action) + 1e-9
    assert result.seconds <= longest_time_s(action, CONFIG) + 0.1
