"""The braking profile: a robot that follows it never runs past its goal, and loses little time."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from late_base import LateBase, drive

from vila_core.config import ControlConfig
from vila_core.control.motion.profile import braking_speed
from vila_core.control.motion.step import MotionState
from vila_core.types import Action, MoveForward, Turn

accelerations, gains = st.floats(0.2, 6.0), st.floats(4.0, 8.0)


@given(st.floats(0.0, 1.0), accelerations, gains, st.floats(0.0, 0.5))
def test_from_its_speed_a_robot_can_brake_within_what_is_left(left, accel, gain, held_s) -> None:
    speed = braking_speed(left, most_change=accel, gain=gain, least=0.0, held_s=held_s)
    assert speed * held_s + speed**2 / (2 * accel) <= left + 1e-9
    assert speed <= braking_speed(left + 0.01, most_change=accel, gain=gain, least=0.0, held_s=held_s)


@pytest.mark.parametrize("action", [Turn(math.radians(30)), MoveForward(0.25)], ids=repr)
def test_a_controller_that_is_run_late_again_and_again_does_not_overshoot(action: Action) -> None:
    for seed in range(20):
        result = drive(LateBase(seed=seed, noise_m=0.002, noise_rad=0.004), action, jitter_s=0.2)
        assert result.step.state is MotionState.DONE, (seed, result.step.detail)


@given(accelerations, gains)
def test_the_gain_rules_only_the_end(accel: float, gain: float) -> None:
    near = accel / gain**2
    assert braking_speed(0.1 * near, most_change=accel, gain=gain, least=0.0) == pytest.approx(0.1 * gain * near)
    far = braking_speed(10 * near, most_change=accel, gain=gain, least=0.0)
    assert far > 0.85 * math.sqrt(2 * accel * 10 * near)
    assert braking_speed(0.0, most_change=accel, gain=gain, least=0.05) == 0.05


@pytest.mark.parametrize(
    ("action", "limit_s"),
    [
        (Turn(math.radians(15)), 1.1),
        (Turn(math.radians(-45)), 2.15),
        (MoveForward(0.25), 1.45),
        (MoveForward(0.75), 3.1),
    ],
    ids=repr,
)
def test_a_motion_takes_little_longer_than_its_speed_and_acceleration_demand(action: Action, limit_s: float) -> None:
    """With a gain alone it took 1.5, 2.6, 1.9 and 3.6 s; speed and acceleration demand 0.8, 1.8, 1.1 and 2.8 s."""
    result = drive(LateBase(), action, config=ControlConfig())
    assert result.step.state is MotionState.DONE and result.seconds <= limit_s
