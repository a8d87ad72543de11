"""A robot without a world: it does actions exactly, or nearly, and tells odometry of it."""

from __future__ import annotations

import math
from collections.abc import Iterable

from vila_core.types import Action, MoveForward, Odometry, Pose, Turn

PERIOD_S, MPS, RPS, REST_S = 0.1, 0.3, 0.6, 0.8


class Walker:
    """Moves as it is told, and rests after each motion; odometry: all that it told."""

    def __init__(self, pose: Pose | None = None, begun_ns: int = 10**12) -> None:
        self.pose, self.now_ns = pose or Pose(), begun_ns
        self.odometry: list[Odometry] = []
        self.rest()

    def does(self, actions: Iterable[Action], *, scale: float = 1.0, off_rad: float = 0.0) -> list[Odometry]:
        """Return the odometry of these actions. scale: of each motion; off_rad: the heading is off by that before."""
        begun = len(self.odometry)
        for action in actions:
            self.pose = self.pose.turned(off_rad if isinstance(action, MoveForward) else 0.0)
            self._does(action, scale)
            self.rest()
        return self.odometry[begun:]

    def _does(self, action: Action, scale: float) -> None:
        size, speed = (action.distance_m, MPS) if isinstance(action, MoveForward) else (0.0, RPS)
        size = abs(action.angle_rad) if isinstance(action, Turn) else size
        begin = self.pose
        steps = math.ceil(size * scale / (speed * PERIOD_S))
        for step in range(1, steps + 1):
            if isinstance(action, MoveForward):
                self.pose = begin.advanced(scale * action.distance_m * step / steps)
                self._tells(linear_mps=speed)
            elif isinstance(action, Turn):
                self.pose = begin.turned(scale * action.angle_rad * step / steps)
                self._tells(angular_rps=math.copysign(speed, action.angle_rad))

    def rest(self, seconds: float = REST_S) -> None:
        for _ in range(round(seconds / PERIOD_S)):
            self._tells()

    def _tells(self, *, linear_mps: float = 0.0, angular_rps: float = 0.0) -> None:
        self.now_ns += round(PERIOD_S * 1e9)
        self.odometry.append(Odometry(self.now_ns, self.pose, linear_mps, angular_rps))
