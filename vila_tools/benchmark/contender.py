"""What a worker process runs: one way, or several, to make a navigation step."""

from __future__ import annotations

from typing import Any, Protocol

Timings = dict[str, float]


class Contender(Protocol):
    """A loaded model that can make steps; facts: what it is and runs at, for the result."""

    facts: dict[str, Any]

    def prepare(self, way: str) -> Timings:
        """Reach the state that a running robot would be in; not timed. Returns what is done in idle time, in ms."""
        ...

    def step(self, way: str) -> Timings:
        """Make the step that is timed. Returns its parts in ms, if they can be told apart."""
        ...
