"""8-bit weights per output channel, 8-bit activations per token, scaled when they come.

Source: mit-han-lab/llm-awq, awq/quantize/w8a8_linear.py (W8A8OF16LinearDynamicInputScale).
"""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST = 127
LEAST_SCALE = 1e-8
_CUDA_ROWS = 32  # torch's product of bytes on a GPU wants more than 16 rows


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weight [N, K] -> int8 [N, K] and scales [N] of its dtype: weight = int8 * scales."""
    scales = weight.abs().amax(-1, keepdim=True) / LARGEST
    safe = torch.where(scales == 0, torch.ones_like(scales), scales)
    return torch.round(weight / safe).clamp_(-LARGEST - 1, LARGEST).to(torch.int8), scales[:, 0]


def quantize_tokens(x: Tensor) -> tuple[Tensor, Tensor]:
    """Activations [M, K] -> int8 [M, K] and scales [M, 1] float32."""
    wide = x.float()
    scales = (wide.abs().amax(-1, keepdim=True) / LARGEST).clamp_(min=LEAST_SCALE)
    return torch.round(wide / scales).to(torch.int8), scales


def int8_product(a: Tensor, b: Tensor) -> Tensor:
    """int8 [M, K] x int8 [N, K] -> the exact sums [M, N], int32 or float64."""
    on_cuda = a.device.type == "cuda"
    if on_cuda and (a.shape[1] % 8 or b.shape[0] % 8):
        return a.double() @ b.double().T
    rows = a.shape[0]
    if on_cuda and rows < _CUDA_ROWS:
        a = torch.nn.functional.pad(a, (0, 0, 0, _CUDA_ROWS - rows))
    return torch._int_mm(a, b.T)[:rows]


def linear_w8a8(x: Tensor, weight: Tensor, scales: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply x [..., K] by a quantized weight [N, K] int8 with scales [N]: [..., N] in x's dtype."""
    tokens, token_scales = quantize_tokens(x.reshape(-1, x.shape[-1]))
    out = int8_product(tokens, weight).float() * token_scales * scales.float()
    if bias is not None:
        out = out + bias.float()
    return out.to(x.dtype).reshape(*x.shape[:-1], weight.shape[0])
