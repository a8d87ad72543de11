"""Speed, acceleration and jerk within limits; slowing down is never delayed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vila_core.control.governor.config import GovernorConfig
from vila_core.types import VelocityCommand

_MAX_DT_S = 0.1  # a tick that came late may not be made up for by a leap


class SpeedLimiter:
    """Follows the commands that pass; remembers the last one and its acceleration."""

    def __init__(self, config: GovernorConfig) -> None:
        self._linear, self._angular = _Axis(), _Axis()
        self.reconfigure(config)

    def reconfigure(self, config: GovernorConfig) -> None:
        """Take other limits; what passes now is the start from which they are kept."""
        c = config
        self._linear.limit(c.max_linear_mps, c.max_linear_accel_mps2, c.max_linear_jerk_mps3)
        self._angular.limit(c.max_angular_rps, c.max_angular_accel_rps2, c.max_angular_jerk_rps3)

    def stop(self) -> VelocityCommand:
        """Return zero, at once."""
        self._linear.rest()
        self._angular.rest()
        return VelocityCommand()

    def follow(self, wanted: VelocityCommand, dt_s: float, scale: float = 1.0) -> VelocityCommand:
        """Return the command that comes as near to the wanted one as the limits allow.

        Above a top speed both are made smaller alike: the arc that was looked along for obstacles is the one driven.
        dt_s: since the last command, counted as 0 if negative and as 0.1 s at most. scale: 0..1, of the top speeds.
        A wanted command that is not finite is a stop.
        """
        if not (math.isfinite(wanted.linear_mps) and math.isfinite(wanted.angular_rps)):
            return self.stop()
        dt = min(max(dt_s, 0.0), _MAX_DT_S)
        share = min(self._linear.share(wanted.linear_mps, scale), self._angular.share(wanted.angular_rps, scale))
        return VelocityCommand(
            self._linear.follow(share * wanted.linear_mps, dt), self._angular.follow(share * wanted.angular_rps, dt)
        )


@dataclass(slots=True)
class _Axis:
    """One speed. Away from zero it grows within acceleration and jerk; toward zero it falls at once."""

    top: float = 0.0
    max_accel: float = 0.0
    max_jerk: float = 0.0
    speed: float = 0.0
    accel: float = 0.0  # size of the last growth, per second

    def limit(self, top: float, max_accel: float, max_jerk: float) -> None:
        self.top, self.max_accel, self.max_jerk = top, max_accel, max_jerk

    def rest(self) -> None:
        self.speed = self.accel = 0.0

    def share(self, wanted: float, scale: float) -> float:
        """How much of it the top speed allows, 0 to 1."""
        return min(1.0, self.top * scale / abs(wanted)) if wanted else 1.0

    def follow(self, target: float, dt: float) -> float:
        target = math.copysign(min(abs(target), self.top), target)
        if target * self.speed < 0:  # the other way round: through zero
            self.rest()
        if abs(target) <= abs(self.speed):
            self.speed, self.accel = target, 0.0
            return target
        self.accel = min(self.max_accel, self.accel + self.max_jerk * dt)
        grown = min(abs(target), abs(self.speed) + self.accel * dt)
        self.speed = math.copysign(grown, target)
        return self.speed
