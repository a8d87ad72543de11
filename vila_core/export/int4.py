"""4-bit linears for TensorRT: blocks of weights with a scale each, and the groups' zeros beside the product.

TensorRT keeps weights in 4 bits where a DequantizeLinear with blocks stands before a product, and allows it no zeros.
AWQ has them. So a group's weights (q - zero) * scale are (q - 8) * scale, which TensorRT takes, and a constant
(8 - zero) * scale: what the constants come to is the sum of each group of inputs times them, a product with 1/128 of
the weights. The result is the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vila_core.quantization.formats.nibbles import unpack_pairs
from vila_core.quantization.linear import QuantLinear

MIDDLE = 8


class Int4GraphLinear(nn.Module):
    """A linear layer that becomes a blocked DQ and two products in ONNX; elsewhere it computes what these do.

    values: [K, N] int8, -8..7; they are packed when the file is written. scales, constants: [G, N].
    """

    def __init__(self, layer: QuantLinear, dtype: torch.dtype) -> None:
        super().__init__()
        self.group = layer.group_size
        self.values: Tensor
        self.scales: Tensor
        self.constants: Tensor
        scales = layer.scales.float()
        values = unpack_pairs(layer.weight_int4).view(torch.int8) - MIDDLE
        self.register_buffer("values", values.T.contiguous())
        self.register_buffer("scales", scales.T.contiguous().to(dtype))
        self.register_buffer("constants", ((MIDDLE - layer.zeros.float()) * scales).T.contiguous().to(dtype))
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().to(dtype), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] -> [..., N]."""
        sums = x.unflatten(-1, (-1, self.group)).float().sum(-1).to(x.dtype)
        out = x @ self._weight(x.dtype) + sums @ self.constants
        return out if self.bias is None else out + self.bias

    def _weight(self, dtype: torch.dtype) -> Tensor:
        if torch.onnx.is_in_onnx_export():
            factors, shape = (self.values, self.scales), self.values.shape
            return torch.onnx.ops.symbolic(
                "DequantizeLinear", factors, {"axis": 0, "block_size": self.group}, dtype=dtype, shape=shape
            )
        return (self.values.unflatten(0, (-1, self.group)).to(dtype) * self.scales[:, None]).flatten(0, 1)


def int4_linears(root: nn.Module, dtype: torch.dtype) -> int:
    """Replace every 4-bit linear below the module by an Int4GraphLinear; returns how many."""
    found = [(name, child) for name, child in root.named_modules() if isinstance(child, QuantLinear)]
    for name, child in found:
        owner, _, leaf = name.rpartition(".")
        setattr(root.get_submodule(owner), leaf, Int4GraphLinear(child, dtype))
    return len(found)


def has_int4(root: nn.Module) -> bool:
    """Tell if there are 4-bit linears below the module."""
    return any(isinstance(child, QuantLinear) for child in root.modules())
