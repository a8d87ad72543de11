"""What is done between the products, float32 or bfloat16, each in one pass over memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vila_core.kernels.library import AttendCall, Kernels, RowsCall, kernels
from vila_core.kernels.linear import KERNEL_TYPES

_LANES = 16
_FEW_QUERIES = 4


def operations_for(x: Tensor, *others: Tensor | None) -> Operations | None:
    """Return the operations if they take tensors of this kind and this machine has them; None says to use torch.

    All must lie in a CPU's memory, be of one type, and want no gradient; what torch traces is not taken.
    """
    if x.dtype not in KERNEL_TYPES or torch.compiler.is_compiling():
        return None
    for tensor in (x, *others):
        if tensor is not None and (tensor.dtype != x.dtype or not _is_real(tensor)):
            return None
    found = kernels()
    return None if found is None else Operations(found)


def _is_real(x: Tensor) -> bool:
    wants_gradient = x.requires_grad and torch.is_grad_enabled()
    return type(x) in (Tensor, nn.Parameter) and x.device.type == "cpu" and not wants_gradient


def is_plain(x: Tensor, dtype: torch.dtype) -> bool:
    """Tell if a tensor lies in the CPU's memory as this type without gaps."""
    return x.dtype == dtype and x.device.type == "cpu" and x.is_contiguous()


class Operations:
    """Operations on tensors in memory; those that return None do not take the shapes."""

    def __init__(self, found: Kernels) -> None:
        self._kernels = found

    def gelu(self, x: Tensor) -> Tensor | None:
        """GELU with the tanh approximation."""
        if x.numel() % _LANES:
            return None
        x, y = x.contiguous(), torch.empty(x.shape, dtype=x.dtype)
        self._kernels.gelu(_rows(x, y, rows=1, width=x.numel()))
        return y

    def silu_mul(self, gate: Tensor, up: Tensor) -> Tensor | None:
        """silu(gate) * up."""
        if gate.numel() % _LANES:
            return None
        gate, up, y = gate.contiguous(), up.contiguous(), torch.empty(gate.shape, dtype=gate.dtype)
        self._kernels.silu_mul(_rows(gate, y, rows=1, width=gate.numel(), other=up.data_ptr()))
        return y

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor | None:
        """Root-mean-square normalisation of the last dimension."""
        width = x.shape[-1]
        if width % _LANES or not weight.is_contiguous():
            return None
        x, y = x.contiguous(), torch.empty(x.shape, dtype=x.dtype)
        self._kernels.rms_norm(_rows(x, y, rows=x.numel() // width, width=width, weight=weight.data_ptr(), eps=eps))
        return y

    def layer_norm(self, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor | None:
        """Layer normalisation of the last dimension."""
        width = x.shape[-1]
        if width % _LANES or not (weight.is_contiguous() and bias.is_contiguous()):
            return None
        x, y = x.contiguous(), torch.empty(x.shape, dtype=x.dtype)
        addresses = {"weight": weight.data_ptr(), "bias": bias.data_ptr()}
        self._kernels.layer_norm(_rows(x, y, rows=x.numel() // width, width=width, eps=eps, **addresses))
        return y

    def rotate(self, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor | None:
        """Turn [1, H, L, D] by the positions of cos and sin [L, D], half-split."""
        batch, count, tokens, dim = heads.shape
        plain = heads.stride(-1) == 1 and cos.is_contiguous() and sin.is_contiguous()
        if batch != 1 or dim % (2 * _LANES) or not plain:
            return None
        y = torch.empty((1, count, tokens, dim), dtype=heads.dtype)
        call = _rows(heads, y, rows=tokens, width=dim, other=cos.data_ptr(), weight=sin.data_ptr())
        call.heads, call.head_stride, call.row_stride = count, heads.stride(1), heads.stride(2)
        self._kernels.rotate(call)
        return y

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool = False, eight_bits: bool = False
    ) -> Tensor | None:
        """Attention of [B, H, L, D] over [B, kv heads, S, D]; mask: [L, S], added to the scores, None sees all.

        causal: each query sees the keys up to its own, the last query all. Few queries read the keys where they lie,
        more lay them out anew first; eight_bits: queries and keys may be rounded to 8 bits then, where that is quicker.
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
                KERNEL_TYPES[q.dtype],
            )
            (self._kernels.attend_few if few else self._kernels.attend)(call, torch.get_num_threads())
        return out


def _rows(
    x: Tensor,
    y: Tensor,
    *,
    rows: int,
    width: int,
    other: int | None = None,
    weight: int | None = None,
    bias: int | None = None,
    eps: float = 0.0,
) -> RowsCall:
    return RowsCall(x.data_ptr(), other, weight, bias, y.data_ptr(), rows, width, 0, 0, 0, eps, KERNEL_TYPES[x.dtype])
