"""What a machine reaches right now: memory bandwidth and products of matrices, by torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch

_REPEATS = 3


def measure_bandwidth_gbps(buffer_bytes: int, device: torch.device) -> float:
    """Read and copy a buffer; 1e9 bytes a second of the better of the two."""
    source = torch.ones(buffer_bytes // 4, device=device)
    target = torch.empty_like(source)
    read_s, copy_s = best_s(source.sum, device), best_s(partial(target.copy_, source), device)
    return max(buffer_bytes / read_s, 2 * buffer_bytes / copy_s) / 1e9


def measure_tflops(dtype: torch.dtype, side: int, device: torch.device) -> float:
    """Multiply two square matrices; 1e12 operations a second."""
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / best_s(partial(torch.matmul, left, right), device) / 1e12


def best_s(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the best of three runs, after one that warms up."""
    times = [clock_s(work, device) for _ in range(_REPEATS + 1)]
    return min(times[1:])


def clock_s(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of one run, to its end on the device."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
