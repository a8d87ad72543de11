"""How much may be commanded for one action: path, turn and time, whatever odometry says."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from vila_core.control.governor.config import GovernorConfig
from vila_core.control.limits import action_refusal
from vila_core.control.reasons import StopReason
from vila_core.types import Action, MoveForward, Turn, VelocityCommand

_TURN_M = 0.05  # a turn may drive so far
_LEAST_M = 0.1  # a short action is not held to a share of it: controllers reach their goal within a tolerance
_LEAST_RAD = math.radians(10.0)
_REMEMBERED = 256  # ticks: about five seconds of turning


@dataclass(slots=True)
class ActionCap:
    """Adds up the commands that passed for an action, and the time, since it was heard; on the robot's own clock."""

    max_m: float
    max_rad: float
    max_s: float
    took_s: float = 0.0
    commanded_m: float = 0.0
    commanded_rad: float = 0.0

    def add(self, command: VelocityCommand, dt_s: float) -> None:
        """Note that the command was obeyed for so long."""
        self.took_s += dt_s
        self.commanded_m += abs(command.linear_mps) * dt_s
        self.commanded_rad += abs(command.angular_rps) * dt_s

    def replace_running(self, running: VelocityCommand, turned_rad: float, config: GovernorConfig) -> None:
        """Allow what an action needs that replaces a running one: to brake that, and to undo its turn since the image.

        running: what passes now. turned_rad: what passed since the image, counted up to the largest turn.
        """
        life_s, v, w = config.command_life_s, abs(running.linear_mps), abs(running.angular_rps)
        self.max_m += v * v / (2 * config.max_linear_accel_mps2) + v * life_s
        self.max_rad += w * w / (2 * config.max_angular_accel_rps2) + w * life_s
        self.max_rad += min(turned_rad, config.max_turn_rad)

    def exceeded(self) -> tuple[StopReason, str]:
        """Return why nothing more may pass for the action; NONE and an empty text if it may."""
        if self.commanded_m > self.max_m:
            return StopReason.TOO_FAR, f"{self.commanded_m:.2f} m were commanded, the action allows {self.max_m:.2f} m"
        if self.commanded_rad > self.max_rad:
            turned, limit = math.degrees(self.commanded_rad), math.degrees(self.max_rad)
            return StopReason.TOO_FAR, f"{turned:.0f} degrees were commanded, the action allows {limit:.0f}"
        if self.took_s > self.max_s:
            return StopReason.TOO_LONG, f"the action takes {self.took_s:.1f} s, it may take {self.max_s:.1f} s"
        return StopReason.NONE, ""


class PassedTurns:
    """Remembers how much turning passed of late, on the robot's own clock."""

    def __init__(self) -> None:
        self._turns: deque[tuple[int, float]] = deque(maxlen=_REMEMBERED)  # until when, and how many radians

    def add(self, command: VelocityCommand, dt_s: float, now_ns: int) -> None:
        """Note that the command was obeyed for so long, until now."""
        if command.angular_rps and dt_s:
            self._turns.append((now_ns, abs(command.angular_rps) * dt_s))

    def since(self, stamp_ns: int) -> float:
        """Return the radians that passed after a time."""
        return sum(rad for until_ns, rad in self._turns if until_ns > stamp_ns)


def action_cap(action: Action | None, config: GovernorConfig) -> ActionCap | None:
    """Return what may be commanded for the action; None for Stop, a hold, and one that is too large or no number."""
    if action is None or action_refusal(action, config):
        return None
    share = config.extra_share
    match action:
        case MoveForward(distance_m):
            max_s = distance_m / config.slowest_mps + config.extra_time_s
            max_m = distance_m + max(_LEAST_M, share * distance_m)
            return ActionCap(max_m, config.max_steering_rad, max_s)
        case Turn(angle_rad):
            max_s = abs(angle_rad) / config.slowest_rps + config.extra_time_s
            max_rad = abs(angle_rad) + max(_LEAST_RAD, share * abs(angle_rad))
            return ActionCap(_TURN_M, max_rad, max_s)
    return None
