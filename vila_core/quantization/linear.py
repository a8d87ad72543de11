"""A linear layer with 4-bit weights, in one neutral layout that every format is brought to.

Its own forward pass is the reference: correct on every device, and slow. Faster kernels take the same tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vila_core.quantization.formats.nibbles import pack_pairs, unpack_pairs
from vila_core.quantization.groupwise import GroupQuantized, dequantize_groups, fitting_group, quantize_for_storage

BITS = 4
_CHUNK_WEIGHTS = 1 << 22  # dequantized at a time


class QuantLinear(nn.Module):
    """Weights [N, K] in G groups along K: weight = (value - zero) * scale.

    weight_int4: [N, K/2] uint8, the even column in the low four bits. scales: [N, G] float16. zeros: [N, G] uint8.
    bias: [N] in the compute dtype, or None.
    """

    def __init__(self, in_features: int, out_features: int, group_size: int, *, bias: bool = False) -> None:
        super().__init__()
        if in_features % group_size or in_features % 2:
            raise ValueError(f"a width of {in_features} cannot be stored in groups of {group_size} and pairs")
        self.in_features, self.out_features, self.group_size = in_features, out_features, group_size
        groups = in_features // group_size
        self.weight_int4: Tensor
        self.scales: Tensor
        self.zeros: Tensor
        self.register_buffer("weight_int4", torch.empty(out_features, in_features // 2, dtype=torch.uint8))
        self.register_buffer("scales", torch.empty(out_features, groups, dtype=torch.float16))
        self.register_buffer("zeros", torch.empty(out_features, groups, dtype=torch.uint8))
        self.bias = nn.Parameter(torch.empty(out_features), requires_grad=False) if bias else None

    @classmethod
    def of(cls, quantized: GroupQuantized, bias: Tensor | None = None) -> QuantLinear:
        """Make one of a quantized weight."""
        rows, width = quantized.values.shape
        with torch.device("meta"):
            made = cls(width, rows, quantized.group_size, bias=bias is not None)
        made.weight_int4 = pack_pairs(quantized.values)
        made.scales = quantized.scales.to(torch.float16).contiguous()
        made.zeros = quantized.zeros.to(torch.uint8).contiguous()
        if bias is not None:
            made.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
        return made

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] -> [..., N], in x's dtype."""
        step = max(1, _CHUNK_WEIGHTS // self.in_features)
        parts = [
            F.linear(x, self._dequantized(slice(at, at + step), x.dtype)) for at in range(0, self.out_features, step)
        ]
        out = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        return out if self.bias is None else out + self.bias

    def rows(self, numbers: Tensor) -> Tensor:
        """Dequantized rows [U, K] float32 of the weight; numbers: [U] int64."""
        return self._dequantized(numbers, torch.float32)

    def dequantized(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the whole weight [N, K]."""
        return self._dequantized(slice(None), dtype)

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, group={self.group_size}, bias={bias}"

    def _dequantized(self, rows: slice | Tensor, dtype: torch.dtype) -> Tensor:
        values = unpack_pairs(self.weight_int4[rows])
        return dequantize_groups(GroupQuantized(values, self.scales[rows], self.zeros[rows]), dtype)


@torch.no_grad()
def quantize_linear(linear: nn.Linear, group_size: int) -> QuantLinear:
    """Quantize a linear layer to 4 bits; where the group size does not divide its width, see fitting_group."""
    group = fitting_group(linear.in_features, group_size)
    return QuantLinear.of(quantize_for_storage(linear.weight.float(), BITS, group), linear.bias)
