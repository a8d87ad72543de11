"""A vision tower's layers in one call: nothing but the kernels runs between the steps."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vila_core.kernels.library import Kernels, LinearCall, TowerCall, TowerLayerCall
from vila_core.kernels.linear import KERNEL_TYPES, KernelLinear, are_together
from vila_core.kernels.operations import is_plain

_DIMS = 2  # of a head, or a multiple


@dataclass(frozen=True, slots=True, eq=False)
class TowerWeights:
    """One layer: weight and bias [C] of its normalisations, and the linears of attention and MLP."""

    norm1: tuple[Tensor, Tensor]
    norm2: tuple[Tensor, Tensor]
    qkv: tuple[KernelLinear, KernelLinear, KernelLinear]
    out: KernelLinear
    fc1: KernelLinear
    fc2: KernelLinear

    def fits(self, dtype: torch.dtype) -> bool:
        """Tell if the linears that read one input can do so together, and the rest is of this type."""
        return are_together(self.qkv) and all(is_plain(part, dtype) for part in (*self.norm1, *self.norm2))


class TowerStack:
    """Pre-norm layers of attention without a mask and an MLP around GELU; heads, eps: of every layer."""

    def __init__(self, found: Kernels, layers: Sequence[TowerWeights], *, heads: int, eps: float) -> None:
        self._kernels = found
        self._kept = tuple(layers)  # the calls below hold addresses alone
        self._layers = (TowerLayerCall * len(layers))(*map(_layer_call, layers))
        self._heads, self._eps, self._dtype = heads, eps, layers[0].norm1[0].dtype
        self._dim = layers[0].out.in_features // heads

    @classmethod
    def of(cls, found: Kernels | None, layers: Sequence[TowerWeights], *, heads: int, eps: float) -> TowerStack | None:
        """Make one, or None if these kernels do not take all of it."""
        if found is None or not layers or layers[0].norm1[0].dtype not in KERNEL_TYPES:
            return None
        dtype = layers[0].norm1[0].dtype
        if layers[0].out.in_features % (heads * _DIMS) or not all(layer.fits(dtype) for layer in layers):
            return None
        if len({layer.qkv[0].rounds_inputs for layer in layers}) > 1:
            return None  # attention rounds in all layers, or in none
        return cls(found, layers, heads=heads, eps=eps)

    def takes(self, hidden: Tensor) -> bool:
        """Tell if `run` takes this: the type of the weights, contiguous, and no gradient wanted."""
        return is_plain(hidden, self._dtype) and not (torch.is_grad_enabled() and hidden.requires_grad)

    def run(self, hidden: Tensor) -> Tensor:
        """Return the output [B, N, C] of hidden [B, N, C]."""
        out = torch.empty_like(hidden)
        sizes = len(self._layers), *hidden.shape, self._heads
        call = TowerCall(
            self._layers,
            hidden.data_ptr(),
            out.data_ptr(),
            *sizes,
            self._eps,
            self._dim**-0.5,
            KERNEL_TYPES[self._dtype],
        )
        self._kernels.tower(ctypes.byref(call))
        return out


def _layer_call(layer: TowerWeights) -> TowerLayerCall:
    return TowerLayerCall(
        *(part.data_ptr() for part in (*layer.norm1, *layer.norm2)),
        (LinearCall * 3)(*(linear.call() for linear in layer.qkv)),
        layer.out.call(),
        layer.fc1.call(),
        layer.fc2.call(),
    )
