"""How far the robot came, and whether that led anywhere; also of a clock that runs ahead."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.control.forward_jump import ForwardJumpWatch, MissionClocks
from vila_core.control.progress import Progress
from vila_core.types import Pose

S = 1_000_000_000


def test_the_path_is_measured_and_net_turns_begin_anew_where_it_got_on() -> None:
    progress, pose = Progress(0.3), Pose()
    progress.note_pose(pose)
    for _ in range(6):
        pose = pose.turned(math.radians(30))
        progress.note_pose(pose)
    assert progress.turned_rad == pytest.approx(math.pi)
    pose = pose.advanced(0.31)
    progress.note_pose(pose)
    assert progress.distance_m == pytest.approx(0.31) and progress.turned_rad == 0.0


@pytest.mark.parametrize(
    ("pose", "moved"),
    [
        (Pose(0.09, 0.0, 0.0), False),
        (Pose(0.11, 0.0, 0.0), True),
        (Pose(0.0, 0.0, math.radians(-9)), False),
        (Pose(0.0, 0.0, math.radians(-11)), True),
    ],
)
def test_it_has_moved_once_it_was_away(pose: Pose, moved: bool) -> None:
    progress = Progress(0.3)
    for each in (Pose(), pose, Pose()):
        progress.note_pose(each)
    assert progress.has_moved is moved


noise = st.floats(-0.004, 0.004)


@given(st.lists(st.tuples(noise, noise, noise), min_size=40, max_size=80))
def test_noise_of_a_robot_that_stands_is_neither_motion_nor_progress(noises) -> None:
    progress = Progress(0.3)
    for number, (x, y, yaw) in enumerate(noises):
        progress.note_pose(Pose(x, y, yaw))
        if number % 4 == 3:
            progress.note_motion()
    assert not progress.has_moved and progress.idle_motions == len(noises) // 4


@given(st.lists(st.sampled_from([-45, -30, -15, 15, 30, 45]), min_size=120, max_size=120))
def test_turning_on_the_spot_always_comes_to_an_end(turns) -> None:
    progress, pose = Progress(0.3), Pose()
    progress.note_pose(pose)
    for degrees in turns:
        pose = pose.turned(math.radians(degrees))
        progress.note_pose(pose)
        progress.note_motion()
        if progress.idle_motions >= 16 or abs(progress.turned_rad) > math.radians(380):
            return
    pytest.fail("120 turns on one spot were not seen to lead nowhere")


@pytest.mark.parametrize(
    ("steps", "speed", "jumps"),
    [
        ([(0.1, 0.1)] * 50, 1.0, False),
        ([(0.1, 0.1)] * 5 + [(60.1, 0.1)], 1.0, True),
        ([(1.9, 0.1)], 1.0, False),
        ([(0.8, 0.1)] * 3, 1.0, True),
        ([(9.0, 9.0), (0.1, 0.1)], 1.0, False),
        ([(0.0, 3.0), (3.0, 0.1)], 1.0, False),
        ([(0.2, 0.1)] * 50, 2.5, False),
        ([(0.25, 0.1)] * 50, 2.5, False),
        ([(1.0, 0.1), (0.1, 0.1)] * 1, 2.5, False),
        ([(60.0, 0.1)], 2.5, True),
        ([(-5.0, 0.1), (0.1, 0.1)], 1.0, False),
    ],
)
def test_a_clock_that_runs_ahead_of_the_steady_one(steps, speed: float, jumps: bool) -> None:
    watch, now, steady, faults = ForwardJumpWatch("the clock"), 1000 * S, 7 * S, []
    watch.note(now, steady, speed)
    for step_s, elapsed_s in steps:
        now, steady = now + round(step_s * S), steady + round(elapsed_s * S)
        faults.append(watch.note(now, steady, speed))
    assert any(faults) is jumps
    assert all(fault.startswith("the clock ran ") for fault in faults if fault)


def test_a_time_that_was_unknown_has_not_jumped() -> None:
    watch = ForwardJumpWatch("the clock")
    assert [watch.note(time_ns, steady) for time_ns, steady in ((0, S), (500 * S, 2 * S), (501 * S, 3 * S))] == [""] * 3


@pytest.mark.parametrize(
    ("now_s", "image_s", "odometry_s", "words"),
    [
        (101.0, 101.0, 101.0, ""),
        (101.0, 0.0, 0.0, ""),
        (99.9, 100.0, 100.0, "time went back from 100000000000 to 99900000000 ns"),
        (105.0, 105.0, 105.0, "the clock ran"),
        (101.0, 105.0, 101.0, "the images' stamp ran"),
        (101.0, 101.0, 105.0, "the odometry's stamp ran"),
    ],
)
def test_the_times_that_a_mission_goes_by(now_s, image_s, odometry_s, words):
    clocks = MissionClocks(100 * S)
    assert clocks.fault(100 * S, 100 * S, 100 * S, steady_ns=7 * S) == ""
    stamps_ns = (round(seconds * S) for seconds in (now_s, image_s, odometry_s))
    fault = clocks.fault(*stamps_ns, steady_ns=8 * S)
    assert words in fault and bool(fault) == bool(words)
