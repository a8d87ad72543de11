"""What the last bits of a result depend on beside the weights: who computes, with which library and threads."""

from __future__ import annotations

import torch

from vila_core.machine.processor import processor_name


def computed_on(device: torch.device) -> str:
    """Name the processor or GPU and torch, on a CPU also the instructions that torch uses, in one line."""
    library = f"torch {torch.__version__}"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}, {library}"
    return f"{processor_name()}, {torch.backends.cpu.get_cpu_capability()}, {library}"
