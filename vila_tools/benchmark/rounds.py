"""Rounds: every target once, in an order that rotates, and ratios of what stood side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any


def rotated(names: Sequence[str], number: int) -> list[str]:
    """The names as the number-th round takes them: each stands at each place equally often over len(names) rounds."""
    start = number % len(names) if names else 0
    return [*names[start:], *names[:start]]


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median over the rounds of each target; rounds that lack one are left out for it."""
    return {name: median(values) for name, values in _columns(rounds).items()}


def minima(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The least over the rounds of each target."""
    return {name: min(values) for name, values in _columns(rounds).items()}


def ratio(rounds: Sequence[Mapping[str, float]], above: str | Sequence[str], below: str) -> float | None:
    """The median over the rounds of (above / below), both from the same round; None if no round has both.

    above: a name, or several of which each round's quickest is taken.
    """
    names = [above] if isinstance(above, str) else above
    pairs = [([row[name] for name in names if name in row], row.get(below)) for row in rounds]
    ratios = [min(values) / divisor for values, divisor in pairs if values and divisor]
    return median(ratios) if ratios else None


def rounded(value: Any, digits: int = 3) -> Any:
    """The same object with every float of it at so many digits behind the point."""
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item, digits) for item in value]
    return round(value, digits) if isinstance(value, float) else value


def _columns(rounds: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    names = dict.fromkeys(name for row in rounds for name in row)
    return {name: [row[name] for row in rounds if name in row] for name in names}
