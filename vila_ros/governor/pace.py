"""How evenly the governor's timer comes: what a busy machine does to it, for /diagnostics."""

from __future__ import annotations

_LATE = 1.5  # periods between two ticks


class Pace:
    """Counts ticks since the last word about them."""

    def __init__(self) -> None:
        self._ticked_ns: int | None = None
        self._ticks = self._late = self._longest_ns = 0

    def note(self, steady_ns: int, period_ns: int) -> None:
        """Count a tick."""
        if self._ticked_ns is not None:
            took_ns = steady_ns - self._ticked_ns
            self._ticks += 1
            self._late += took_ns > _LATE * period_ns
            self._longest_ns = max(self._longest_ns, took_ns)
        self._ticked_ns = steady_ns

    def told(self) -> dict[str, str]:
        """Return how many ticks there were, how many of them late, and the longest time between two; count anew."""
        told = {"ticks": self._ticks, "late_ticks": self._late, "longest_tick_ms": round(self._longest_ns / 1e6, 1)}
        self._ticks = self._late = self._longest_ns = 0
        return {name: str(value) for name, value in told.items()}
