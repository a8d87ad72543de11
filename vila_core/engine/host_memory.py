"""How much memory this process holds and the machine still has, as Linux tells it."""

from __future__ import annotations

from pathlib import Path

_PROCESSES = Path("/proc")
_MEMORY = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")  # version 2: inside a container, the container's own


def resident_bytes(key: str = "VmRSS", process: int | None = None) -> int | None:
    """Bytes resident: VmRSS now, VmHWM the most that ever were; None where there is no /proc, or no such process.

    process: its number; this one if None.
    """
    return _figure(_PROCESSES / ("self" if process is None else str(process)) / "status", key)


def total_bytes() -> int | None:
    """Bytes of memory that the machine, or the container, has; None where nobody tells."""
    return _least(_figure(_MEMORY, "MemTotal"), _number(_GROUP / "memory.max"))


def available_bytes() -> int | None:
    """Bytes that can still be taken without swapping; None where nobody tells."""
    limit, used = _number(_GROUP / "memory.max"), _number(_GROUP / "memory.current")
    left = None if limit is None or used is None else max(0, limit - used)
    return _least(_figure(_MEMORY, "MemAvailable"), left)


def _figure(file: Path, key: str) -> int | None:
    try:
        rows = dict(line.split(":", 1) for line in file.read_text(encoding="utf-8").splitlines())
        return int(rows[key].split()[0]) * 1024
    except (OSError, KeyError):
        return None


def _number(file: Path) -> int | None:
    """The file's number; None if it is missing or says "max"."""
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _least(*figures: int | None) -> int | None:
    return min((figure for figure in figures if figure is not None), default=None)
