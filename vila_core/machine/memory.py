"""How much memory this process holds and the machine, or the container, still has; and handing free memory back."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import psutil

from vila_core.machine.cgroup import memory_groups

_STATUS = Path("/proc/self/status")
_ROOT = Path("/")  # of the control groups


def resident_bytes(process: int | None = None) -> int | None:
    """Return the bytes that are resident now; None if there is no such process.

    process: its number; this one if None.
    """
    try:
        return psutil.Process(process).memory_info().rss
    except (psutil.Error, OSError):
        return None


def peak_resident_bytes() -> int | None:
    """Return the most bytes that were ever resident in this process; None where the system is not Linux.

    Read from /proc: psutil does not tell it there, and getrusage's figure holds the parent's before exec.
    """
    try:
        rows = dict(line.split(":", 1) for line in _STATUS.read_text(encoding="utf-8").splitlines())
        return int(rows["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError):
        return None


def total_bytes() -> int | None:
    """Return the bytes of memory that the machine, or the container, has; None where nobody tells."""
    return _least(_machine("total"), *(group.limit_bytes() for group in memory_groups(_ROOT)))


def available_bytes() -> int | None:
    """Return the bytes that can still be taken without swapping; None where nobody tells."""
    return _least(_machine("available"), *(group.left_bytes() for group in memory_groups(_ROOT)))


def trim_heap() -> None:
    """Return free pages of the heap to the system where the C library can (glibc's malloc_trim); else do nothing.

    The library keeps much of what was freed for later.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _machine(figure: str) -> int | None:
    try:
        return getattr(psutil.virtual_memory(), figure)
    except OSError:
        return None


def _least(*figures: int | None) -> int | None:
    return min((figure for figure in figures if figure is not None), default=None)
