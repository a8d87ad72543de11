"""What the robot's outline comes near to, if it goes on as it is told."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vila_core.control.governor.obstacle_config import SLOWEST_MPS, ObstacleConfig
from vila_core.control.governor.polygons import HERE, Poses, Shape
from vila_core.types import VelocityCommand

STILL_SLOW = 1.25  # what slowed the robot must be so much farther away to slow it no longer
MIN_CLEARANCE_M = 0.01  # what is nearer may not come nearer at all
_NOISE_M = 0.01  # a robot beside a wall may come nearer to it by so much, or a sensor's noise would lock it
_NEARER_M = 0.001  # less is rounding
_TOGETHER_M = 0.1  # points of one thing lie so near to each other; those of noise lie anywhere
_LOOKED_AT = 24  # of the points that matter most
_INSIDE_M = 0.05  # no obstacle can be so deep in the robot: the sensor sees the robot, or is mounted elsewhere


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a command leads to; but for nearest_m, min_points points near each other must agree on a number."""

    contact_s: float = math.inf  # until something is touched, or comes nearer than it may; inf: never, as far as known
    contact_points: int = 0  # that would be touched
    nearest_m: float = math.inf  # of all points from the outline, now
    passing_m: float = math.inf  # from the outline within lookahead_s, of what comes nearer; inf: far
    sees_itself: bool = False  # points deep inside the outline


class Sweeper:
    """Simulates the outline along the arc of a command among points that stand still."""

    def __init__(self, config: ObstacleConfig) -> None:
        self.outline: Shape = config.outline
        self._config = config
        step_s = config.simulation_time_step_s
        self._times_s = np.arange(0.0, config.simulated_s + step_s, step_s, dtype=np.float32)
        self._lookahead = max(2, int(np.searchsorted(self._times_s, config.lookahead_s + 1e-6)))

    def speed_mps(self, command: VelocityCommand) -> float:
        """Return the speed of what moves most of the outline; a round one that turns on the spot does not move."""
        return max(abs(command.linear_mps), abs(command.angular_rps) * self.outline.turning_m)

    def margin_s(self, command: VelocityCommand) -> float:
        """Return the stop margin in seconds at the command's speed."""
        return self._config.stop_margin_m / max(self.speed_mps(command), SLOWEST_MPS)

    def sweep(self, points: NDArray[np.float32], command: VelocityCommand) -> Sweep:
        """Return what the command leads to among points [N, 2] float32 in base_link.

        Where the robot is already nearer to something than the side margin, it may stay as near, but come no nearer;
        what is nearer than 1 cm may not come nearer in any case. Times between two steps are interpolated.
        """
        config, least = self._config, self._config.min_points
        times_s = self._times_up_to(config.time_before_collision_s + config.source_timeout_s + self.margin_s(command))
        now_m = self.outline.distances(points, HERE)[0]
        nearest_m = float(now_m.min(initial=math.inf))
        travelled_m = (abs(command.linear_mps) + abs(command.angular_rps) * self.outline.turning_m) * float(times_s[-1])
        reach_m = travelled_m + max(config.side_margin_m, config.slow_distance_m * STILL_SLOW)
        near = np.flatnonzero(now_m < reach_m)
        points, now_m = points.take(near, axis=0), now_m.take(near)
        if len(points) < least or self.speed_mps(command) == 0.0:
            return Sweep(nearest_m=nearest_m)
        clearance_m = self.outline.distances(points, _poses(command, times_s))  # [S, N]
        beside = np.flatnonzero(now_m < config.side_margin_m + _NOISE_M)
        beside_m = smallest_agreed(now_m[beside], points[beside], least)
        limit_m = min(max(beside_m - _NOISE_M, MIN_CLEARANCE_M), config.side_margin_m)
        limits_m = np.minimum(np.float32(limit_m), now_m - np.float32(_NEARER_M))  # [N]
        touched = np.flatnonzero(clearance_m.min(axis=0) < limits_m)
        contact_s = _first_below(clearance_m[:, touched], limits_m[touched], times_s)
        passing_m = clearance_m[: self._lookahead].min(axis=0)
        passed = np.flatnonzero((passing_m < config.slow_distance_m * STILL_SLOW) & (passing_m < now_m - _NEARER_M))
        return Sweep(
            contact_s=smallest_agreed(contact_s, points[touched], least),
            contact_points=len(touched),
            nearest_m=nearest_m,
            passing_m=smallest_agreed(passing_m[passed], points[passed], least),
            sees_itself=int(np.count_nonzero(now_m < -_INSIDE_M)) >= least,
        )

    def _times_up_to(self, horizon_s: float) -> NDArray[np.float32]:
        return self._times_s[: int(np.searchsorted(self._times_s, horizon_s)) + 1]


def points_in_zone(points: NDArray[np.float32], command: VelocityCommand, zone: Shape, least: int) -> int:
    """Count the points [N, 2] in a zone that the command drives nearer to, 0 if fewer than `least` agree.

    Turning on the spot drives to none.
    """
    if command.linear_mps == 0.0:
        return 0
    toward = points[points[:, 0] * np.float32(math.copysign(1.0, command.linear_mps)) >= 0]
    distances_m = zone.distances(toward, HERE)[0]
    inside = distances_m <= 0
    is_agreed = math.isfinite(smallest_agreed(distances_m[inside], toward[inside], least))
    return int(np.count_nonzero(inside)) if is_agreed else 0


def smallest_agreed(values: NDArray[np.float32], points: NDArray[np.float32], least: int) -> float:
    """Return the smallest value that `least` points near each other reach, inf if there is none.

    values: [N] float32, one for each of points [N, 2]. If too many points lie about alone, the value of the last one
    that was looked at counts.
    """
    looked_at = max(_LOOKED_AT, 4 * least)
    if len(values) < least:
        return math.inf
    first = np.argpartition(values, looked_at)[:looked_at] if len(values) > looked_at else np.arange(len(values))
    first = first[np.argsort(values[first])]
    x, y = points[first, 0], points[first, 1]
    together = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2 < _TOGETHER_M**2
    agreed = np.flatnonzero(np.tril(together).sum(axis=1) >= least)
    if len(agreed):
        return float(values[first[agreed[0]]])
    return float(values[first[-1]]) if len(values) > looked_at else math.inf


def _poses(command: VelocityCommand, times_s: NDArray[np.float32]) -> Poses:
    """Where the command leads to at each time [S]."""
    linear, angular = command.linear_mps, command.angular_rps
    yaw_rad = np.float32(angular) * times_s
    if abs(angular) < 1e-6:
        return Poses(np.float32(linear) * times_s, np.zeros_like(yaw_rad), yaw_rad)
    radius_m = np.float32(linear / angular)
    return Poses(radius_m * np.sin(yaw_rad), radius_m * (1.0 - np.cos(yaw_rad)), yaw_rad)


def _first_below(
    clearance_m: NDArray[np.float32], limit_m: NDArray[np.float32], times_s: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Time at which each point's clearance [S, N], which does so, falls below its limit [N]: [N] float32."""
    first = np.maximum((clearance_m < limit_m).argmax(axis=0), 1)
    column = np.arange(len(first))
    before_m, after_m = clearance_m[first - 1, column], clearance_m[first, column]
    share = (before_m - limit_m) / np.maximum(before_m - after_m, 1e-6)
    found: NDArray[np.float32] = times_s[first - 1] + np.clip(share, 0.0, 1.0) * (times_s[first] - times_s[first - 1])
    return found
