"""A robot that got nowhere does not do the same again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.actions.grammar import ACTIONS, action_index, forward_cm, turn_degrees
from vila_core.guards.repetition_guard import RepetitionGuard, best_allowed
from vila_core.types import MoveForward, Pose, Stop, Turn

HERE, THERE = Pose(1.0, 2.0, 0.5), Pose(1.3, 2.0, 0.5)
LEFT, RIGHT, FORWARD = turn_degrees(45), turn_degrees(-45), forward_cm(75)


def after(*actions, pose=HERE, then=HERE):
    guard = RepetitionGuard()
    for action in actions:
        guard.allowed(pose)
        guard.note(action)
    return {action for action, is_open in zip(ACTIONS, guard.allowed(then), strict=True) if is_open}


@pytest.mark.parametrize("done", [(), (LEFT,), (LEFT, LEFT, LEFT), (LEFT, RIGHT), (LEFT, Stop(), RIGHT)])
def test_a_search_and_one_correction_are_no_repetition(done):
    assert after(*done) == set(ACTIONS)


def test_after_two_swings_the_direction_stays():
    assert not any(isinstance(a, Turn) and a.angle_rad < 0 for a in after(LEFT, RIGHT, LEFT))
    assert LEFT in after(LEFT, RIGHT, LEFT)
    assert not any(isinstance(a, Turn) and a.angle_rad > 0 for a in after(RIGHT, LEFT, LEFT, RIGHT))


def test_a_blocked_robot_turns_before_it_drives_again():
    assert not any(isinstance(action, MoveForward) for action in after(FORWARD))
    assert after(FORWARD, LEFT) == set(ACTIONS)


def test_whoever_got_on_may_do_everything():
    assert after(LEFT, RIGHT, LEFT, FORWARD, then=THERE) == set(ACTIONS)


def test_without_odometry_nothing_is_ruled_out():
    assert after(LEFT, RIGHT, LEFT, FORWARD, pose=None, then=None) == set(ACTIONS)


@given(st.lists(st.sampled_from(ACTIONS), max_size=30))
def test_stop_and_one_motion_are_always_open(done):
    allowed = after(*done)
    assert Stop() in allowed and len(allowed) > 1


def test_the_best_of_what_is_allowed():
    scores = [0.0] * 10
    left, right, forward = (action_index(action) for action in (LEFT, RIGHT, FORWARD))
    scores[left], scores[right], scores[forward] = 0.5, 0.3, 0.2
    allowed = [True] * 10
    assert best_allowed(scores, allowed, left) == left
    allowed[left] = False
    assert best_allowed(scores, allowed, left) == right
    scores[0] = 0.9
    assert best_allowed(scores, allowed, left) == right  # stop would claim that the goal is reached
    assert best_allowed(scores, allowed, 0) == 0
    assert best_allowed(scores, [False] * 10, left) == left
