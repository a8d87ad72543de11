"""The precision of a checkpoint: what it is computed in, what it is stored in, and how it is kept once loaded."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from vila_core.errors import CheckpointError
from vila_core.kernels.linear import KernelLinear
from vila_core.machine.arithmetic import DTYPES, arithmetic_of
from vila_core.machine.precision import AUTO, SMALL_WEIGHTS, Measure, Precision, choose_precision
from vila_core.models.costs import count_weights
from vila_core.models.stored.config_reader import config_of
from vila_core.models.stored.layouts import Layout, open_layout
from vila_core.models.stored.weights import folder_tensors
from vila_core.models.vlm import VisionLanguageModel
from vila_core.quantization.gpu.linear import GpuInt4Linear, GpuInt8Linear
from vila_core.quantization.int8_linear import Int8Linear
from vila_core.quantization.linear import QuantLinear


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


def stored_dtype(layout: Layout) -> torch.dtype:
    """The dtype of the decoder's embedding, which is never quantized; CheckpointError for a decoder without one."""
    folder = layout.parts["llm"].folder
    for tensor in folder_tensors(folder):
        if tensor.name.endswith("embed_tokens.weight"):
            return tensor.dtype
    raise CheckpointError(f"{folder} holds no embed_tokens.weight")


def stored_precision(layout: Layout) -> str:
    """Name of the dtype that the decoder's embedding is stored in; CheckpointError for one that is not supported."""
    names, dtype = {dtype: name for name, dtype in DTYPES.items()}, stored_dtype(layout)
    if dtype not in names:
        raise CheckpointError(f"{layout.parts['llm'].folder}: embed_tokens.weight is stored as {dtype}")
    return names[dtype]


def precision_label(model: VisionLanguageModel, precision: str) -> str:
    """Return the precision of everything else, and before it those of the parts that were quantized."""
    parts = {"language": quantized_as(model.language_model), "vision": quantized_as(model.vision_tower)}
    if model.relevance_head is not None:
        parts["relevance"] = quantized_as(model.relevance_head.eyes)
    said = [f"{part} {kind}" for part, kind in parts.items() if kind]
    return ", ".join([*said, precision])


def quantized_as(module: nn.Module) -> str:
    """Return "w4a16", "w4a8", "w8a8" or "" for a module, by what its linears are; the CPU's kernels round inputs."""
    for child in module.modules():
        if isinstance(child, QuantLinear | GpuInt4Linear):
            return "w4a16"
        if isinstance(child, Int8Linear | GpuInt8Linear):
            return "w8a8"
        if isinstance(child, KernelLinear) and child.rounds_inputs:
            return f"w{child.bits}a8"
    return ""


def weight_bytes(module: nn.Module) -> int:
    """What parameters and quantized weights occupy."""
    return sum(value.numel() * value.element_size() for value in module.state_dict().values())
