"""When a decision is due while the robot moves, and how fast it moves meanwhile."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.control.decision_timing import DecisionTiming, LatencyEstimate
from vila_core.control.motion.pace import MotionPace, MotionPacing
from vila_core.types import MoveForward, Odometry, Pose, Stop, Turn, VelocityCommand

S = 1_000_000_000
FAR, QUARTER = MoveForward(0.75), Turn(math.radians(-45))
LEAST = VelocityCommand(0.05, 0.06)


def at(seconds, x_m=0.0, yaw_deg=0.0, speed=0.0, rate=0.0):
    return Odometry(round(seconds * S), Pose(x_m, 0.0, math.radians(yaw_deg)), speed, rate)


def timing(action, latency_s, word="continuous", anchor=None):
    result = DecisionTiming(word)
    if latency_s is not None:
        result.note_decision(0, round(latency_s * S))
    result.begin(action, anchor or at(0), at(0))
    return result


@pytest.mark.parametrize(
    ("what", "action", "latency_s", "odometry", "due"),
    [
        ("it has just begun", FAR, 2.0, at(0.1, 0.02, speed=0.3), False),
        ("nearly half", FAR, 2.0, at(1.0, 0.37, speed=0.5), False),
        ("half, and the rest takes less", FAR, 2.0, at(1.0, 0.38, speed=0.5), True),
        ("half, and the rest takes longer", FAR, 0.1, at(1.0, 0.4, speed=0.5), False),
        ("near the end", FAR, 0.1, at(1.5, 0.65, speed=0.5), True),
        ("past the end", FAR, 0.1, at(1.5, 0.8, speed=0.5), True),
        ("its odometry tells no speed: the mean counts", FAR, 0.1, at(1.3, 0.65), True),
        ("it stands before the end", FAR, 0.1, at(100, 0.6), False),
        ("a turn, half", QUARTER, 0.5, at(0.5, yaw_deg=-25, rate=-1.0), True),
        ("a turn the other way", QUARTER, 0.5, at(0.5, yaw_deg=25, rate=1.0), False),
        ("no latency is known", FAR, None, at(1.5, 0.7, speed=0.5), False),
        ("no motion", Stop(), 2.0, at(1.5, 0.7, speed=0.5), False),
        ("a hold", None, 2.0, at(1.5, 0.7, speed=0.5), False),
        ("no odometry", FAR, 2.0, None, False),
    ],
)
def test_a_decision_is_due(what, action, latency_s, odometry, due) -> None:
    assert timing(action, latency_s).is_due(odometry) is due, what
    assert not timing(action, latency_s, "stop_and_think").is_due(odometry)


def test_what_was_driven_since_the_image_counts() -> None:
    image = at(-1.0, -0.4)
    assert timing(FAR, 1.0, anchor=image).is_due(at(0.1, 0.02, speed=0.4))


@given(st.lists(st.floats(0.0, 4.0), min_size=1, max_size=40))
def test_the_latency_is_a_high_quantile_of_the_last(latencies) -> None:
    estimate = LatencyEstimate()
    for latency_s in latencies:
        estimate.note(latency_s)
    recent = sorted(latencies[-20:])
    assert recent[len(recent) // 2] < estimate.seconds <= recent[-1] + 0.15


@given(st.floats(0.05, 1.0), st.floats(0.1, 3.0), st.floats(0.0, 1.2), st.booleans())
def test_the_pace_slows_the_second_half_alone_and_never_below_the_least(speed, rest_s, done, is_turn) -> None:
    pace = MotionPace(rest_s)
    wanted = VelocityCommand(0.0, -speed) if is_turn else VelocityCommand(speed, 0.1)
    got = pace.limited(wanted, done=done, left=max(0.0, 0.5 * (1 - done)), least=LEAST, now_ns=0)
    size, most, least = (
        (abs(got.angular_rps), speed, LEAST.angular_rps) if is_turn else (got.linear_mps, speed, LEAST.linear_mps)
    )
    assert min(most, least) - 1e-9 <= size <= most + 1e-9
    assert got == wanted if done < 0.5 else size <= max(0.25 / rest_s, least) + 1e-9
    assert got.angular_rps * wanted.linear_mps == pytest.approx(wanted.angular_rps * got.linear_mps)  # the same path
    assert pace.limited(wanted, done=done, left=0.1, least=LEAST, now_ns=round(4 * S)) == wanted  # too late to wait


@pytest.mark.parametrize(
    ("what", "mission_id", "image_ns", "ended_ns", "paced"),
    [
        ("the image came after the motion's end", 1, 30 * S, 20 * S, False),
        ("the image came before the motion's end", 1, 19 * S, 20 * S, True),
        ("the motion runs", 1, 30 * S, None, True),
        ("the first of a mission is as the last one was", 2, 19 * S, 20 * S, False),
    ],
)
def test_a_motion_is_paced_if_decisions_are_made_on_the_way(what, mission_id, image_ns, ended_ns, paced) -> None:
    maker = MotionPacing()
    assert maker.begin(1, 9 * S, 10 * S).rest_s == 0.0
    if ended_ns is not None:
        maker.end(ended_ns)
    pace = maker.begin(mission_id, image_ns, image_ns + S)
    assert pace.rest_s == (pytest.approx(1.15) if paced else 0.0), what
    maker.end(99 * S)
    assert bool(maker.begin(3, 100 * S, 101 * S).rest_s) is paced
