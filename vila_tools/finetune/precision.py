"""What finetuning multiplies in, and what the weights that stay as they are lie in meanwhile."""

from __future__ import annotations

import torch

from vila_core.machine.precision import Precision
from vila_core.models.stored.layouts import Layout
from vila_core.models.working_precision import stored_precision
from vila_tools.finetune.float8 import require_float8
from vila_tools.training.autocast import AUTOCAST_PRECISIONS, autocast_precision

FLOAT8 = "float8"
PRECISIONS = (*AUTOCAST_PRECISIONS, FLOAT8)


def training_precision(asked: str, device: torch.device) -> Precision:
    """Return what `asked` means on the device. Raises ConfigError for float8 where the device has none."""
    if asked == FLOAT8:
        require_float8(device)
        return Precision(FLOAT8)
    return autocast_precision(asked, device)


def loaded_precision(layout: Layout, precision: str) -> str:
    """Return what the weights are loaded in: float32 for float32, else as they are stored, so that none loses a bit."""
    return "float32" if precision == "float32" else stored_precision(layout)
