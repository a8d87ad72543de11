"""The frames that are remembered."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.config import HistoryConfig
from vila_core.errors import FrameError
from vila_core.history.buffer import FrameHistory
from vila_core.testing import make_frame
from vila_core.types import Frame, Odometry, Pose


def add_at(history, stamp_ns, pose):
    return history.add(make_frame(stamp_ns, height=2, width=2), Odometry(stamp_ns, pose))


def stamps(history):
    return [frame.stamp_ns for frame in history.snapshot()]


def test_one_frame_per_25_cm_and_the_newest_at_the_end():
    history = FrameHistory(HistoryConfig())
    kept = [add_at(history, i + 1, Pose(x_m=0.1 * i)) for i in range(9)]
    assert kept == [True, False, False, True, False, False, True, False, False]
    assert stamps(history) == [1, 4, 7, 9]
    assert len(history) == 4 and history.newest.stamp_ns == 9


def test_one_frame_per_15_degrees_also_across_pi():
    history = FrameHistory(HistoryConfig())
    assert add_at(history, 1, Pose(yaw_rad=math.radians(175)))
    assert not add_at(history, 2, Pose(yaw_rad=math.radians(-176)))
    assert add_at(history, 3, Pose(yaw_rad=math.radians(-170)))
    assert stamps(history) == [1, 3]


def test_steps_of_exactly_the_minimum_count():
    history = FrameHistory(HistoryConfig())
    pose = Pose(yaw_rad=0.3)
    for stamp in range(1, 40):
        assert add_at(history, stamp, pose)
        pose = pose.advanced(0.25) if stamp % 2 else pose.turned(math.radians(15))


def test_no_frame_twice():
    history = FrameHistory(HistoryConfig())
    assert stamps(history) == [] and len(history) == 0 and history.newest is None
    add_at(history, 1, Pose())
    assert stamps(history) == [1] and len(history) == 1


def test_without_odometry_every_frame_is_kept():
    history = FrameHistory(HistoryConfig())
    assert all(history.add(make_frame(s, height=2, width=2), None) for s in range(1, 6))
    assert stamps(history) == [1, 2, 3, 4, 5]


@given(st.integers(16, 40), st.integers(1, 400))
def test_bounded_even_and_the_first_is_kept(capacity, count):
    history = FrameHistory(HistoryConfig(capacity=capacity))
    for stamp in range(1, count + 1):
        add_at(history, stamp, Pose(x_m=0.25 * stamp))
        assert len(history) <= capacity + 1
    seen = stamps(history)
    assert seen[0] == 1 and seen[-1] == count
    assert len(set(np.diff(seen[:-1]))) <= 1
    assert len(seen) >= min(count, capacity // 2)


@pytest.mark.parametrize("stamp_ns", [5, 4, -1])
def test_stamps_must_increase(stamp_ns):
    history = FrameHistory(HistoryConfig())
    add_at(history, 5, Pose())
    with pytest.raises(FrameError, match="not after the newest"):
        add_at(history, stamp_ns, Pose(x_m=1.0))
    assert stamps(history) == [5]
    history.clear()
    assert add_at(history, stamp_ns, Pose())


def test_another_camera_is_refused():
    history = FrameHistory(HistoryConfig())
    add_at(history, 1, Pose())
    with pytest.raises(FrameError, match="camera 'rear' in the history of 'camera'"):
        history.add(make_frame(2, camera="rear"), None)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        [[[0, 0, 0]]],
    ],
)
def test_bad_images_are_refused(image):
    history = FrameHistory(HistoryConfig())
    with pytest.raises(FrameError, match="expected"):
        history.add(Frame(image, 1), None)
    assert stamps(history) == []


@pytest.mark.parametrize("pose", [Pose(x_m=math.nan), Pose(y_m=math.inf), Pose(yaw_rad=math.nan)])
def test_odometry_must_be_finite(pose):
    history = FrameHistory(HistoryConfig())
    add_at(history, 1, Pose())
    with pytest.raises(FrameError, match="not finite"):
        add_at(history, 2, pose)
    assert stamps(history) == [1]


def test_all_but_the_newest_frame_can_be_forgotten():
    history = FrameHistory(HistoryConfig())
    history.keep_newest()
    assert stamps(history) == []
    for stamp in range(1, 40):
        history.add(make_frame(stamp, height=2, width=2), None)
        history.keep_newest()
        assert stamps(history) == [stamp] and len(history) == 1
    with pytest.raises(FrameError, match="not after"):
        history.add(make_frame(39, height=2, width=2), None)
    add_at(history, 50, Pose())
    add_at(history, 51, Pose())
    history.keep_newest()
    assert stamps(history) == [51]
