"""What the CPU reaches right now, for the floor of a step."""

from __future__ import annotations

import torch

from vila_core.machine.speeds import measure_bandwidth_gbps, measure_tflops
from vila_tools.benchmark.floors import Machine

_BUFFER_BYTES = 512 * 2**20  # far more than any cache
_SIDE = 2048  # of the matrices multiplied: enough work a byte that memory does not count


def measure_machine(dtype: torch.dtype) -> Machine:
    """Measure the CPU, its arithmetic in the dtype."""
    device = torch.device("cpu")
    return Machine(measure_bandwidth_gbps(_BUFFER_BYTES, device), measure_tflops(dtype, _SIDE, device))
