"""How hot this computer is, and how short of memory: what Linux tells, in under a millisecond.

What the kernel does not tell is None or missing here, never zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from vila_core.machine.cgroup import MemoryGroup, memory_groups
from vila_core.machine.thermal import Heat, ThermalZone, read_heat, read_zone, zone_folders

ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class MemoryLeft:
    """What can still be taken of the memory of the machine, or of a control group."""

    name: str
    left_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Strain:
    """A reading. Pressures are PSI's averages over ten seconds, in percent of time.

    memory_pressure: all processes waited for memory. cpu_pressure: some process waited for a processor.
    kills: processes of our control group that were killed for want of memory, since it was made.
    """

    heat: tuple[Heat, ...] = ()
    memory: tuple[MemoryLeft, ...] = ()
    memory_pressure: float | None = None
    cpu_pressure: float | None = None
    kills: int | None = None


@dataclass(frozen=True, slots=True)
class StrainSources:
    """Where to read: found once, for names and trip points hardly ever change."""

    folders: tuple[Path, ...]  # of the zones
    zones: tuple[ThermalZone, ...]
    groups: tuple[MemoryGroup, ...]


def find_sources(root: Path = ROOT) -> StrainSources:
    """Look for sensors and control groups below a root."""
    folders = zone_folders(root)
    return StrainSources(folders, tuple(read_zone(folder) for folder in folders), memory_groups(root))


def read_strain(root: Path = ROOT, sources: StrainSources | None = None) -> Strain:
    """Read everything once; it never raises for what it can't read.

    sources: as find_sources gave them; looked for anew if None.
    """
    sources = find_sources(root) if sources is None else sources
    own = sources.groups[0] if sources.groups else None
    files = [root / "proc/pressure/memory", *([own.pressure_file] if own else [])]
    pressures = [share for share in (_pressure(file, "full") for file in files) if share is not None]
    machine = _machine_memory(root / "proc/meminfo")
    limited = [left for left in map(_group_memory, sources.groups) if left is not None]
    return Strain(
        heat=tuple(read_heat(zone) for zone in sources.zones),
        memory=(*([machine] if machine else []), *limited),
        memory_pressure=max(pressures, default=None),
        cpu_pressure=_pressure(root / "proc/pressure/cpu", "some"),
        kills=own.kills() if own else None,
    )


def _machine_memory(file: Path) -> MemoryLeft | None:
    try:
        rows = dict(line.split(":", 1) for line in file.read_text(encoding="utf-8").splitlines()[:8])
        total, left = (int(rows[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, KeyError, IndexError):
        return None
    return MemoryLeft("the machine", left, total) if total > 0 and left >= 0 else None


def _group_memory(group: MemoryGroup) -> MemoryLeft | None:
    limit, left = group.limit_bytes(), group.left_bytes()
    if limit is None or left is None or limit <= 0:
        return None
    return MemoryLeft(f"control group {group.name}", left, limit)


def _pressure(file: Path, kind: str) -> float | None:
    """A row's average over ten seconds; None if the kernel does not count it, or is told not to."""
    try:
        rows = dict(line.split(" ", 1) for line in file.read_text(encoding="utf-8").splitlines())
        share = float(rows[kind].split()[0].removeprefix("avg10="))
    except (OSError, ValueError, KeyError, IndexError):
        return None
    return share if math.isfinite(share) and 0 <= share <= 100 else None
