"""How fast a motion may be for what is left of it: as fast as it can still brake, and gently at the very end."""

from __future__ import annotations

import math

from vila_core.config import ControlConfig
from vila_core.control.limits import slowest
from vila_core.control.motion.goal import GoalError
from vila_core.types import VelocityCommand, wrap_angle

_CONVERGE_M = 0.12  # driving so far reduces the distance to the line to 1/e
_SLOW_TURN_RAD = 0.5  # at this heading error the robot turns without driving
_BRAKING_SHARE = 0.9  # of the largest deceleration: the rest makes up for a base that brakes late


def braking_speed(left: float, *, most_change: float, gain: float, least: float, held_s: float = 0.0) -> float:
    """Return the speed from which a robot still comes to rest within what is left of its way.

    It is held for held_s, until the next command, and then braked: v t + v^2 / 2 a = s. Near the end it is v = k s, as
    the root falls too steeply there for a controller that acts at 10 to 20 Hz; and never below `least`.
    left: s, m or rad, at least 0. most_change: deceleration. gain: k.
    """
    deceleration = _BRAKING_SHARE * most_change
    near = deceleration / gain**2
    smooth = gain * left if left < near else math.sqrt(2 * deceleration * (left - near / 2))
    lost = deceleration * held_s
    return max(least, min(smooth, math.sqrt(lost * lost + 2 * deceleration * left) - lost))


def steering_rad(error: GoalError) -> float:
    """Return the angle to the heading on which the distance to the line falls exponentially."""
    return wrap_angle(error.yaw_rad + math.atan2(error.lateral_m, _CONVERGE_M))


def drive_velocity(error: GoalError, config: ControlConfig, held_s: float) -> VelocityCommand:
    """Return the velocity that leads back to the line and along it to its end; before any limit of acceleration.

    held_s: how long it may have to last.
    """
    angle_rad, left_m = steering_rad(error), max(0.0, error.along_m)
    speed_mps = braking_speed(
        left_m,
        most_change=config.max_linear_accel_mps2,
        gain=config.linear_gain,
        least=slowest(config).linear_mps,
        held_s=held_s,
    )
    speed_mps = min(config.max_linear_mps, speed_mps) * max(0.0, 1.0 - abs(angle_rad) / _SLOW_TURN_RAD)
    return VelocityCommand(speed_mps, config.angular_gain * angle_rad)


def turn_velocity(error: GoalError, config: ControlConfig, held_s: float) -> VelocityCommand:
    """Return the velocity that turns to the goal's yaw, as drive_velocity does along the line."""
    rate_rps = braking_speed(
        abs(error.yaw_rad),
        most_change=config.max_angular_accel_rps2,
        gain=config.angular_gain,
        least=slowest(config).angular_rps,
        held_s=held_s,
    )
    return VelocityCommand(0.0, math.copysign(rate_rps, error.yaw_rad))
