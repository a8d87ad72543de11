"""bfloat16 operations between the products, each in one pass over memory; for processors with AVX-512 BF16."""

from __future__ import annotations

import torch
from torch import Tensor

from vila_core.kernels.library import AttendCall, Kernels, kernels

_LANES = 16
_FEW_QUERIES = 4


def for_tensor(x: Tensor) -> Bfloat16Kernels | None:
    """Return the kernels if they take this tensor and this machine has them; None means: do it with torch."""
    if x.dtype != torch.bfloat16 or x.device.type != "cpu" or (x.requires_grad and torch.is_grad_enabled()):
        return None
    found = kernels()
    return Bfloat16Kernels(found) if found is not None and found.has_bf16 else None


def is_plain(x: Tensor) -> bool:
    """Tell if a tensor lies in the CPU's memory as bfloat16 without gaps."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and x.is_contiguous()


class Bfloat16Kernels:
    """Operations on bfloat16 tensors in memory; those that return None do not take the shapes."""

    def __init__(self, found: Kernels) -> None:
        self._kernels = found

    def gelu(self, x: Tensor) -> Tensor | None:
        """GELU with the tanh approximation."""
        if x.numel() % _LANES:
            return None
        x, y = x.contiguous(), torch.empty(x.shape, dtype=x.dtype)
        self._kernels.gelu(x.data_ptr(), y.data_ptr(), x.numel())
        return y

    def silu_mul(self, gate: Tensor, up: Tensor) -> Tensor | None:
        """silu(gate) * up."""
        if gate.numel() % _LANES:
            return None
        gate, up, y = gate.contiguous(), up.contiguous(), torch.empty(gate.shape, dtype=gate.dtype)
        self._kernels.silu_mul(gate.data_ptr(), up.data_ptr(), y.data_ptr(), gate.numel())
        return y

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor | None:
        """Root-mean-square normalisation of the last dimension."""
        width = x.shape[-1]
        if width % _LANES or weight.dtype != x.dtype:
            return None
        x, y = x.contiguous(), torch.empty(x.shape, dtype=x.dtype)
        self._kernels.rms_norm(x.data_ptr(), weight.data_ptr(), y.data_ptr(), x.numel() // width, width, eps)
        return y

    def layer_norm(self, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor | None:
        """Layer normalisation of the last dimension."""
        width = x.shape[-1]
        if width % _LANES or weight.dtype != x.dtype or bias.dtype != x.dtype:
            return None
        x, y = x.contiguous(), torch.empty(x.shape, dtype=x.dtype)
        rows = x.numel() // width
        self._kernels.layer_norm(x.data_ptr(), weight.data_ptr(), bias.data_ptr(), y.data_ptr(), rows, width, eps)
        return y

    def rotate(self, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor | None:
        """Turn [1, H, L, D] by the positions of cos and sin [L, D], half-split."""
        batch, count, tokens, dim = heads.shape
        if (
            batch != 1
            or dim % (2 * _LANES)
            or heads.stride(-1) != 1
            or not (cos.is_contiguous() and sin.is_contiguous())
        ):
            return None
        y = torch.empty((1, count, tokens, dim), dtype=heads.dtype)
        self._kernels.rotate(
            heads.data_ptr(),
            cos.data_ptr(),
            sin.data_ptr(),
            y.data_ptr(),
            count,
            tokens,
            dim,
            heads.stride(1),
            heads.stride(2),
        )
        return y

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool = False, eight_bits: bool = False
    ) -> Tensor | None:
        """Attention of [B, H, L, D] over [B, kv heads, S, D]; mask: [L, S], added to the scores, None sees all.

        causal: each query sees the keys up to its own, the last query all. Few queries read the keys where they lie,
        more lay them out anew first; eight_bits: queries and keys may be rounded to 8 bits then, up to 256 wide.
        Returns [B, H, L, D] that lies as [B, L, H, D].
        """
        batch, heads, queries, dim = q.shape
        few = queries < _FEW_QUERIES
        if (
            dim % (2 * _LANES if few else 2)
            or any(t.stride(-1) != 1 for t in (q, k, v))
            or not (mask is None or mask.is_contiguous())
        ):
            return None
        out = torch.empty((batch, queries, heads, dim), dtype=q.dtype).transpose(1, 2)
        for b in range(batch):
            call = AttendCall(
                *(t[b].data_ptr() for t in (q, k, v)),
                None if mask is None else mask.data_ptr(),
                out[b].data_ptr(),
                heads,
                k.shape[1],
                queries,
                k.shape[2],
                dim,
                *(stride for t in (q, k, v, out) for stride in t.stride()[1:3]),
                dim**-0.5,
                causal,
                eight_bits,
            )
            (self._kernels.attend_few if few else self._kernels.attend)(call, torch.get_num_threads())
        return out
