"""What a machine reaches right now: memory bandwidth and peak arithmetic, by torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch

from vila_core.benchmark.floors import Machine

_BUFFER_BYTES = 512 * 2**20  # far more than any cache
_SIDE = 2048  # of the matrices multiplied: enough work a byte that memory does not count
_REPEATS = 3
_CPU = torch.device("cpu")


def measure_machine(dtype: torch.dtype) -> Machine:
    """Measure the CPU, its arithmetic in the dtype."""
    return Machine(measure_bandwidth_gbps(_BUFFER_BYTES, _CPU), measure_tflops(dtype, _SIDE, _CPU))


def measure_bandwidth_gbps(buffer_bytes: int, device: torch.device) -> float:
    """Read and copy a buffer; 1e9 bytes a second of the better of the two."""
    source = torch.ones(buffer_bytes // 4, device=device)
    target = torch.empty_like(source)
    read_s, copy_s = _best_s(source.sum, device), _best_s(partial(target.copy_, source), device)
    return max(buffer_bytes / read_s, 2 * buffer_bytes / copy_s) / 1e9


def measure_tflops(dtype: torch.dtype, side: int, device: torch.device) -> float:
    """Multiply two square matrices; 1e12 operations a second."""
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / _best_s(partial(torch.matmul, left, right), device) / 1e12


def _best_s(work: Callable[[], object], device: torch.device) -> float:
    times = []
    for _ in range(_REPEATS + 1):  # the first one warms up
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times[1:])
