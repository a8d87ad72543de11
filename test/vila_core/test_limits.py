"""Limits on actions and velocities."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.actions.grammar import ACTIONS
from vila_core.config import ControlConfig
from vila_core.control.limits import action_refusal, limit_velocity, longest_path, longest_time_s
from vila_core.types import MoveForward, Stop, Turn, VelocityCommand

CONFIG = ControlConfig()
anything = st.floats(allow_nan=True, allow_infinity=True)
commands = st.builds(VelocityCommand, anything, anything)


@pytest.mark.parametrize("action", ACTIONS)
def test_the_ten_actions_are_allowed(action):
    assert action_refusal(action, CONFIG) is None


@pytest.mark.parametrize(
    "action",
    [
        MoveForward(0.76),
        MoveForward(10.0),
        MoveForward(0.0),
        MoveForward(-0.25),
        MoveForward(math.nan),
        MoveForward(math.inf),
        Turn(0.0),
        Turn(math.radians(46)),
        Turn(math.radians(-46)),
        Turn(math.nan),
        Turn(-math.inf),
        "forward",
        None,
    ],
)
def test_everything_else_is_refused(action):
    assert action_refusal(action, CONFIG)


@given(commands, commands, st.one_of(anything, st.floats(0, 0.2)))
def test_never_faster_and_never_harder_than_the_limits(command, previous, dt_s):
    got = limit_velocity(command, previous, dt_s, CONFIG)
    assert abs(got.linear_mps) <= CONFIG.max_linear_mps and abs(got.angular_rps) <= CONFIG.max_angular_rps
    if not (math.isfinite(command.linear_mps) and math.isfinite(command.angular_rps)):
        assert got.is_zero
    elif abs(previous.linear_mps) <= CONFIG.max_linear_mps and 0 <= dt_s <= 0.1:
        assert abs(got.linear_mps - previous.linear_mps) <= CONFIG.max_linear_accel_mps2 * dt_s + 1e-9


def test_reaches_the_wanted_speed_and_stays():
    command, wanted = VelocityCommand(), VelocityCommand(0.2, -0.3)
    for _ in range(20):
        command = limit_velocity(wanted, command, 0.05, CONFIG)
    assert command == wanted


@pytest.mark.parametrize("dt_s", [0.0, -1.0, math.nan])
def test_no_time_no_change(dt_s):
    before = VelocityCommand(0.1, 0.2)
    assert limit_velocity(VelocityCommand(), before, dt_s, CONFIG) == before


def test_a_long_pause_does_not_allow_a_jump():
    assert limit_velocity(VelocityCommand(0.3), VelocityCommand(), 5.0, CONFIG).linear_mps == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("action", "path", "time_s"),
    [
        (MoveForward(0.75), (0.9, math.radians(90)), 20.75),
        (MoveForward(0.25), (0.3, math.radians(90)), 8.25),
        (Turn(math.radians(-45)), (0.0, math.radians(54)), 18.875),
        (Stop(), (0.0, 0.0), 2.0),
    ],
)
def test_an_action_is_bounded_in_path_and_time(action, path, time_s):
    assert longest_path(action, CONFIG) == pytest.approx(path)
    assert longest_time_s(action, CONFIG) == pytest.approx(time_s)
