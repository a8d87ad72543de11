"""How a loaded model's weights are kept, in a few words: for diagnostics and reports."""

from __future__ import annotations

from torch import nn

from vila_core.kernels.linear import KernelLinear
from vila_core.models.vlm import VisionLanguageModel
from vila_core.quantization.gpu.linear import GpuInt4Linear, GpuInt8Linear
from vila_core.quantization.int8_linear import Int8Linear
from vila_core.quantization.linear import QuantLinear


def precision_label(model: VisionLanguageModel, precision: str) -> str:
    """Return the precision of everything else, and before it those of the parts that were quantized."""
    parts = {"language": quantized_as(model.language_model), "vision": quantized_as(model.vision_tower)}
    said = [f"{part} {kind}" for part, kind in parts.items() if kind]
    return ", ".join([*said, precision])


def quantized_as(module: nn.Module) -> str:
    """Return "w4a16", "w4a8", "w8a8" or "" for a module, by what its linears are; the CPU's kernels round inputs."""
    for child in module.modules():
        if isinstance(child, QuantLinear | GpuInt4Linear):
            return "w4a16"
        if isinstance(child, Int8Linear | GpuInt8Linear):
            return "w8a8"
        if isinstance(child, KernelLinear):
            return f"w{child.bits}a8"
    return ""


def weight_bytes(module: nn.Module) -> int:
    """What parameters and quantized weights occupy."""
    return sum(value.numel() * value.element_size() for value in module.state_dict().values())
