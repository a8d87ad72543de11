"""Quantized linears made plain again: a graph in half precision has no other use for them."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Dequantizable(Protocol):
    """A quantized linear layer."""

    in_features: int
    out_features: int
    bias: Tensor | None

    def dequantized(self, dtype: torch.dtype) -> Tensor:
        """Return the whole weight [N, K]."""
        ...


def plain_linears(root: nn.Module, dtype: torch.dtype) -> int:
    """Replace every quantized linear below the module by an nn.Linear of dtype; returns how many."""
    found = [(name, child) for name, child in root.named_modules() if isinstance(child, Dequantizable)]
    for name, child in found:
        with torch.device("meta"):
            linear = nn.Linear(child.in_features, child.out_features, bias=child.bias is not None)
        linear.weight = nn.Parameter(child.dequantized(dtype), requires_grad=False)
        if child.bias is not None:
            linear.bias = nn.Parameter(child.bias.detach().to(dtype), requires_grad=False)
        owner, _, leaf = name.rpartition(".")
        setattr(root.get_submodule(owner), leaf, linear)
    return len(found)
