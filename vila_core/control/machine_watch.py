"""What a hot computer, or one short of memory, may still do: slower decisions, a slower robot, none at all.

Up the ladder leads every strain that lasts; down it one step at a time, after a while of ease.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vila_core.config import StrainConfig
from vila_core.machine.strain import ROOT, MemoryLeft, Strain, find_sources, read_strain
from vila_core.machine.thermal import Heat, ThermalZone, zone_folders

_NEAR_C = 15.0  # a sensor that goes silent so near its first limit may hide heat
_COLD_C = 10.0  # and one that was colder has frozen: below 0 C no reading counts
_MB = 1e6


class StrainLevel(enum.IntEnum):
    """What the computer's state allows; each level includes what those below it ask for."""

    NORMAL = 0
    SLOW_DECISIONS = 1
    LOW_SPEED = 2
    STOP = 3


@dataclass(frozen=True, slots=True)
class StrainVerdict:
    """What to do now. speed_scale: of the speed limits, 0 stops. decision_delay_s: wait before each decision.

    text: the sensor that says so, its number and the limit.
    """

    level: StrainLevel
    speed_scale: float
    decision_delay_s: float
    text: str


class MachineWatch:
    """Reads this computer and says what it may do; call `update` about once a second, it takes under 1 ms."""

    def __init__(self, config: StrainConfig, root: Path = ROOT) -> None:
        self._root = root
        self._ladder = StrainLadder(config)
        self._sources = find_sources(root)

    def update(self, now_ns: int) -> StrainVerdict:
        """Return what to do from now on; now_ns: of a clock that never jumps."""
        if zone_folders(self._root) != self._sources.folders:
            self._sources = find_sources(self._root)
        return self._ladder.update(read_strain(self._root, self._sources), now_ns)


@dataclass(frozen=True, slots=True)
class _Finding:
    level: StrainLevel
    text: str


@dataclass(frozen=True, slots=True)
class _LastReading:
    heat: Heat
    temperature_c: float
    read_ns: int


class StrainLadder:
    """Turns readings into a level, with ease before each step down; pure but for what it remembers."""

    def __init__(self, config: StrainConfig) -> None:
        self._config = config
        self._level: StrainLevel | None = None
        self._entered_ns = 0
        self._cause = ""
        self._above_ns: dict[StrainLevel, int] = {}  # since when the strain has reached the level
        self._below_ns: dict[StrainLevel, int] = {}  # since when it is clearly less
        self._seen: dict[tuple[str, int], _LastReading] = {}  # by name, and place among those of that name
        self._kills: int | None = None
        self._killed_ns: int | None = None

    def update(self, strain: Strain, now_ns: int) -> StrainVerdict:
        """Return what to do from now on; now_ns: when the strain was read, on a clock that never jumps."""
        self._count_kills(strain.kills, now_ns)
        heat = self._remembered(strain.heat, now_ns)
        found = self._worst(strain, heat, now_ns, eased=False)
        eased = self._worst(strain, heat, now_ns, eased=True)
        for level in list(StrainLevel)[1:]:
            _keep_since(self._above_ns, level, found.level >= level, now_ns)
            _keep_since(self._below_ns, level, eased.level < level, now_ns)
        level = self._step(found.level, now_ns)
        if found.level >= level:
            self._cause = found.text
        is_recovering = found.level < level
        return self._verdict(level, f"recovering: {self._cause}" if is_recovering else found.text)

    def _step(self, found: StrainLevel, now_ns: int) -> StrainLevel:
        before = self._level
        risen = [level for level, since in self._above_ns.items() if now_ns - since >= self._config.confirm_s * 1e9]
        highest = max(risen, default=StrainLevel.NORMAL)
        if before is None:
            self._level = found
        elif highest > before:
            self._level = highest
        elif before in self._below_ns:
            eased_ns = max(self._below_ns[before], self._entered_ns)
            if now_ns - eased_ns >= self._config.dwell_s * 1e9:
                self._level = StrainLevel(before - 1)
        if self._level is None or self._level != before:
            self._entered_ns = now_ns
        assert self._level is not None
        return self._level

    def _verdict(self, level: StrainLevel, text: str) -> StrainVerdict:
        config = self._config
        scales = {StrainLevel.LOW_SPEED: config.low_speed_scale, StrainLevel.STOP: 0.0}
        delay_s = config.decision_delay_s if level > StrainLevel.NORMAL else 0.0
        return StrainVerdict(level, scales.get(level, 1.0), delay_s, text)

    def _count_kills(self, kills: int | None, now_ns: int) -> None:
        if kills is not None:
            if self._kills is not None and kills > self._kills:
                self._killed_ns = now_ns
            self._kills = kills

    def _remembered(self, heat: Sequence[Heat], now_ns: int) -> list[_LastReading]:
        """The last reading of each sensor that has ever read; one that never has says nothing."""
        places: dict[str, int] = {}
        for one in heat:
            name = one.zone.name
            places[name] = places.get(name, -1) + 1
            if one.temperature_c is not None and not self._is_ignored(one.zone):
                self._seen[name, places[name]] = _LastReading(one, one.temperature_c, now_ns)
        return list(self._seen.values())

    def _is_ignored(self, zone: ThermalZone) -> bool:
        names = (name.strip() for name in self._config.ignored_zones.split(","))
        return any(name and zone.name.startswith(name) for name in names)

    def _worst(self, strain: Strain, heat: Sequence[_LastReading], now_ns: int, *, eased: bool) -> _Finding:
        """The worst of what is found; among equals the first, but the warmest of what is well."""
        found = [
            *self._hot(heat, now_ns, eased),
            *(_scarce(left, self._config, eased) for left in strain.memory),
            *_waiting(strain, self._config, eased),
        ]
        if self._killed_ns is not None and now_ns - self._killed_ns < self._config.dwell_s * 1e9:
            found.append(_Finding(StrainLevel.STOP, "a process was killed for want of memory"))
        worst = max(found, key=lambda finding: finding.level, default=_Finding(StrainLevel.NORMAL, ""))
        if worst.level > StrainLevel.NORMAL:
            return worst
        warmest = max(heat, key=lambda last: last.temperature_c, default=None)
        return _Finding(StrainLevel.NORMAL, "no sensors of heat" if warmest is None else _reading(warmest))

    def _hot(self, heat: Sequence[_LastReading], now_ns: int, eased: bool) -> Iterator[_Finding]:
        silent = [last for last in heat if (now_ns - last.read_ns) / 1e9 > self._config.sensor_silence_s]
        for last in heat:
            limits = zone_limits(last.heat.zone, self._config)
            finding = _beyond(last, limits, self._config.easing_c if eased else 0.0)
            if last in silent and last.temperature_c >= _COLD_C:
                may_hide = len(silent) == len(heat) or last.temperature_c >= limits[0] - _NEAR_C
                doubt = StrainLevel.LOW_SPEED if may_hide else StrainLevel.SLOW_DECISIONS
                silent_s = (now_ns - last.read_ns) / 1e9
                text = f"{last.heat.zone.name} gave no reading for {silent_s:.0f} s, last {last.temperature_c:.1f} C"
                finding = _Finding(max(doubt, finding.level), text)
            yield finding


def zone_limits(zone: ThermalZone, config: StrainConfig) -> tuple[float, float, float]:
    """Return from which temperatures on a zone asks for each level above NORMAL, in C, none below the one before it.

    The kernel's own trip points count where the zone has them: throttling begins at the passive one, the hot one
    is half way, and the critical one, less a margin, stops the robot before the computer is switched off.
    """
    stop = config.stop_c if zone.critical_c is None else zone.critical_c - config.critical_margin_c
    slow = min(zone.passive_c or config.slow_c, stop)
    middle = config.low_speed_c if zone.passive_c is None and zone.critical_c is None else (slow + stop) / 2
    low_speed = min(max(zone.hot_c or middle, slow), stop)
    return slow, low_speed, stop


def _beyond(last: _LastReading, limits: tuple[float, float, float], easing_c: float) -> _Finding:
    passed = [limit for limit in limits if last.temperature_c + easing_c >= limit]
    limit = f", limit {passed[-1]:g}" if passed else ""
    return _Finding(StrainLevel(len(passed)), _reading(last) + limit)


def _reading(last: _LastReading) -> str:
    return f"{last.heat.zone.name} at {last.temperature_c:.1f} C"


def _scarce(memory: MemoryLeft, config: StrainConfig, eased: bool) -> _Finding:
    counted = min(memory.total_bytes, config.counted_memory_mb * _MB)
    left = memory.left_bytes * (1 - config.easing if eased else 1.0)
    limits = [share * counted for share in (config.slow_memory, config.low_speed_memory, config.stop_memory)]
    passed = [limit for limit in limits if left < limit]
    limit = f", limit {passed[-1] / _MB:.0f} MB" if passed else ""
    return _Finding(
        StrainLevel(len(passed)), f"{memory.name} has {memory.left_bytes / _MB:.0f} MB of memory left{limit}"
    )


def _waiting(strain: Strain, config: StrainConfig, eased: bool) -> Iterator[_Finding]:
    rows = (
        ("memory", strain.memory_pressure, (config.slow_pressure, config.low_speed_pressure, config.stop_pressure)),
        ("a processor", strain.cpu_pressure, (config.slow_cpu_pressure or math.inf,)),
    )
    for what, share, limits in rows:
        if share is not None:
            passed = [limit for limit in limits if share >= limit * (1 - config.easing if eased else 1.0)]
            limit = f", limit {passed[-1]:g} %" if passed else ""
            yield _Finding(StrainLevel(len(passed)), f"processes wait for {what} {share:.0f} % of the time{limit}")


def _keep_since(since_ns: dict[StrainLevel, int], level: StrainLevel, holds: bool, now_ns: int) -> None:
    if holds:
        since_ns.setdefault(level, now_ns)
    else:
        since_ns.pop(level, None)
