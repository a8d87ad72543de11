"""What a check says: green, amber or red, or that there was nothing to judge by; and what to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Level(enum.Enum):
    """How bad it is. UNKNOWN: not judged, for what it needs was not there."""

    UNKNOWN = "unknown"
    GREEN = "green"
    AMBER = "amber"
    RED = "red"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, in a line, and what to do about it; empty if nothing is to be done."""

    level: Level
    text: str
    remedy: str = ""

    @property
    def is_alarm(self) -> bool:
        """True if it says that something is wrong."""
        return self.level in (Level.AMBER, Level.RED)


def green(text: str) -> Finding:
    """Say that all is well, and by which number."""
    return Finding(Level.GREEN, text)


def amber(text: str, remedy: str) -> Finding:
    """Say what costs success or time."""
    return Finding(Level.AMBER, text, remedy)


def red(text: str, remedy: str) -> Finding:
    """Say what the robot cannot navigate with."""
    return Finding(Level.RED, text, remedy)


def unknown(needs: str) -> Finding:
    """Say what was missing."""
    return Finding(Level.UNKNOWN, f"not checked: {needs}")


def graded(text: str, remedy: str, *, is_amber: bool, is_red: bool) -> Finding:
    """Return red, amber or green, the worst that holds."""
    if is_red:
        return red(text, remedy)
    return amber(text, remedy) if is_amber else green(text)
