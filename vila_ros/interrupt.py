"""Ctrl-C in programs that spin nodes themselves."""

from __future__ import annotations

import signal
import threading


class Interrupt:
    """Holds Ctrl-C back until `check`: raised inside a callback from C++ it is lost or becomes another error.

    A second Ctrl-C is raised where it comes, for a program that hangs between two checks.
    """

    def __init__(self) -> None:
        self._came = False
        self._before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._on_signal)

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C came at any time. To be called between two spins."""
        if self._came:
            raise KeyboardInterrupt

    def close(self) -> None:
        """Give the signal back."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._before)

    def _on_signal(self, number: int, frame: object) -> None:
        if self._came:
            raise KeyboardInterrupt
        self._came = True
