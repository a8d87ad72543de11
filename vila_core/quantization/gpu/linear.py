"""Quantized linear layers for a GPU: a weight and who multiplies by it. A CUDA graph can record them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vila_core.quantization.gpu.choice import Choice
from vila_core.quantization.gpu.int8 import Int8Weight
from vila_core.quantization.gpu.layout import Int4Weight


class GpuInt4Linear(nn.Module):
    """y = x W^T + bias with a 4-bit weight.

    choice: for inputs of the dtype; its buckets are complete, so that a pass measures nothing and waits for nothing.
    """

    def __init__(self, weight: Int4Weight, bias: Tensor | None, choice: Choice[Int4Weight], dtype: torch.dtype) -> None:
        super().__init__()
        self.in_features, self.out_features = weight.inputs, weight.outputs
        self.choice, self.dtype = choice, dtype
        self.packed: Tensor
        self.table: Tensor
        self.bias: Tensor | None
        self.register_buffer("packed", weight.packed)
        self.register_buffer("table", weight.table)
        self.register_buffer("bias", None if bias is None else bias.detach().to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] -> [..., N]. Raises ValueError for another dtype or width than the choice was made for."""
        flat = _rows_of(x, self.in_features, self.dtype)
        out = self.choice.for_rows(len(flat)).run(flat, Int4Weight(self.packed, self.table))
        return (out if self.bias is None else out + self.bias).view(*x.shape[:-1], self.out_features)

    def rows(self, numbers: Tensor) -> Tensor:
        """Dequantized rows [U, K] float32 of the weight; numbers: [U] int64."""
        return Int4Weight(self.packed, self.table).rows(numbers)


class GpuInt8Linear(nn.Module):
    """y = x W^T + bias with an 8-bit weight; inputs are rounded to 8 bits by token."""

    def __init__(self, weight: Int8Weight, choice: Choice[Int8Weight], dtype: torch.dtype) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.weight.shape
        self.choice, self.dtype = choice, dtype
        self.weight_int8: Tensor
        self.scales: Tensor
        self.bias: Tensor | None
        self.register_buffer("weight_int8", weight.weight)
        self.register_buffer("scales", weight.scales)
        self.register_buffer("bias", weight.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] -> [..., N]. Raises ValueError for another dtype or width than the choice was made for."""
        flat = _rows_of(x, self.in_features, self.dtype)
        weight = Int8Weight(self.weight_int8, self.scales, self.bias)
        return self.choice.for_rows(len(flat)).run(flat, weight).view(*x.shape[:-1], self.out_features)

    def rows(self, numbers: Tensor) -> Tensor:
        """Dequantized rows [U, K] float32 of the weight; numbers: [U] int64."""
        return self.weight_int8[numbers].float() * self.scales[numbers, None]


def _rows_of(x: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    if x.dtype != dtype or x.shape[-1] != width:
        raise ValueError(f"expected {dtype} [..., {width}], got {x.dtype} {list(x.shape)}")
    return x.reshape(-1, width)
