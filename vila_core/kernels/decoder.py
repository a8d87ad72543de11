"""A decoder's layers in one call: for a few tokens, Python between the steps takes a fifth of the time."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vila_core.kernels.library import DecoderCall, DecoderLayerCall, Kernels, LinearCall
from vila_core.kernels.linear import KERNEL_TYPES, KernelLinear, are_together
from vila_core.kernels.operations import is_plain

MOST_TOKENS = 64  # more of them take their time in the products
_DIMS = 32  # of a head, or a multiple


@dataclass(frozen=True, slots=True, eq=False)
class DecoderWeights:
    """One layer: its normalisations' scales [D], and the linears of attention and gated MLP."""

    input_norm: Tensor
    post_norm: Tensor
    qkv: tuple[KernelLinear, KernelLinear, KernelLinear]
    out: KernelLinear
    gate_up: tuple[KernelLinear, KernelLinear]
    down: KernelLinear

    def fits(self, dtype: torch.dtype) -> bool:
        """Tell if the linears that read one input can do so together, and the rest is of this type."""
        together = are_together(self.qkv) and are_together(self.gate_up)
        return together and is_plain(self.input_norm, dtype) and is_plain(self.post_norm, dtype)


class DecoderStack:
    """Pre-norm layers of grouped-query attention and gated MLP, and the normalisation behind them.

    norm: its scale [D], float32 or bfloat16 as all else. heads, kv_heads, eps: of every layer.
    """

    def __init__(
        self, found: Kernels, layers: Sequence[DecoderWeights], norm: Tensor, *, heads: int, kv_heads: int, eps: float
    ) -> None:
        self._kernels = found
        self._kept = (tuple(layers), norm)  # the calls below hold addresses alone
        self._layers = (DecoderLayerCall * len(layers))(*map(_layer_call, layers))
        self._norm, self._dtype, self._eps = norm.data_ptr(), norm.dtype, eps
        self._width, self._heads, self._kv_heads = norm.shape[0], heads, kv_heads
        self._dim = layers[0].qkv[0].out_features // heads

    @classmethod
    def of(
        cls,
        found: Kernels | None,
        layers: Sequence[DecoderWeights],
        norm: Tensor,
        *,
        heads: int,
        kv_heads: int,
        eps: float,
    ) -> DecoderStack | None:
        """Make one, or None if these kernels do not take all of it."""
        if found is None or not layers or norm.dtype not in KERNEL_TYPES or not is_plain(norm, norm.dtype):
            return None
        dim = layers[0].qkv[0].out_features // heads
        if dim % _DIMS or not all(layer.fits(norm.dtype) for layer in layers):
            return None
        return cls(found, layers, norm, heads=heads, kv_heads=kv_heads, eps=eps)

    def takes(self, hidden: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> bool:
        """Tell if `run` takes these: few tokens, the type of the weights, contiguous, and no gradient wanted."""
        tensors = (hidden, keys, values) if mask is None else (hidden, keys, values, mask)
        return (
            hidden.numel() <= MOST_TOKENS * self._width
            and all(is_plain(t, self._dtype) for t in tensors)
            and not (torch.is_grad_enabled() and hidden.requires_grad)
        )

    def run(
        self,
        hidden: Tensor,
        cos: Tensor,
        sin: Tensor,
        keys: Tensor,
        values: Tensor,
        rows: Tensor,
        extent: int,
        mask: Tensor | None,
    ) -> Tensor:
        """Return the normalised output [..., L, D] of hidden [..., L, D], L tokens in all, and write to the cache.

        cos, sin: [L, head_dim]. keys, values: the cache, [layers, kv heads, rows, head_dim]. rows: where the tokens go,
        [L] int64. mask: [L, extent], added to the scores; None: each sees the rows up to its own, the extent's last.
        """
        out = torch.empty_like(hidden)
        call = DecoderCall(
            self._layers,
            self._norm,
            hidden.data_ptr(),
            cos.data_ptr(),
            sin.data_ptr(),
            None if mask is None else mask.data_ptr(),
            keys.data_ptr(),
            values.data_ptr(),
            out.data_ptr(),
            rows.data_ptr(),
            len(self._layers),
            len(rows),
            self._width,
            self._heads,
            self._kv_heads,
            self._dim,
            keys.shape[2],
            extent,
            self._eps,
            self._dim**-0.5,
            KERNEL_TYPES[self._dtype],
        )
        self._kernels.decoder(ctypes.byref(call))
        return out


def _layer_call(layer: DecoderWeights) -> DecoderLayerCall:
    return DecoderLayerCall(
        layer.input_norm.data_ptr(),
        layer.post_norm.data_ptr(),
        (LinearCall * 3)(*(linear.call() for linear in layer.qkv)),
        layer.out.call(),
        (LinearCall * 2)(*(linear.call() for linear in layer.gate_up)),
        layer.down.call(),
    )
