"""The machine that runs this, as a device: memory as the system tells it, speed as it is seen right now."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch

from vila_core.commands.fit.devices import Device
from vila_core.engine.host_memory import available_bytes, resident_bytes, total_bytes
from vila_core.errors import BackendError

_BUFFER_BYTES = 256 << 20  # far more than any cache
_SIDES = {"cpu": 1024, "cuda": 8192}  # of the matrices multiplied
_REPEATS = 3
_INT8_GAIN = 2.0  # over bfloat16: 1.95 on a CPU with VNNI (spec: quantization.md), 2 on GPUs by their data sheets


def device_here(name: str) -> Device:
    """Describe the CPU, or for "auto" the GPU if there is one; takes about a second.

    The speeds are what torch reaches on this moment's load. Raises BackendError where the memory cannot be read.
    """
    return _gpu() if name == "auto" and torch.cuda.is_available() else _cpu()


def _cpu() -> Device:
    total, available, own = total_bytes(), available_bytes(), resident_bytes()
    if total is None or available is None or own is None:
        raise BackendError("this system does not tell its memory in /proc; name a device of the table")
    bandwidth, float32, half = _speeds(torch.device("cpu"))
    other = max(0.0, (total - available - own) / 1e6)
    threads = torch.get_num_threads()
    return Device(
        f"this CPU, {threads} thread{'s' * (threads > 1)}",
        "cpu",
        memory_mb=total / 1e6,
        other_mb=other,
        libraries_mb=0.0,
        unified=True,
        bandwidth_gbps=bandwidth,
        float32=float32,
        half=half,
        int8=_INT8_GAIN * half,
    )


def _gpu() -> Device:
    properties = torch.cuda.get_device_properties(0)
    bandwidth, float32, half = _speeds(torch.device("cuda"))
    free, total = torch.cuda.mem_get_info(0)
    own = torch.cuda.memory_reserved(0)
    return Device(
        properties.name,
        "cuda",
        memory_mb=total / 1e6,
        other_mb=(total - free - own) / 1e6,  # the context of this process among it
        libraries_mb=0.0,
        unified=bool(getattr(properties, "is_integrated", False)),
        bandwidth_gbps=bandwidth,
        float32=float32,
        half=half,
        int8=_INT8_GAIN * half,
    )


def _speeds(device: torch.device) -> tuple[float, float, float]:
    """Bandwidth in 1e9 bytes a second, and 1e12 operations a second of float32 and of bfloat16 products."""
    source = torch.ones(_BUFFER_BYTES // 4, device=device)
    target = torch.empty_like(source)
    read_s, copy_s = _best_s(source.sum, device), _best_s(partial(target.copy_, source), device)
    bandwidth = max(_BUFFER_BYTES / read_s, 2 * _BUFFER_BYTES / copy_s) / 1e9
    side = _SIDES[device.type]
    peaks = []
    for dtype in (torch.float32, torch.bfloat16):
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        peaks.append(2 * side**3 / _best_s(partial(torch.matmul, left, right), device) / 1e12)
    return bandwidth, peaks[0], peaks[1]


def _best_s(work: Callable[[], object], device: torch.device) -> float:
    times = []
    for _ in range(_REPEATS + 1):  # the first one warms up
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times[1:])
