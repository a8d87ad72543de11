"""Small arrays to where the model runs, without making the host wait for a GPU."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def upload(values: NDArray[np.generic], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return the array as a tensor on the device; shared with it on a CPU, through page-locked memory to a GPU."""
    source = torch.from_numpy(values)
    if device.type == "cuda":
        return source.pin_memory().to(device, dtype, non_blocking=True)
    return source.to(device, dtype)
