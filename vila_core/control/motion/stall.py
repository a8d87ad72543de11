"""Whether a motion still gets on: how long it has come no nearer to its goal."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vila_core.config import ControlConfig
from vila_core.control.limits import slowest
from vila_core.control.motion.goal import GoalError
from vila_core.control.motion.profile import steering_rad

_TURN_WORTH_M = 0.2  # metres that one radian of heading error counts in progress
_STEP = 1 / 6  # of the tolerance: less is no progress, near the goal
_SLOW_SHARE = 0.5  # of the slowest speed: slower, over the stall timeout, is no progress on the way
_SETTLE_S = 0.3  # within the tolerance, no progress for so long ends the phase too


class StallWatch:
    """Follows the error of one phase of a motion; begin anew with each phase."""

    def __init__(self, config: ControlConfig, now_ns: int = 0) -> None:
        self._config = config
        self.begin(now_ns)

    def reconfigure(self, config: ControlConfig) -> None:
        """Take another configuration; the progress so far is kept."""
        self._config = config

    def begin(self, now_ns: int) -> None:
        """Forget the phase before."""
        self._settling, self._progress = _Progress(math.inf, now_ns), _Progress(math.inf, now_ns)

    def update(self, error: GoalError, is_driving: bool, now_ns: int) -> float:
        """Take the error of now; return for how many seconds there was no progress."""
        cost, fine, coarse = self._cost(error, is_driving)
        self._settling.update(cost, fine, now_ns)
        return self._progress.update(cost, coarse, now_ns)

    def has_settled(self, now_ns: int) -> bool:
        """True if the error hardly fell for a while: near the goal that is good enough."""
        return self._settling.stalled_s(now_ns) > _SETTLE_S

    def _cost(self, error: GoalError, is_driving: bool) -> tuple[float, float, float]:
        """Return what must fall while the motion goes on, and how much of it is progress near the goal and before."""
        speed, span_s = slowest(self._config), self._config.stall_timeout_s * _SLOW_SHARE
        if is_driving:
            turn_m = _TURN_WORTH_M * abs(steering_rad(error))
            return error.along_m + turn_m, self._config.position_tolerance_m * _STEP, speed.linear_mps * span_s
        return abs(error.yaw_rad), self._config.angle_tolerance_rad * _STEP, speed.angular_rps * span_s


@dataclass(slots=True)
class _Progress:
    """The lowest cost so far, and since when it has not fallen."""

    best: float
    since_ns: int

    def update(self, cost: float, step: float, now_ns: int) -> float:
        """Take the cost of now; return for how many seconds it has not fallen by a step."""
        if cost <= self.best - step:
            self.best, self.since_ns = cost, now_ns
        return self.stalled_s(now_ns)

    def stalled_s(self, now_ns: int) -> float:
        return (now_ns - self.since_ns) / 1e9
