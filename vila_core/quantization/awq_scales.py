"""AWQ's first search: how far to move the scale of salient activations into the weights that read them.

Source: Lin et al., arXiv:2306.00978; mit-han-lab/llm-awq, awq/quantize/auto_scale.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vila_core.quantization.groupwise import fitting_group, pseudo_quantize

RATIOS = 20
_LEAST_SCALE = 1e-4


@torch.no_grad()
def search_scales(
    linears: Sequence[nn.Linear],
    inputs: Tensor,
    inspect: Callable[[Tensor], Tensor],
    *,
    bits: int,
    group_size: int,
) -> Tensor:
    """Return the scales [K] with which the quantized linears disturb the inspected output least.

    inputs: [T, K], what the linears read. inspect: runs what the linears are part of on the inputs; it must read
    their weights anew at each call. The linears are left as they were.
    """
    magnitude = inputs.abs().mean(0)
    wanted = inspect(inputs)
    weights = [linear.weight for linear in linears]
    least, best = float("inf"), None
    for step in range(RATIOS):
        scales = ratio_scales(magnitude, step / RATIOS)
        trials = (_as_quantized(weight, scales, bits, group_size) for weight in weights)
        with _replaced(linears, trials):
            error = float((wanted - inspect(inputs)).float().pow(2).mean())
        if error < least:
            least, best = error, scales
    if best is None:
        raise ValueError("no scale gives a finite error: the weights or the calibration hold NaN or infinity")
    return best


def ratio_scales(magnitude: Tensor, ratio: float) -> Tensor:
    """Return magnitude^ratio [K], centred so that the largest and the least are each other's inverse."""
    scales = magnitude.pow(ratio).clamp(min=_LEAST_SCALE)
    return scales / (scales.max() * scales.min()).sqrt()


@torch.no_grad()
def fold_scales(previous: nn.Module, linears: Sequence[nn.Linear], scales: Tensor) -> None:
    """Multiply the linears' weights by the scales [K], and divide what the module before them gives, in place.

    previous: a linear, whose last K rows they read, or a normalisation.
    """
    bias = getattr(previous, "bias", None)
    if isinstance(previous, nn.Linear):
        previous.weight[-len(scales) :].div_(scales[:, None])
    else:
        weight = previous.weight
        assert isinstance(weight, Tensor)
        weight.div_(scales)
    if bias is not None:
        bias[-len(scales) :].div_(scales)
    for linear in linears:
        linear.weight.mul_(scales)


def _as_quantized(weight: Tensor, scales: Tensor, bits: int, group_size: int) -> Tensor:
    group = fitting_group(weight.shape[1], group_size)
    return pseudo_quantize(weight * scales, bits, group).div_(scales)


@contextmanager
def _replaced(linears: Sequence[nn.Linear], trials: Iterator[Tensor]) -> Iterator[None]:
    kept = [linear.weight for linear in linears]
    try:
        for linear, trial in zip(linears, trials, strict=True):
            linear.weight = nn.Parameter(trial, requires_grad=False)
        yield
    finally:
        for linear, weight in zip(linears, kept, strict=True):
            linear.weight = weight
