"""AWQ's second search: how far to cut the largest weights of each group, so that the others get finer steps.

Source: mit-han-lab/llm-awq, awq/quantize/auto_clip.py. The error of a group's output, the mean of (x (q - w))^2 over
tokens, is computed as (q - w) H (q - w) with H the mean of x x^T: the same number, a small part of the work.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vila_core.quantization.groupwise import fitting_group, pseudo_quantize, row_blocks, split_groups

STEPS = 20
SHRINKS = 10  # steps tried: down to half
SAMPLED_TOKENS = 512


@torch.no_grad()
def search_clip(weight: Tensor, inputs: Tensor, *, bits: int, group_size: int) -> Tensor:
    """Return the largest magnitude [N, G, 1] to which each group of the weight [N, K] is best cut.

    inputs: [T, K], what the linear reads. ValueError with fewer than 512 tokens.
    """
    group = fitting_group(weight.shape[1], group_size)
    moments = input_moments(inputs, group)
    return torch.cat([_search(weight[rows], moments, bits, group) for rows in row_blocks(weight)])


@torch.no_grad()
def clip_weight_(weight: Tensor, largest: Tensor) -> Tensor:
    """Cut the weight [N, K], which must be contiguous, to the magnitudes [N, G, 1], in place."""
    weight.view(*largest.shape[:2], -1).clamp_(-largest, largest)
    return weight


def input_moments(inputs: Tensor, group_size: int) -> Tensor:
    """Second moments [G, group, group] of the inputs [T, K] within each group, over sampled tokens.

    Every (T // 512)th token is taken, as in the reference. ValueError with fewer than 512.
    """
    if len(inputs) < SAMPLED_TOKENS:
        raise ValueError(f"{len(inputs)} tokens of calibration are too few; at least {SAMPLED_TOKENS} are needed")
    sampled = inputs[:: len(inputs) // SAMPLED_TOKENS]
    groups = split_groups(sampled, group_size).transpose(0, 1)  # [G, T, group]
    return groups.transpose(1, 2) @ groups / len(sampled)


def _search(weight: Tensor, moments: Tensor, bits: int, group: int) -> Tensor:
    groups = split_groups(weight, group)
    whole = groups.abs().amax(-1, keepdim=True)
    best, least = whole.clone(), torch.full_like(whole, 1e9)
    for step in range(SHRINKS):
        largest = whole * (1 - step / STEPS)
        cut = groups.clamp(-largest, largest).flatten(1)
        change = split_groups(pseudo_quantize(cut, bits, group) - weight, group).transpose(0, 1)  # [G, rows, group]
        error = ((change @ moments) * change).sum(-1).T[..., None]
        better = error < least
        least[better], best[better] = error[better], largest[better]
    return best
