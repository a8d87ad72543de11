"""Programs that only compute, beside what is measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_BUSY = (sys.executable, "-c", "while True: pass")


@contextmanager
def busy_programs(count: int) -> Iterator[None]:
    """Run so many, and end them on every way out."""
    programs = [subprocess.Popen(_BUSY) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()
