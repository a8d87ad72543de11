"""The reference's own losses, by which it chooses a scale or a clip: what a choice costs, whoever made it.

Source: mit-han-lab/llm-awq, awq/quantize/auto_scale.py and auto_clip.py. They stand here on their own, so that a
fault of the searches does not measure itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vila_core.quantization.awq_block import Block, Pair


def scale_loss(block: Block, pair: Pair, inputs: Tensor, scales: Tensor, *, bits: int, group_size: int) -> float:
    """Return the mean squared change of what the pair inspects when its linears are scaled, rounded and scaled back.

    inputs: [T, K], what the linears read. scales: [K].
    """
    weights = {name: block.linear(name).weight.data for name in pair.linears}
    trials = {name: rounded(weight * scales, bits, group_size) / scales for name, weight in weights.items()}
    change = _inspected(block, pair, inputs, trials) - _inspected(block, pair, inputs, weights)
    return float(change.double().square().mean())


def clip_losses(weight: Tensor, inputs: Tensor, largest: Tensor, *, bits: int, group_size: int) -> Tensor:
    """Return the mean squared change [N, G] of each group's product when the weight [N, K] is cut and rounded.

    inputs: [T, K], as sampled. largest: [N, G, 1].
    """
    groups = weight.unflatten(1, (-1, group_size))
    cut = groups.clamp(-largest, largest).flatten(1)
    change = (rounded(cut, bits, group_size) - weight).unflatten(1, (-1, group_size))
    return (
        torch.einsum("tgk,ngk->tng", inputs.unflatten(1, (-1, group_size)).double(), change.double()).square().mean(0)
    )


def rounded(weight: Tensor, bits: int, group_size: int) -> Tensor:
    """Return the weight [N, K] rounded to so many bits in groups, as the reference's pseudo_quantize_tensor does."""
    most = 2**bits - 1
    groups = weight.unflatten(1, (-1, group_size))
    high, low = groups.amax(-1, keepdim=True), groups.amin(-1, keepdim=True)
    steps = (high - low).clamp(min=1e-5) / most
    zeros = (-torch.round(low / steps)).clamp(0, most)
    return ((torch.round(groups / steps) + zeros).clamp(0, most).sub(zeros) * steps).flatten(1)


def _inspected(block: Block, pair: Pair, inputs: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Run what the pair inspects with these weights of its linears."""
    kept = {name: block.linear(name).weight.data for name in weights}
    try:
        for name, weight in weights.items():
            block.linear(name).weight.data = weight
        if pair.inspected == "self_attn":
            return torch.cat([block.attend(prompt) for prompt in inputs.split(list(block.lengths))])
        return block.module.get_submodule(pair.inspected or pair.linears[0])(inputs)
    finally:
        for name, weight in kept.items():
            block.linear(name).weight.data = weight
