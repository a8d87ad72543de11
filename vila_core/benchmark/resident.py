"""How much memory this process holds, as Linux tells it."""

from __future__ import annotations

from pathlib import Path

from vila_core.errors import BackendError

_STATUS = Path("/proc/self/status")
_MEMORY = Path("/proc/meminfo")


def resident_mb(key: str = "VmRSS") -> float:
    """Megabytes resident: VmRSS now, VmHWM the most that ever were. Raises BackendError where there is no /proc."""
    return _figure_mb(_STATUS, key)


def available_mb() -> float:
    """Megabytes that new processes could take without swapping. Raises BackendError where there is no /proc."""
    return _figure_mb(_MEMORY, "MemAvailable")


def _figure_mb(file: Path, key: str) -> float:
    try:
        rows = dict(line.split(":", 1) for line in file.read_text(encoding="utf-8").splitlines())
        return int(rows[key].split()[0]) * 1024 / 1e6
    except (OSError, KeyError) as err:
        raise BackendError(f"memory is read from {file}, which only Linux has") from err
