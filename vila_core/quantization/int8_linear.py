"""A linear layer with 8-bit weights per output channel that rounds its inputs to 8 bits as they come."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vila_core.quantization.w8a8 import linear_w8a8, quantize_rows

_ROWS = 8192  # quantized at a time


class Int8Linear(nn.Module):
    """Weight = weight_int8 * scales.

    weight_int8: [N, K] int8. scales: [N] float32. bias: [N] in the compute dtype, or None.
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight_int8: Tensor
        self.scales: Tensor
        self.register_buffer("weight_int8", torch.empty(out_features, in_features, dtype=torch.int8))
        self.register_buffer("scales", torch.empty(out_features, dtype=torch.float32))
        self.bias = nn.Parameter(torch.empty(out_features), requires_grad=False) if bias else None

    @classmethod
    def of(cls, linear: nn.Linear) -> Int8Linear:
        """Quantize a linear layer; of a large one only a part is in memory in float32."""
        with torch.device("meta"):
            made = cls(linear.in_features, linear.out_features, bias=linear.bias is not None)
        parts = [quantize_rows(rows.float()) for rows in linear.weight.detach().split(_ROWS)]
        made.weight_int8 = torch.cat([weight for weight, _ in parts])
        made.scales = torch.cat([scales for _, scales in parts])
        if linear.bias is not None:
            made.bias = nn.Parameter(linear.bias.detach().clone(), requires_grad=False)
        return made

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] -> [..., N], in x's dtype."""
        return linear_w8a8(x, self.weight_int8, self.scales, self.bias)

    def rows(self, numbers: Tensor) -> Tensor:
        """Dequantized rows [U, K] float32 of the weight; numbers: [U] int64."""
        return self.weight_int8[numbers].float() * self.scales[numbers, None]

    def dequantized(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the whole weight [N, K]."""
        return (self.weight_int8.float() * self.scales[:, None]).to(dtype)

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}"


def quantize_linears(root: nn.Module) -> int:
    """Replace all linears below root by 8-bit ones; returns how many."""
    found = [(name, child) for name, child in root.named_modules() if isinstance(child, nn.Linear)]
    for name, child in found:
        owner, _, leaf = name.rpartition(".")
        setattr(root.get_submodule(owner), leaf, Int8Linear.of(child))
    return len(found)
