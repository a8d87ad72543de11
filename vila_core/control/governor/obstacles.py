"""The obstacle guard: what sensors see decides how much of a velocity command may pass.

As Nav2's collision monitor: zones that stop, slow or limit, and an approach by the time before collision; the most
severe wins. Unlike it, only motion toward something counts, so that a robot beside a wall can always turn away.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vila_core.control.governor.obstacle_config import ObstacleConfig
from vila_core.control.governor.polygons import Shape
from vila_core.control.governor.sweep import STILL_SLOW, Sweep, Sweeper, points_in_zone
from vila_core.control.reasons import StopReason
from vila_core.errors import ConfigError
from vila_core.types import VelocityCommand

_MAX_READINGS = 2  # of a sensor that are remembered


@dataclass(frozen=True, slots=True)
class ObstacleVerdict:
    """What may pass of a command: both velocities times `scale`; detail says what limits it, empty if nothing does."""

    command: VelocityCommand
    scale: float = 1.0
    reason: StopReason = StopReason.NONE
    detail: str = ""


class ObstacleGuard:
    """Remembers what each sensor saw last, and limits commands by it."""

    def __init__(self, config: ObstacleConfig) -> None:
        self._sources = {name: _Source(config) for name in config.source_names}
        self._stopped = False  # the last command that wanted to move was stopped
        self._slowed = False
        self.reconfigure(config)

    def reconfigure(self, config: ObstacleConfig) -> None:
        """Take another configuration of the same sources; what they saw last is kept, and judged by it."""
        self._config = config
        self._sweeper = Sweeper(config)
        self._zones = {name: shape for name in ("stop", "slow", "limit") if (shape := config.zone(name)) is not None}
        for source in self._sources.values():
            source.reconfigure(config)

    def note(self, source: str, points: NDArray[np.float32], received_ns: int) -> None:
        """Remember points [N, 2] float32 in base_link that a sensor saw at a time of the steady clock.

        Points that are not finite, or within ignore_radius_m, are dropped; an empty array says that all is free.
        Raises ConfigError for a source that the configuration does not name, ValueError for another shape.
        """
        if source not in self._sources:
            raise ConfigError(f"source {source!r} is not of sources = {self._config.sources!r}: name it there")
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"points of {source}: expected [N, 2], got {list(points.shape)}")
        self._sources[source].add(points, received_ns)

    def limit(self, wanted: VelocityCommand, steady_ns: int) -> ObstacleVerdict:
        """Return what may pass of a command now."""
        if not (math.isfinite(wanted.linear_mps) and math.isfinite(wanted.angular_rps)):
            return ObstacleVerdict(VelocityCommand(), 0.0, StopReason.BAD_COMMAND, f"{wanted} is not finite")
        if silent := self.missing(steady_ns):
            return ObstacleVerdict(VelocityCommand(), 0.0, StopReason.NO_OBSTACLE_DATA, silent)
        if wanted.is_zero:
            return ObstacleVerdict(wanted)
        limits = [_Limit(), *self._limits(wanted, steady_ns)]
        most_severe = min(limits, key=lambda limit: limit.scale)
        self._stopped = most_severe.scale == 0.0
        self._slowed = any(limit.is_slow for limit in limits)
        return _verdict(wanted, most_severe)

    def missing(self, steady_ns: int) -> str:
        """Return in words the first source that is required and says nothing; empty if all do."""
        if not self._config.required:
            return ""
        for name, source in self._sources.items():
            if source.newest_ns is None:
                return f"{name}: no measurement yet"
            age_s = (steady_ns - source.newest_ns) / 1e9
            if age_s > self._config.source_timeout_s:
                return f"{name}: the last measurement is {age_s:.2f} s old, at most {self._config.source_timeout_s:g} s"
        return ""

    def _limits(self, wanted: VelocityCommand, steady_ns: int) -> Iterator[_Limit]:
        for name, source in self._sources.items():
            age_s = math.inf if source.newest_ns is None else max(0.0, (steady_ns - source.newest_ns) / 1e9)
            if age_s <= self._config.source_timeout_s:
                finding = source.finding(wanted, self._sweeper, self._zones)
                yield self._stop(name, finding)
                yield self._approach(name, finding.sweep, wanted, age_s)
                yield self._slow(name, finding)
                yield self._top_speed(name, finding, wanted)

    def _stop(self, source: str, finding: _Finding) -> _Limit:
        if finding.sweep.sees_itself:
            remedy = f"mend {source}_mount, or set ignore_radius_m if these are its own parts"
            return _Limit(0.0, f"{source}: points inside the robot's outline; {remedy}")
        if finding.in_zone["stop"]:
            return _Limit(0.0, f"{source}: {finding.describe('stop')} in the stop zone")
        return _Limit()

    def _approach(self, source: str, sweep: Sweep, wanted: VelocityCommand, age_s: float) -> _Limit:
        """Let as much pass as keeps time_before_collision_s, less the stop margin, from when the sensor measured."""
        left_s = sweep.contact_s - age_s - self._sweeper.margin_s(wanted)
        scale = left_s / self._config.time_before_collision_s
        if scale >= 1.0:
            return _Limit()
        least_mps = self._config.resume_mps if self._stopped else self._config.creep_mps
        if scale * self._sweeper.speed_mps(wanted) < least_mps:
            scale = 0.0
        seen = f"{sweep.contact_points} points in the robot's path, the nearest point {sweep.nearest_m:.2f} m from it"
        return _Limit(scale, f"{source}: {seen}, {max(sweep.contact_s - age_s, 0.0):.1f} s to collision (approach)")

    def _slow(self, source: str, finding: _Finding) -> _Limit:
        if finding.in_zone["slow"]:
            detail = f"{source}: {finding.describe('slow')} in the slow zone"
            return _Limit(self._config.slow_ratio, detail, is_slow=True)
        reach_m = self._config.slow_distance_m * (STILL_SLOW if self._slowed else 1.0)
        if finding.sweep.passing_m < reach_m:
            detail = f"{source}: passes {max(finding.sweep.passing_m, 0.0):.2f} m from something (slow distance)"
            return _Limit(self._config.slow_ratio, detail, is_slow=True)
        return _Limit()

    def _top_speed(self, source: str, finding: _Finding, wanted: VelocityCommand) -> _Limit:
        if not finding.in_zone["limit"]:
            return _Limit()
        tops = (self._config.limit_linear_mps, self._config.limit_angular_rps)
        speeds = (abs(wanted.linear_mps), abs(wanted.angular_rps))
        scale = min([1.0, *(top / speed for top, speed in zip(tops, speeds, strict=True) if speed > 0)])
        return _Limit(scale, f"{source}: {finding.describe('limit')} in the limit zone")


@dataclass(frozen=True, slots=True)
class _Limit:
    scale: float = 1.0
    detail: str = ""
    is_slow: bool = False


@dataclass(frozen=True, slots=True)
class _Finding:
    """What a command leads to among the points of one source."""

    sweep: Sweep
    in_zone: dict[str, int]  # points that the robot drives nearer to; 0: fewer than are believed

    def describe(self, zone: str) -> str:
        return f"{self.in_zone[zone]} points, the nearest {self.sweep.nearest_m:.2f} m from the robot,"


class _Source:
    """The newest readings of one sensor, and what the last command led to among them."""

    def __init__(self, config: ObstacleConfig) -> None:
        self._readings: deque[tuple[int, NDArray[np.float32]]] = deque(maxlen=_MAX_READINGS)
        self._points = np.empty((0, 2), np.float32)
        self.reconfigure(config)

    def reconfigure(self, config: ObstacleConfig) -> None:
        """Take another configuration; what was seen is looked through anew."""
        self._memory_ns = int(config.memory_s * 1e9)
        self._ignore_m = config.ignore_radius_m
        self._min_points = config.min_points
        self._known: tuple[VelocityCommand, _Finding] | None = None

    @property
    def newest_ns(self) -> int | None:
        """When the sensor measured last."""
        return self._readings[-1][0] if self._readings else None

    def add(self, points: NDArray[np.float32], measured_ns: int) -> None:
        """Remember a reading; one that is older than the newest came too late to say anything."""
        if self.newest_ns is not None and measured_ns < self.newest_ns:
            return
        points = points.astype(np.float32, copy=False)
        squared = np.einsum("ij,ij->i", points, points)
        self._readings.append((measured_ns, points[np.isfinite(squared) & (squared >= self._ignore_m**2)]))
        while measured_ns - self._readings[0][0] > self._memory_ns:
            self._readings.popleft()
        self._points = np.concatenate([points for _, points in self._readings])
        self._known = None

    def finding(self, wanted: VelocityCommand, sweeper: Sweeper, zones: dict[str, Shape]) -> _Finding:
        """Return what the command leads to; nothing is computed while neither command nor points change."""
        if self._known is None or self._known[0] != wanted:
            in_zone = dict.fromkeys(("stop", "slow", "limit"), 0)
            in_zone |= {
                name: points_in_zone(self._points, wanted, zone, self._min_points) for name, zone in zones.items()
            }
            self._known = wanted, _Finding(sweeper.sweep(self._points, wanted), in_zone)
        return self._known[1]


def _verdict(wanted: VelocityCommand, limit: _Limit) -> ObstacleVerdict:
    if limit.scale == 0.0:
        return ObstacleVerdict(VelocityCommand(), 0.0, StopReason.OBSTACLE, limit.detail)
    command = VelocityCommand(wanted.linear_mps * limit.scale, wanted.angular_rps * limit.scale)
    return ObstacleVerdict(command, limit.scale, StopReason.NONE, limit.detail)
