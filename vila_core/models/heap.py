"""Give memory that was freed back to the system; the C library keeps much of it for later."""

from __future__ import annotations

import ctypes
import sys


def trim_heap() -> None:
    """Return free pages of the heap to the system where the C library can (glibc's malloc_trim); else do nothing."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
