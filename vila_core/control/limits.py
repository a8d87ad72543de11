"""Limits that hold whatever the model says: on stamps, on actions, on speed, on acceleration."""

from __future__ import annotations

import math
from typing import Protocol

from vila_core.config import ControlConfig
from vila_core.types import Action, MoveForward, Stop, Turn, VelocityCommand

MAX_FUTURE_S = 0.1  # an image or a message stamped further ahead of the clock means that the clocks disagree
STILL_MPS = 0.02  # a robot that is slower than both of these stands still
STILL_RPS = 0.05
_EPSILON = 1e-6  # m and rad: rounding in messages does not make an action too large
_CREEP_S = 0.75  # the slowest speed crosses the tolerance in this time
_MORE_PATH = 1.2  # the commands of one action may add up to so much of it
_STEERING = 2.0  # times the largest turn: what a forward action may steer
_MORE_TIME_S = 2.0  # beyond what the action takes at the slowest speed
_MAX_DT_S = 0.1  # a controller that was held up may not jump by more than this much acceleration


class ActionLimits(Protocol):
    """The largest action: of the controller's configuration, and of the governor's, which trusts no other."""

    @property
    def max_distance_m(self) -> float:
        """The longest way forward."""

    @property
    def max_turn_rad(self) -> float:
        """The largest turn."""


def action_refusal(action: Action, config: ActionLimits) -> str | None:
    """Return why the action must not be executed, or None if it may.

    Refused: not an action, not finite, not forward, zero, or larger than the configuration allows.
    """
    if isinstance(action, Stop):
        return None
    if isinstance(action, MoveForward):
        if not 0 < action.distance_m <= config.max_distance_m + _EPSILON:  # also false for NaN
            return f"distance {action.distance_m} m is not above 0 and at most {config.max_distance_m} m"
        return None
    if isinstance(action, Turn):
        if not 0 < abs(action.angle_rad) <= config.max_turn_rad + _EPSILON:
            return f"turn of {action.angle_rad} rad is zero or above {config.max_turn_rad:.4f} rad"
        return None
    return f"{action!r} is not an action"


def slowest(config: ControlConfig) -> VelocityCommand:
    """Return the speeds below which no motion is commanded, except to stand."""
    return VelocityCommand(config.position_tolerance_m / _CREEP_S, config.angle_tolerance_rad / _CREEP_S)


def longest_path(action: Action, config: ControlConfig) -> tuple[float, float]:
    """Return the metres and radians that the commands of one action may add up to, whatever odometry says.

    A forward action may turn too, to its line and along it.
    """
    if isinstance(action, MoveForward):
        return _MORE_PATH * action.distance_m, _STEERING * config.max_turn_rad
    return 0.0, _MORE_PATH * abs(action.angle_rad) if isinstance(action, Turn) else 0.0


def longest_time_s(action: Action, config: ControlConfig) -> float:
    """Return the time that an action may take, its length at the slowest speed and two seconds."""
    speed = slowest(config)
    if isinstance(action, MoveForward):
        return action.distance_m / speed.linear_mps + _MORE_TIME_S
    return (abs(action.angle_rad) / speed.angular_rps if isinstance(action, Turn) else 0.0) + _MORE_TIME_S


def limit_velocity(
    command: VelocityCommand, previous: VelocityCommand, dt_s: float, config: ControlConfig
) -> VelocityCommand:
    """Return the command within the limits of speed, and of acceleration since the previous one.

    A command that is not finite is zero at once. dt_s: time since the previous command, counted
    as 0 if negative or not finite and as 0.1 s at most.
    """
    if not (math.isfinite(command.linear_mps) and math.isfinite(command.angular_rps)):
        return VelocityCommand()
    dt = min(dt_s, _MAX_DT_S) if math.isfinite(dt_s) and dt_s > 0 else 0.0
    return VelocityCommand(
        _limit(command.linear_mps, previous.linear_mps, config.max_linear_mps, config.max_linear_accel_mps2 * dt),
        _limit(command.angular_rps, previous.angular_rps, config.max_angular_rps, config.max_angular_accel_rps2 * dt),
    )


def _limit(wanted: float, previous: float, top: float, max_change: float) -> float:
    before = clip(previous if math.isfinite(previous) else 0.0, top)
    return before + clip(clip(wanted, top) - before, max_change)


def clip(value: float, limit: float) -> float:
    """Return the value, no further from zero than the limit."""
    return min(limit, max(-limit, value))
