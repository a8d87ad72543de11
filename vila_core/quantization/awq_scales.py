"""AWQ's first search: how far to move the scale of salient activations into the weights that read them.

Source: Lin et al., arXiv:2306.00978; mit-han-lab/llm-awq, awq/quantize/auto_scale.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vila_core.errors import NotFiniteError
from vila_core.quantization.groupwise import fitting_group, pseudo_quantize, row_blocks

RATIOS = 20
_LEAST_SCALE = 1e-4
_TOKENS = 512  # inspected at a time
_COLUMNS = 1024  # whose magnitudes are in memory at a time
_FIRST_STEP = 8  # tried first: the best is seldom far, and all that are worse can then be left early


@torch.no_grad()
def search_scales(
    linears: Sequence[nn.Linear],
    inputs: Tensor,
    inspect: Callable[[Tensor], Tensor],
    *,
    lengths: Sequence[int] | None = None,
    bits: int,
    group_size: int,
) -> Tensor:
    """Return the scales [K] with which the quantized linears disturb the inspected output least.

    inputs: [T, K], what the linears read. inspect: runs what the linears are part of on rows of the inputs; it must
    read their weights anew at each call. lengths: of the runs of rows that it must see together, None if it looks at
    each row alone. The linears are left as they were. Raises NotFiniteError where no scale gives a finite output.
    """
    magnitude = torch.cat([columns.abs().mean(0) for columns in inputs.split(_COLUMNS, dim=1)])
    parts = inputs.split(_TOKENS if lengths is None else list(lengths))
    wanted = [inspect(part) for part in parts]
    weights = [linear.weight for linear in linears]
    best = (float("inf"), 0)
    with _on_trial(linears) as trials:
        for step in sorted(range(RATIOS), key=lambda step: abs(step - _FIRST_STEP)):
            scales = ratio_scales(magnitude, step / RATIOS)
            for weight, trial in zip(weights, trials, strict=True):
                _quantize_into(trial, weight, scales, bits, group_size)
            best = min(best, (_error(inspect, parts, wanted, best[0]), step))
    if best[0] == float("inf"):
        raise NotFiniteError("no scale gives a finite error: the weights or the calibration hold NaN or infinity")
    return ratio_scales(magnitude, best[1] / RATIOS)


def _error(
    inspect: Callable[[Tensor], Tensor], parts: Sequence[Tensor], wanted: Sequence[Tensor], least: float
) -> float:
    """Sum of the squared differences, or infinity as soon as it is above the least: it can only grow."""
    total = 0.0
    for part, output in zip(parts, wanted, strict=True):
        total += float((inspect(part) - output).float().square_().sum())
        if not total <= least:  # NaN too
            return float("inf")
    return total


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


def _quantize_into(trial: Tensor, weight: Tensor, scales: Tensor, bits: int, group_size: int) -> None:
    group = fitting_group(weight.shape[1], group_size)
    for rows in row_blocks(weight):
        torch.div(pseudo_quantize(weight[rows] * scales, bits, group), scales, out=trial[rows])


@contextmanager
def _on_trial(linears: Sequence[nn.Linear]) -> Iterator[list[Tensor]]:
    """While open, the linears have weights of their own to be tried, which are yielded."""
    kept = [linear.weight for linear in linears]
    trials = [torch.empty_like(weight) for weight in kept]
    try:
        for linear, trial in zip(linears, trials, strict=True):
            linear.weight = nn.Parameter(trial, requires_grad=False)
        yield trials
    finally:
        for linear, weight in zip(linears, kept, strict=True):
            linear.weight = weight
