"""A thread that reads heat and memory once a second: a sensor's driver may block, and no timer may wait for it."""

from __future__ import annotations

import threading
import time

from vila_core.config import StrainConfig
from vila_core.control.machine_watch import MachineWatch, StrainLevel, StrainVerdict

_PERIOD_S = 1.0
_SILENCE_S = 5.0  # a thread that has read nothing for so long hangs


class StrainReader:
    """Knows what this computer may do now; begun when made, ended by `close`."""

    def __init__(self, config: StrainConfig) -> None:
        self._config = config
        self._watch = MachineWatch(config)
        self._read_ns = time.monotonic_ns()
        self._verdict = self._watch.update(self._read_ns)
        self._stopping = threading.Event()
        threading.Thread(target=self._run, name="strain", daemon=True).start()

    def close(self) -> None:
        """Read no more."""
        self._stopping.set()

    @property
    def verdict(self) -> StrainVerdict:
        """What this computer may do; a slow robot if it does not answer."""
        silent_s = (time.monotonic_ns() - self._read_ns) / 1e9
        if silent_s <= _SILENCE_S:
            return self._verdict
        text = f"heat and memory could not be read for {silent_s:.0f} s"
        return StrainVerdict(StrainLevel.LOW_SPEED, self._config.low_speed_scale, self._config.decision_delay_s, text)

    def _run(self) -> None:
        while not self._stopping.wait(_PERIOD_S):
            now_ns = time.monotonic_ns()
            self._verdict = self._watch.update(now_ns)
            self._read_ns = now_ns
