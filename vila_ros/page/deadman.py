"""Browsers that hold the robot: if one of them falls silent, the robot is stopped."""

from __future__ import annotations

import threading


class Deadman:
    """Knows when each holder was heard last. Thread-safe; times are steady seconds."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._heard_s: dict[int, float] = {}
        self._lost = 0  # holders that broke off and were not told yet

    @property
    def is_held(self) -> bool:
        """True if a browser holds the robot."""
        with self._lock:
            return bool(self._heard_s)

    def hold(self, holder: int, now_s: float) -> None:
        """Note that this browser lives, and holds the robot from now on."""
        with self._lock:
            self._heard_s[holder] = now_s

    def let_go(self, holder: int) -> None:
        """Note that this browser holds the robot no longer, of its own will."""
        with self._lock:
            self._heard_s.pop(holder, None)

    def lose(self, holder: int) -> None:
        """Note that the connection to this browser broke off, whether it held the robot or not."""
        with self._lock:
            self._lost += self._heard_s.pop(holder, None) is not None

    def expired(self, now_s: float) -> bool:
        """Return True, once for each, if a holder broke off or has been silent for too long."""
        with self._lock:
            silent = [holder for holder, heard_s in self._heard_s.items() if now_s - heard_s > self._timeout_s]
            for holder in silent:
                del self._heard_s[holder]
            lost, self._lost = self._lost, 0
            return bool(silent or lost)
