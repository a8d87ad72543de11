"""Operations that the models share, by torch or the package's own kernels for CPUs, and how their inputs get there."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vila_core.kernels.linear import KernelLinear, linear_together
from vila_core.kernels.operations import operations_for


def project(x: Tensor, *linears: nn.Module) -> list[Tensor]:
    """Give x [..., K] to several linears: [..., N] each. Kernels that take it together round it, if at all, once."""
    kernels = [linear for linear in linears if isinstance(linear, KernelLinear)]
    if len(kernels) == len(linears) and all(kernels[0].takes_with(other) for other in kernels[1:]):
        return linear_together(x, kernels)
    return [linear(x) for linear in linears]


def gelu(x: Tensor) -> Tensor:
    """GELU with the tanh approximation (gelu_pytorch_tanh)."""
    fast = operations_for(x)
    done = None if fast is None else fast.gelu(x)
    return F.gelu(x, approximate="tanh") if done is None else done


def silu_mul(gate: Tensor, up: Tensor) -> Tensor:
    """SwiGLU's silu(gate) * up."""
    fast = operations_for(gate, up)
    done = None if fast is None else fast.silu_mul(gate, up)
    return F.silu(gate) * up if done is None else done


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root-mean-square normalisation, computed in float32 as the reference does: [..., D] -> [..., D]."""
    fast = operations_for(x, weight)
    done = None if fast is None else fast.rms_norm(x, weight, eps)
    if done is not None:
        return done
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return weight * wide.to(x.dtype)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Layer normalisation: [..., D] -> [..., D]."""
    fast = operations_for(x, weight, bias)
    done = None if fast is None else fast.layer_norm(x, weight, bias, eps)
    return F.layer_norm(x, weight.shape, weight, bias, eps) if done is None else done


def rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn queries or keys [B, H, L, head_dim] by their positions' cos and sin [L, head_dim]."""
    fast = operations_for(heads, cos, sin)
    done = None if fast is None else fast.rotate(heads, cos, sin)
    if done is not None:
        return done
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat((-second, first), dim=-1) * sin


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False, eight_bits: bool = False
) -> Tensor:
    """Attention of queries [B, H, L, head_dim] over keys and values [B, kv heads, S, head_dim]: [B, H, L, head_dim].

    mask: [L, S], added to the scores. causal, without a mask: each query sees the keys up to its own, L = S.
    eight_bits: queries and keys may be rounded to 8 bits, each row with a scale of its own; the CPU's kernels do so.
    """
    groups, count = q.shape[1] // k.shape[1], q.shape[2]
    causal = causal and mask is None
    fast = operations_for(q, k, v, mask)
    done = None if fast is None else fast.attend(q, k, v, mask, causal=causal, eight_bits=eight_bits)
    if done is not None:
        return done
    if causal:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=groups > 1)
    if groups == 1:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    folded = q.reshape(q.shape[0], k.shape[1], groups * count, q.shape[3])  # the heads of a group as one long query
    tiled = None if mask is None else mask.repeat(groups, 1)
    return F.scaled_dot_product_attention(folded, k, v, attn_mask=tiled).view_as(q)


def upload(values: NDArray[np.generic], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return the array as a tensor on the device; shared with it on a CPU, through page-locked memory to a GPU."""
    source = torch.from_numpy(values)
    if device.type == "cuda":
        return source.pin_memory().to(device, dtype, non_blocking=True)
    return source.to(device, dtype)
