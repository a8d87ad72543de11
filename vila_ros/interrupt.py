"""Ctrl-C in programs that spin nodes themselves."""

from __future__ import annotations

import signal
import threading


class Interrupt:
    """Remembers Ctrl-C: a KeyboardInterrupt that hits a callback from C++ is lost on its way up."""

    def __init__(self) -> None:
        self._came = False
        self._before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._on_signal)

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C came at any time."""
        if self._came:
            raise KeyboardInterrupt

    def close(self) -> None:
        """Give the signal back."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._before)

    def _on_signal(self, number: int, frame: object) -> None:
        self._came = True
        raise KeyboardInterrupt
