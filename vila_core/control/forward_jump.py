"""Whether a clock, or the stamps of a topic, jumped forward: they ran ahead of the steady clock."""

from __future__ import annotations

MAX_AHEAD_S = 2.0


class ForwardJumpWatch:
    """Adds up by how much a time runs ahead of the steady clock; small jumps add up to a large one.

    A time that runs slower, or was behind, takes nothing off what comes after.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._last: tuple[int, int] | None = None  # the time, and the steady clock's
        self._ahead_ns = 0.0

    def note(self, time_ns: int, steady_ns: int, speed: float = 1.0) -> str:
        """Take the time now; return what is wrong with it, empty if nothing is.

        time_ns: 0 while it is unknown; one that has not changed says nothing, as it may be read before it is told anew.
        speed: how fast it may run, more than 1 for simulated time.
        """
        if time_ns <= 0 or (self._last is not None and time_ns == self._last[0]):
            return ""
        last, self._last = self._last, (time_ns, steady_ns)
        if last is None:
            return ""
        step_ns, elapsed_ns = time_ns - last[0], steady_ns - last[1]
        self._ahead_ns = max(0.0, self._ahead_ns + step_ns - elapsed_ns * speed)
        if self._ahead_ns <= MAX_AHEAD_S * 1e9:
            return ""
        return f"{self._what} ran {self._ahead_ns / 1e9:.2f} s ahead of the steady clock; it must not jump"
