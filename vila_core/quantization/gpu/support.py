"""What a GPU and the libraries beside it can run."""

from __future__ import annotations

import importlib.util

import torch

_AMPERE = (8, 0)  # the first with matrix units for bfloat16


def is_ampere(device: torch.device) -> bool:
    """Tell if it is an NVIDIA GPU of the Ampere generation (Orin's too) or a later one."""
    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= _AMPERE


def has_triton(device: torch.device) -> bool:
    """Tell if Triton's kernels can run on the device."""
    return is_ampere(device) and importlib.util.find_spec("triton") is not None
