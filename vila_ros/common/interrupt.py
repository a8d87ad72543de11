"""Ctrl-C and SIGTERM in programs that spin nodes themselves."""

from __future__ import annotations

import signal
import threading

from vila_core.errors import Terminated

_ERRORS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}


class Interrupt:
    """Holds Ctrl-C and SIGTERM back until `check`.

    Raised inside a callback from C++ they would be lost or become another error. A second one is raised where
    it comes, for a program that hangs between two checks.
    """

    def __init__(self) -> None:
        self._came: type[KeyboardInterrupt] | None = None
        self._is_ours = threading.current_thread() is threading.main_thread()
        self._before = {number: signal.getsignal(number) for number in _ERRORS}
        if self._is_ours:
            for number in _ERRORS:
                signal.signal(number, self._on_signal)

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C came at any time, Terminated if SIGTERM did; for between two spins."""
        if self._came is not None:
            raise self._came

    def close(self) -> None:
        """Restore the handlers of the signals."""
        if self._is_ours:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: object) -> None:
        error = _ERRORS[signal.Signals(number)]
        if self._came is not None:
            raise error
        self._came = error
