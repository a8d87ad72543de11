"""How much memory this process holds, for programs that need to know."""

from __future__ import annotations

from vila_core.engine.host_memory import available_bytes, resident_bytes
from vila_core.errors import BackendError


def resident_mb(key: str = "VmRSS") -> float:
    """Megabytes resident: VmRSS now, VmHWM the most that ever were. Raises BackendError where there is no /proc."""
    return _told_mb(resident_bytes(key))


def available_mb() -> float:
    """Megabytes that new processes could take without swapping. Raises BackendError where nobody tells."""
    return _told_mb(available_bytes())


def _told_mb(count: int | None) -> float:
    if count is None:
        raise BackendError("memory is read from /proc, which only Linux has")
    return count / 1e6
