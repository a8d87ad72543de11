"""The precision that a checkpoint is computed in, from what its files say and what the device computes well."""

from __future__ import annotations

from pathlib import Path

import torch

from vila_core.errors import CheckpointError
from vila_core.machine.arithmetic import arithmetic_of
from vila_core.machine.precision import AUTO, SMALL_WEIGHTS, Measure, Precision, choose_precision
from vila_core.models.config import CheckpointConfig
from vila_core.models.config_reader import config_of
from vila_core.models.costs import Storage, language_bytes, projector_bytes, tower_bytes
from vila_core.models.layouts import Layout, open_layout
from vila_core.models.weights import folder_tensors


def working_precision(
    checkpoint: Path, asked: str, device: torch.device | str = "cpu", *, measure: Measure = arithmetic_of
) -> Precision:
    """Return what `asked`, a name or "auto", means for the checkpoint there; see machine.precision.choose_precision.

    Nothing is loaded. Raises CheckpointError for an unknown name, and for a checkpoint that cannot be read.
    """
    weights, is_16_bits = 0, False
    if asked == AUTO:
        layout = open_layout(Path(checkpoint))
        weights = count_weights(config_of(layout))
        is_16_bits = weights >= SMALL_WEIGHTS and stored_dtype(layout).itemsize == 2
    return choose_precision(asked, torch.device(device), weights=weights, is_16_bits=is_16_bits, measure=measure)


def count_weights(config: CheckpointConfig) -> int:
    """Return how many weights the three parts have."""
    each = Storage(1)
    return (
        tower_bytes(config.vision, each)
        + projector_bytes(config.projector, each)
        + language_bytes(config.language, each)
    )


def stored_dtype(layout: Layout) -> torch.dtype:
    """The dtype of the decoder's embedding, which is never quantized; CheckpointError for a decoder without one."""
    folder = layout.parts["llm"].folder
    for tensor in folder_tensors(folder):
        if tensor.name.endswith("embed_tokens.weight"):
            return tensor.dtype
    raise CheckpointError(f"{folder} holds no embed_tokens.weight")
