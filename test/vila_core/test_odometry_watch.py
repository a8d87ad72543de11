"""What odometry itself gives away, message by message."""

from __future__ import annotations

import dataclasses

import pytest

from vila_core.control.odometry_watch import OdometryWatch, Source
from vila_core.control.reasons import MotionFault
from vila_core.types import Odometry, Pose, VelocityCommand

MS = 1_000_000
ZERO = VelocityCommand()
DRIVEN = VelocityCommand(0.3, 0.0)
A, B = Source(publisher=b"a"), Source(publisher=b"b")
UNKNOWN = Source(publishers=2)  # where ROS does not tell who sent a message


def told(watch, odometry, source=A, fastest=ZERO, at_ms=None):
    at_ns = odometry.stamp_ns if at_ms is None else at_ms * MS
    return watch.note(odometry, source, ZERO, fastest, at_ns)


def at(ms, x_m=0.0, linear_mps=0.0):
    return Odometry(ms * MS, Pose(x_m=x_m), linear_mps)


def test_a_robot_that_drives_is_not_doubted():
    watch = OdometryWatch()
    for i in range(100):
        assert told(watch, at(50 * i, 0.015 * i, 0.3), fastest=DRIVEN) is None
    assert watch.broken is None


def test_a_break_parts_older_images_from_now():
    watch = OdometryWatch()
    told(watch, at(0))
    assert told(watch, at(50, 5.0)).fault is MotionFault.ODOMETRY_JUMP
    assert watch.since(49 * MS) is watch.broken and watch.since(50 * MS) is None
    assert told(watch, at(100, 5.0)) is None  # one jump, then it goes on from there


@pytest.mark.parametrize("changes", [{"frame": "map"}, {"child_frame": "base_footprint"}])
def test_other_frames_are_a_break(changes):
    watch = OdometryWatch()
    told(watch, at(0))
    changed = dataclasses.replace(A, **changes)
    broken = told(watch, at(50), changed)
    assert broken.fault is MotionFault.ODOMETRY_FRAME and next(iter(changes.values())) in broken.detail
    assert told(watch, at(100), changed) is None


@pytest.mark.parametrize(
    ("second", "first", "other"),
    [
        (at(50), A, B),  # told apart by their ids, though they agree
        (at(40, 1.0), UNKNOWN, UNKNOWN),  # stamps that go back
        (at(55, 1.0), UNKNOWN, UNKNOWN),  # poses that alternate
    ],
)
def test_two_publishers_are_told(second, first, other):
    watch = OdometryWatch()
    told(watch, at(0), first)
    told(watch, at(50), first)
    assert told(watch, second, other, at_ms=56).fault is MotionFault.ODOMETRY_PUBLISHERS


def test_a_second_publisher_that_is_silent_is_none():
    watch = OdometryWatch()
    for i in range(10):
        assert told(watch, at(50 * i), UNKNOWN) is None


def test_a_driver_that_was_started_again_is_one_publisher():
    watch = OdometryWatch()
    told(watch, at(0), A)
    assert told(watch, at(3000), B, at_ms=3000) is None
    assert told(watch, at(3050), B, at_ms=3050) is None


@pytest.mark.parametrize(
    ("stamp_ms", "received_ms", "is_jump"), [(-20, 50, True), (5000, 50, True), (5000, 5000, False), (800, 400, False)]
)
def test_stamps_that_jump(stamp_ms, received_ms, is_jump):
    watch = OdometryWatch()
    told(watch, at(0), at_ms=0)
    broken = told(watch, at(stamp_ms), at_ms=received_ms)
    assert (broken.fault is MotionFault.CLOCK) if is_jump else broken is None


@pytest.mark.parametrize(("step_m", "is_jump"), [(0.1, False), (-0.1, False), (0.3, True), (-0.3, True)])
def test_a_robot_that_is_pushed_by_hand_is_not_doubted(step_m, is_jump):
    watch = OdometryWatch()
    told(watch, at(0))
    assert (told(watch, at(50, step_m)) is not None) is is_jump


@pytest.mark.parametrize("x_m", [0.25, 0.4])  # 5 cm back and 10 cm ahead of 30 cm
def test_a_velocity_that_proved_right_gives_a_jump_away(x_m):
    watch = OdometryWatch()
    for i in range(10):
        told(watch, at(100 * i, 0.03 * i, 0.3), fastest=DRIVEN)
    assert told(watch, at(1000, x_m, 0.3), fastest=DRIVEN).fault is MotionFault.ODOMETRY_JUMP


def test_numbers_that_are_not_finite_are_a_break():
    watch = OdometryWatch()
    told(watch, at(0))
    assert watch.note_bad("x is nan", 50 * MS).fault is MotionFault.ODOMETRY_NOT_FINITE
    assert watch.since(0) is not None
    assert told(watch, at(100)) is None
