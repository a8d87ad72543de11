"""How late the machine wakes a thread of this program, which is what it adds to each step of a stop."""

from __future__ import annotations

import threading
import time
from collections import deque
from types import TracebackType

_BEAT_S = 0.005
_KEPT = 200_000  # beats, a quarter of an hour


class Lateness:
    """Measures in a thread of its own while the block runs."""

    def __init__(self) -> None:
        self._beats: deque[tuple[float, float]] = deque(maxlen=_KEPT)  # steady time of waking, and how late that was
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lateness", daemon=True)

    def __enter__(self) -> Lateness:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def note(self, at_s: float, late_s: float) -> None:
        """Take one waking at a steady time."""
        self._beats.append((at_s, late_s))

    def worst_s(self, begun_s: float, until_s: float) -> float:
        """Return the worst between two steady times, a sleep that reached into them counted."""
        beats = tuple(self._beats)
        return max((late_s for at_s, late_s in beats if at_s > begun_s and at_s - late_s < until_s), default=0.0)

    def _run(self) -> None:
        at_s = time.monotonic()
        while not self._ended.wait(_BEAT_S):
            before_s, at_s = at_s, time.monotonic()
            self.note(at_s, max(0.0, at_s - before_s - _BEAT_S))
