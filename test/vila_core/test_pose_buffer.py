"""Poses by stamp."""

import math

import pytest

from vila_core.control.pose_buffer import PoseBuffer
from vila_core.types import Odometry, Pose

S = 1_000_000_000


def filled(**arguments):
    buffer = PoseBuffer(**arguments)
    for i in range(11):
        buffer.add(Odometry(i * S // 10, Pose(x_m=i / 10, y_m=-i / 10, yaw_rad=i / 100)))
    return buffer


def test_interpolates():
    pose = filled().at(S // 4)
    assert (pose.x_m, pose.y_m, pose.yaw_rad) == pytest.approx((0.25, -0.25, 0.025))
    assert filled().at(3 * S // 10) == Pose(0.3, -0.3, 0.03)
    assert filled().newest.stamp_ns == S


def test_interpolates_the_short_way_across_pi():
    buffer = PoseBuffer()
    buffer.add(Odometry(0, Pose(yaw_rad=math.radians(178))))
    buffer.add(Odometry(S // 10, Pose(yaw_rad=math.radians(-178))))
    assert abs(buffer.at(S // 20).yaw_rad) == pytest.approx(math.pi)


@pytest.mark.parametrize(("stamp_ns", "x_m"), [(-S // 20, 0.0), (S + S // 20, 1.0)])
def test_the_nearest_within_the_tolerance(stamp_ns, x_m):
    assert filled().at(stamp_ns).x_m == x_m


@pytest.mark.parametrize("stamp_ns", [-S, -3 * S // 10, S + 3 * S // 10, 100 * S])
def test_outside_is_an_error(stamp_ns):
    with pytest.raises(LookupError, match="no odometry within"):
        filled().at(stamp_ns)


@pytest.mark.parametrize(
    ("rate_hz", "off_s", "speed_mps", "is_known"),
    [
        (50, 0.09, 0.3, True),  # never less than a tenth of a second
        (50, 0.15, 0.3, False),
        (10, 0.2, 0.3, True),  # two and a half of its own periods
        (10, 0.3, 0.3, False),
        (5, 0.45, 0.3, True),
        (50, 0.45, 0.0, True),  # where it stood, it still stands
        (50, 0.55, 0.0, False),
        (2, 0.9, 0.0, False),
    ],
)
@pytest.mark.parametrize("tells_its_speed", [True, False])
def test_the_tolerance_follows_odometrys_own_rate(rate_hz, off_s, speed_mps, is_known, tells_its_speed):
    buffer = PoseBuffer()
    for i in range(20):
        told_mps = speed_mps if tells_its_speed else 0.0
        buffer.add(Odometry(i * S // rate_hz, Pose(x_m=speed_mps * i / rate_hz), told_mps))
    stamp_ns = buffer.newest.stamp_ns + round(off_s * S)
    if is_known:
        assert buffer.at(stamp_ns) == buffer.newest.pose
    else:
        with pytest.raises(LookupError, match="no odometry within"):
            buffer.at(stamp_ns)


def test_a_gap_in_which_the_robot_stood_is_none():
    buffer = PoseBuffer()
    for stamp_ns in (0, 3 * S // 2):
        buffer.add(Odometry(stamp_ns, Pose(x_m=1.0)))
    assert buffer.at(S) == Pose(x_m=1.0)


def test_empty_is_an_error():
    buffer = PoseBuffer()
    assert buffer.newest is None
    with pytest.raises(LookupError, match="no odometry yet"):
        buffer.at(0)


def test_a_gap_is_an_error_but_its_ends_are_known():
    buffer = PoseBuffer()
    buffer.add(Odometry(0, Pose()))
    buffer.add(Odometry(2 * S, Pose(x_m=1.0)))
    with pytest.raises(LookupError, match="gap"):
        buffer.at(S)
    assert buffer.at(0) == Pose() and buffer.at(2 * S) == Pose(x_m=1.0)


def test_old_poses_are_dropped():
    buffer = PoseBuffer(seconds=1.0)
    for i in range(100):
        buffer.add(Odometry(i * S // 10, Pose(x_m=i)))
    with pytest.raises(LookupError):
        buffer.at(8 * S)
    assert buffer.at(9 * S).x_m == 90


def test_a_clock_that_goes_back_empties_the_buffer():
    buffer = filled()
    buffer.add(Odometry(S // 2, Pose(x_m=7.0)))
    assert buffer.at(S // 2).x_m == 7.0
    with pytest.raises(LookupError):
        buffer.at(S // 10)


def test_the_same_stamp_is_ignored():
    buffer = filled()
    buffer.add(Odometry(S, Pose(x_m=99.0)))
    assert buffer.at(S).x_m == 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_must_be_finite(value):
    with pytest.raises(ValueError, match="not finite"):
        PoseBuffer().add(Odometry(0, Pose(y_m=value)))
