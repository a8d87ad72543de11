"""AWQ for the language head: its scale is folded into the last normalisation, found on a sample of its rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vila_core.quantization.awq_clip import clip_weight_, search_clip
from vila_core.quantization.awq_scales import fold_scales, search_scales
from vila_core.quantization.groupwise import GroupQuantized, fitting_group, quantize_for_storage
from vila_core.quantization.linear import BITS, QuantLinear

_SAMPLED_ROWS = 4096
_ROWS = 4096  # in float32 at a time: a head is large


@torch.no_grad()
def quantize_head(weight: Tensor, norm: nn.Module | None, inputs: Tensor | None, group_size: int) -> QuantLinear:
    """Quantize a head [V, D] to 4 bits.

    inputs: [T, D], what norm gives and the head reads; the scales found are folded into norm. None of both: plain
    rounding.
    """
    scales = None
    if inputs is not None and norm is not None:
        scales = _scales(weight, inputs, group_size)
        fold_scales(norm, (), scales)
        inputs = inputs / scales
    group = fitting_group(weight.shape[1], group_size)
    with torch.device("meta"):
        head = QuantLinear(weight.shape[1], weight.shape[0], group)
    parts = [QuantLinear.of(_quantized(rows.float(), scales, inputs, group)) for rows in weight.detach().split(_ROWS)]
    head.weight_int4 = torch.cat([part.weight_int4 for part in parts])
    head.scales = torch.cat([part.scales for part in parts])
    head.zeros = torch.cat([part.zeros for part in parts])
    return head


def _scales(weight: Tensor, inputs: Tensor, group_size: int) -> Tensor:
    sample = weight.detach()[:: max(1, len(weight) // _SAMPLED_ROWS)].float()
    linear = nn.Linear(sample.shape[1], sample.shape[0], bias=False, device="meta")
    linear.weight = nn.Parameter(sample, requires_grad=False)
    return search_scales([linear], inputs, linear, bits=BITS, group_size=group_size)


def _quantized(rows: Tensor, scales: Tensor | None, inputs: Tensor | None, group: int) -> GroupQuantized:
    if scales is not None and inputs is not None:
        rows = rows * scales
        rows = clip_weight_(rows, search_clip(rows, inputs, bits=BITS, group_size=group))
    return quantize_for_storage(rows, BITS, group)
