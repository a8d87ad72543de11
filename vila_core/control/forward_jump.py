"""Whether a clock, or the stamps of a topic, jumped: forward they ran ahead of the steady clock."""

from __future__ import annotations

from vila_core.types import MAX_REORDER_NS

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


class MissionClocks:
    """Watches the times that a mission goes by: none may jump forward, the robot's time not back either."""

    def __init__(self, now_ns: int) -> None:
        self._now_ns = now_ns
        self._watches = tuple(map(ForwardJumpWatch, ("the clock", "the images' stamp", "the odometry's stamp")))

    def fault(self, now_ns: int, image_ns: int, odometry_ns: int, *, steady_ns: int, speed: float = 1.0) -> str:
        """Return what is wrong with the robot's time, the newest image's stamp, the odometry's; empty if nothing is.

        0 stands for a stamp that is unknown; speed: see ForwardJumpWatch.
        """
        before_ns, self._now_ns = self._now_ns, now_ns
        times_ns = (now_ns, image_ns, odometry_ns)
        pairs = zip(self._watches, times_ns, strict=True)
        faults = [watch.note(time_ns, steady_ns, speed) for watch, time_ns in pairs]
        if now_ns < before_ns - MAX_REORDER_NS:
            return f"time went back from {before_ns} to {now_ns} ns"
        return next(filter(None, faults), "")
