"""The machine that runs this, as a device: memory as the system tells it, speed as it is seen right now."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import nn

from vila_core.errors import BackendError
from vila_core.machine.arithmetic import DTYPES, arithmetic_of
from vila_core.machine.memory import available_bytes, resident_bytes, total_bytes
from vila_core.machine.speeds import best_s, measure_bandwidth_gbps, measure_tflops
from vila_core.quantization.int8_linear import Int8Linear
from vila_core.quantization.runtime import convert_for_cpu
from vila_tools.fit.devices import Device

_BUFFER_BYTES = 256 << 20  # far more than any cache
_SIDES = {"cpu": 1024, "cuda": 8192}  # of the matrices multiplied
_INT8_GAIN = 2.0  # of a GPU over bfloat16, by their data sheets
_INT8_ROWS, _INT8_SIDE = 256, 1024


def device_here(name: str) -> Device:
    """Describe the CPU, or for "auto" the GPU if there is one; takes about a second.

    The speeds are what torch reaches on this moment's load. Raises BackendError where the memory cannot be read.
    """
    return _gpu() if name == "auto" and torch.cuda.is_available() else _cpu()


def _cpu() -> Device:
    total, available, own = total_bytes(), available_bytes(), resident_bytes()
    if total is None or available is None or own is None:
        raise BackendError("this system does not tell its memory; name a device of the table")
    other = max(0.0, (total - available - own) / 1e6)
    threads = torch.get_num_threads()
    return Device(
        f"this CPU, {threads} thread{'s' * (threads > 1)}",
        "cpu",
        memory_mb=total / 1e6,
        other_mb=other,
        libraries_mb=0.0,
        unified=True,
        **asdict(_cpu_speeds()),
    )


def _gpu() -> Device:
    properties, speeds = torch.cuda.get_device_properties(0), _gpu_speeds()
    free, total = torch.cuda.mem_get_info(0)
    own = torch.cuda.memory_reserved(0)
    return Device(
        properties.name,
        "cuda",
        memory_mb=total / 1e6,
        other_mb=(total - free - own) / 1e6,  # the context of this process among it
        libraries_mb=0.0,
        unified=bool(getattr(properties, "is_integrated", False)),
        **asdict(speeds),
    )


@dataclass(frozen=True, slots=True)
class _Speeds:
    """As in Device."""

    bandwidth_gbps: float
    float32: float
    half: float
    int8: float
    float16: float


def _cpu_speeds() -> _Speeds:
    """float32 as it is now; the others by how they compare with it, which is kept, for emulated ones take seconds."""
    device = torch.device("cpu")
    float32, gain = measure_tflops(torch.float32, _SIDES["cpu"], device), arithmetic_of(device).gain
    bandwidth = measure_bandwidth_gbps(_BUFFER_BYTES, device)
    return _Speeds(bandwidth, float32, gain("bfloat16") * float32, _int8_tops(), gain("float16") * float32)


def _gpu_speeds() -> _Speeds:
    device = torch.device("cuda")
    float32, half, float16 = (measure_tflops(dtype, _SIDES["cuda"], device) for dtype in DTYPES.values())
    return _Speeds(measure_bandwidth_gbps(_BUFFER_BYTES, device), float32, half, _INT8_GAIN * half, float16)


def _int8_tops() -> float:
    """1e12 operations a second of an 8-bit layer as the engine runs it: by our kernels, where there are some."""
    root = nn.Sequential(Int8Linear.of(nn.Linear(_INT8_SIDE, _INT8_SIDE)))
    convert_for_cpu(root)
    with torch.inference_mode():
        x = torch.randn(_INT8_ROWS, _INT8_SIDE)
        return 2 * _INT8_ROWS * _INT8_SIDE**2 / best_s(partial(root, x), x.device) / 1e12
