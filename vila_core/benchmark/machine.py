"""What the machine reaches right now: memory bandwidth and peak arithmetic, by torch."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from vila_core.benchmark.floors import Machine

_BUFFER_BYTES = 512 * 2**20  # far more than any cache
_SIDE = 2048  # of the matrices multiplied: enough work a byte that memory does not count


def measure_machine(dtype: torch.dtype, repeats: int = 3) -> Machine:
    """Read and copy a large buffer, multiply two matrices of the dtype; the best of the repeats of each counts."""
    source = torch.ones(_BUFFER_BYTES // 4)
    target = torch.empty_like(source)
    read_s = _best_s(lambda: source.sum(), repeats)
    copy_s = _best_s(lambda: target.copy_(source), repeats)
    left, right = (torch.randn(_SIDE, _SIDE).to(dtype) for _ in range(2))
    multiply_s = _best_s(lambda: left @ right, repeats)
    bandwidth = max(_BUFFER_BYTES / read_s, 2 * _BUFFER_BYTES / copy_s)
    return Machine(bandwidth / 1e9, 2 * _SIDE**3 / multiply_s / 1e12)


def _best_s(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):  # the first one warms up
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times[1:])
