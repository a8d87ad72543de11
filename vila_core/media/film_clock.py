"""When a film's frames were taken: the container's own times, made to begin at zero and to rise."""

from __future__ import annotations

_NUDGE_S = 1e-6  # behind the frame before, for one that is not later
_RESTART_S = 1.0  # a clock that goes back further has started anew, as in films that were joined


class FilmClock:
    """Puts frames, which come in order of display, on a line of time that starts at 0 and rises strictly.

    A frame without a time of its own comes a step after the one before. repaired: frames that had a time which was not
    after that of the one before.
    """

    def __init__(self, step_s: float) -> None:
        self.repaired = 0
        self._step_s = step_s
        self._first_s: float | None = None
        self._last_s = 0.0

    def place(self, own_s: float | None) -> float:
        """Return the seconds from the first frame to the one that the container has at own_s."""
        if self._first_s is None:
            self._first_s = own_s or 0.0
            return 0.0
        time_s = self._last_s + self._step_s if own_s is None else own_s - self._first_s
        if time_s <= self._last_s:
            time_s = self._repaired(time_s)
        self._last_s = time_s
        return time_s

    def _repaired(self, time_s: float) -> float:
        self.repaired += 1
        assert self._first_s is not None
        if time_s > self._last_s - _RESTART_S:
            return self._last_s + _NUDGE_S
        self._first_s -= self._last_s + self._step_s - time_s
        return self._last_s + self._step_s
