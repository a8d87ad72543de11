"""How much may be commanded for one action: path, turn and time, whatever odometry says."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vila_core.control.governor.config import GovernorConfig
from vila_core.control.reasons import StopReason
from vila_core.types import Action, MoveForward, Turn, VelocityCommand

_SLACK_M = 0.05  # for a turn that drives a little
_SLACK_RAD = math.radians(3.0)
_EPSILON = 1e-6  # of rounding in messages


@dataclass(slots=True)
class ActionCap:
    """Adds up the commands that passed for an action, since it was heard."""

    max_m: float
    max_rad: float
    max_s: float
    begun_ns: int
    commanded_m: float = 0.0
    commanded_rad: float = 0.0

    def add(self, command: VelocityCommand, dt_s: float) -> None:
        """Note that the command was obeyed for so long."""
        self.commanded_m += abs(command.linear_mps) * dt_s
        self.commanded_rad += abs(command.angular_rps) * dt_s

    def exceeded(self, steady_ns: int) -> tuple[StopReason, str]:
        """Return why nothing more may pass for the action; NONE and an empty text if it may."""
        took_s = (steady_ns - self.begun_ns) / 1e9
        if self.commanded_m > self.max_m:
            return StopReason.TOO_FAR, f"{self.commanded_m:.2f} m were commanded, the action allows {self.max_m:.2f} m"
        if self.commanded_rad > self.max_rad:
            turned, limit = math.degrees(self.commanded_rad), math.degrees(self.max_rad)
            return StopReason.TOO_FAR, f"{turned:.0f} degrees were commanded, the action allows {limit:.0f}"
        if took_s > self.max_s:
            return StopReason.TOO_LONG, f"the action takes {took_s:.1f} s, it may take {self.max_s:.1f} s"
        return StopReason.NONE, ""


def action_cap(action: Action | None, config: GovernorConfig, steady_ns: int) -> ActionCap | None:
    """Return what may be commanded for the action; None for Stop, a hold, and one that is too large or no number."""
    share = config.path_share
    match action:
        case MoveForward(distance_m) if 0 < distance_m <= config.max_distance_m + _EPSILON:
            max_s = distance_m / config.slowest_mps + config.extra_time_s
            return ActionCap(share * distance_m, config.max_steering_rad, max_s, steady_ns)
        case Turn(angle_rad) if 0 < abs(angle_rad) <= config.max_turn_rad + _EPSILON:
            max_s = abs(angle_rad) / config.slowest_rps + config.extra_time_s
            return ActionCap(_SLACK_M, share * abs(angle_rad) + _SLACK_RAD, max_s, steady_ns)
    return None
