"""The machine that runs this, as a device: memory as the system tells it, speed as it is seen right now."""

from __future__ import annotations

import torch

from vila_core.benchmark.machine import measure_bandwidth_gbps, measure_tflops
from vila_core.commands.fit.devices import Device
from vila_core.engine.host_memory import available_bytes, resident_bytes, total_bytes
from vila_core.errors import BackendError

_BUFFER_BYTES = 256 << 20  # far more than any cache
_SIDES = {"cpu": 1024, "cuda": 8192}  # of the matrices multiplied
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
    side = _SIDES[device.type]
    peaks = [measure_tflops(dtype, side, device) for dtype in (torch.float32, torch.bfloat16)]
    return measure_bandwidth_gbps(_BUFFER_BYTES, device), peaks[0], peaks[1]
