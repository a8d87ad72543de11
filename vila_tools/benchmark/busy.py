"""Programs that only compute, beside what is measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_COMPUTE = """
import os
parent = os.getppid()
while os.getppid() == parent:
    sum(range(100_000))
"""
_BUSY = (sys.executable, "-c", _COMPUTE)  # ends with who started it, however that ends


@contextmanager
def busy_programs(count: int) -> Iterator[None]:
    """Run so many, and end them on every way out."""
    programs: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            programs.append(subprocess.Popen(_BUSY))
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()
