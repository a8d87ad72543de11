"""SmoothQuant: activations' outliers move into the weights behind a normalisation, so that 8 bits hold both.

Source: Xiao et al., arXiv:2211.10438; mit-han-lab/llm-awq, smooth_ln_fcs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_LEAST = 1e-5


def smoothing_scales(activations: Tensor, weights: Sequence[Tensor], alpha: float) -> Tensor:
    """activation^alpha / weight^(1 - alpha) for each input channel [K].

    activations: largest magnitude of each channel [K]. weights: [N_i, K] of the linears that read them.
    """
    largest = torch.stack([weight.abs().amax(0) for weight in weights]).amax(0).clamp(min=_LEAST)
    return (activations.to(largest.dtype).pow(alpha) / largest.pow(1 - alpha)).clamp(min=_LEAST)


@torch.no_grad()
def smooth(norm: nn.Module, linears: Sequence[nn.Linear], activations: Tensor, alpha: float) -> None:
    """Divide what the normalisation gives by the scales and multiply the linears' weights by them, in place.

    The result of norm and linears together stays what it was.
    """
    scales = smoothing_scales(activations, [linear.weight for linear in linears], alpha)
    for leaf in ("weight", "bias"):
        value = getattr(norm, leaf, None)
        if value is not None:
            value.div_(scales)
    for linear in linears:
        linear.weight.mul_(scales)
