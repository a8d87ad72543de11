"""How simulated time goes, as a node sees it: by which steps, how fast, and why it is no time to drive by.

Simulated time comes as messages on /clock. Between two of them the node's clock stands still, so a healthy stamp may
lie as far ahead of it as the clock steps.
"""

from __future__ import annotations

from collections import deque

from vila_core.control.limits import MAX_FUTURE_S

USUAL_CLOCK_HZ = 50
MAX_CLOCK_STEP_S = 0.135  # MotionController.step needs 10 Hz, and jitter some more: 8 Hz will do, 7 will not
MAX_SPEED = 2.5  # the controller's 20 Hz are then 8 Hz of simulated time
MAX_STANDSTILL_S = 0.5  # as long as odometry and heartbeat may be silent
_MAX_START_S = 2.0  # the first message may come so long after the node
_LOST = 2  # steps that the clock may be behind: one message of /clock may be lost
_STEPS = 5  # that the usual step is taken from
_SPEED_SPAN_S = 0.5  # a shorter span tells no speed: a simulator that was held up catches up in bursts
_SPEED_EVERY_S = 0.1
_JUMP_S = 1.0  # a longer step is no speed
_BACK_SPAN_S = 5.0
_BACK_TIMES = 3  # jumps back in that span: two clocks, not a reset


class ClockWatch:
    """Measures the steps of simulated time on the steady clock.

    step_s: the usual step in simulated seconds, the lower median; None before there are two. It and max_future_s may be
    read in other threads than the one of `note` and `fault`.

    begun_ns: steady time from which /clock is waited for. max_step_s: a clock with longer steps is refused; at most
    MAX_CLOCK_STEP_S, less where a watchdog's limit is shorter than two steps.
    """

    def __init__(self, begun_ns: int, max_step_s: float = MAX_CLOCK_STEP_S) -> None:
        self._begun_ns = begun_ns
        self.limit_steps(max_step_s)
        self._last: tuple[int, int] | None = None  # simulated and steady time of the last message that moved the clock
        self.step_s: float | None = None
        self._steps_ns: deque[int] = deque(maxlen=_STEPS)
        self._samples: deque[tuple[int, int]] = deque(maxlen=2 * round(_SPEED_SPAN_S / _SPEED_EVERY_S))
        self._back_ns: deque[int] = deque(maxlen=_BACK_TIMES)  # steady times

    def limit_steps(self, max_step_s: float) -> None:
        """Refuse a clock with longer steps from now on; at most MAX_CLOCK_STEP_S."""
        self._max_step_ns = min(max_step_s, MAX_CLOCK_STEP_S) * 1e9

    def note(self, now_ns: int, steady_ns: int) -> None:
        """Take a change of simulated time; one that goes back begins the measurement anew."""
        if self._last is not None and now_ns < self._last[0]:
            self._back_ns.append(steady_ns)
            self._steps_ns.clear()
            self._samples.clear()
        elif self._last is not None and now_ns > self._last[0]:
            self._steps_ns.append(now_ns - self._last[0])
            if self._steps_ns[-1] > _JUMP_S * 1e9:
                self._samples.clear()
        self._last = now_ns, steady_ns
        steps = sorted(self._steps_ns)
        self.step_s = steps[(len(steps) - 1) // 2] / 1e9 if len(steps) > 1 else None
        if not self._samples or steady_ns - self._samples[-1][1] >= _SPEED_EVERY_S * 1e9:
            self._samples.append(self._last)

    @property
    def speed(self) -> float | None:
        """Simulated seconds in one of real time; None before that is known."""
        if not self._samples:
            return None
        (first, first_steady), (last, last_steady) = self._samples[0], self._samples[-1]
        span_ns = last_steady - first_steady
        return (last - first) / span_ns if span_ns >= _SPEED_SPAN_S * 1e9 else None

    @property
    def is_known(self) -> bool:
        """True once step and speed have been measured."""
        return self.step_s is not None and self.speed is not None

    @property
    def max_future_s(self) -> float:
        """How far ahead of the clock a healthy stamp may lie, MAX_FUTURE_S and what the clock may be behind."""
        return MAX_FUTURE_S + _LOST * min(self.step_s or 0.0, self._max_step_ns / 1e9)

    def is_doubtful(self, steady_ns: int) -> bool:
        """Return True if the newest step was too long, or the next one will be: it may be one message that was lost."""
        if self._last is None or (self._steps_ns and self._steps_ns[-1] > self._max_step_ns):
            return True
        speed = 1.0 if self.speed is None else self.speed
        return (steady_ns - self._last[1]) * speed > self._max_step_ns

    def fault(self, steady_ns: int) -> str:
        """Return why nothing may be driven by this clock, empty if it may."""
        if self._last is None:
            waited_s = (steady_ns - self._begun_ns) / 1e9
            return "" if waited_s < _MAX_START_S else _NO_CLOCK
        if len(self._back_ns) == _BACK_TIMES and steady_ns - self._back_ns[0] < _BACK_SPAN_S * 1e9:
            return "/clock jumps back again and again; it must have one publisher"
        step_s, speed, still_s = self.step_s, self.speed, (steady_ns - self._last[1]) / 1e9
        if step_s is not None and step_s * 1e9 > self._max_step_ns:
            return self._too_slow(step_s)
        if speed is not None and speed > MAX_SPEED:
            return (
                f"/clock runs {speed:.1f} times as fast as real time, too fast for control; lower the simulator's "
                f"real-time factor to {MAX_SPEED:g} or less"
            )
        if still_s > MAX_STANDSTILL_S:
            return f"/clock has stood still at {self._last[0] / 1e9:.2f} s for {still_s:.1f} s; let the simulation run"
        return ""

    def _too_slow(self, step_s: float) -> str:
        rate = f"/clock is at {_hertz(1 / step_s)} Hz, too slow for control"
        if self._max_step_ns < MAX_CLOCK_STEP_S * 1e9:
            rate += f" with time limits of {2 * self._max_step_ns / 1e9:g} s"
        return f"{rate}; {USUAL_CLOCK_HZ} is usual"


_NO_CLOCK = "no /clock yet, and use_sim_time is true; start the simulator or set use_sim_time to false"


def _hertz(rate_hz: float) -> str:
    return f"{rate_hz:.0f}" if rate_hz >= 2 else f"{rate_hz:.1g}"
