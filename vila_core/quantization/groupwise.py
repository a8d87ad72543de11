"""Asymmetric quantization of weights in groups along the input width, rounded exactly as AWQ's reference does.

Source: mit-han-lab/llm-awq, pseudo_quantize_tensor. The arithmetic is done in the weight's own dtype.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_LEAST_RANGE = 1e-5  # of a group's values; an all-zero group has one too
_BLOCK_WEIGHTS = 1 << 19  # worked on at a time, so that what is made on the way stays in the processor's cache


@dataclass(frozen=True, slots=True, eq=False)
class GroupQuantized:
    """A weight [N, K] in G groups a row: weight = (values - zeros) * scales.

    values: [N, K] uint8. scales: [N, G] float. zeros: [N, G] uint8.
    """

    values: Tensor
    scales: Tensor
    zeros: Tensor

    @property
    def group_size(self) -> int:
        """Columns that share a scale."""
        return self.values.shape[1] // self.scales.shape[1]


def quantize_groups(weight: Tensor, bits: int, group_size: int) -> GroupQuantized:
    """Quantize a weight [N, K]; group_size -1: a whole row.

    Raises ValueError if the group size does not divide K.
    """
    groups = split_groups(weight, group_size)
    scales, zeros = _scales_and_zeros(groups, bits)
    return _rounded(groups, scales, zeros, bits)


def quantize_for_storage(weight: Tensor, bits: int, group_size: int) -> GroupQuantized:
    """The same, with scales in float16 as they are stored, and values rounded with those: a smaller error."""
    parts = [_for_storage(weight[rows], bits, group_size) for rows in row_blocks(weight)]
    return GroupQuantized(
        torch.cat([part.values for part in parts]),
        torch.cat([part.scales for part in parts]),
        torch.cat([part.zeros for part in parts]),
    )


def dequantize_groups(quantized: GroupQuantized, dtype: torch.dtype | None = None) -> Tensor:
    """Return the weight [N, K], in the scales' dtype or the one given."""
    dtype = dtype or quantized.scales.dtype
    grouped = split_groups(quantized.values, quantized.group_size).to(dtype)
    return ((grouped - quantized.zeros[..., None].to(dtype)) * quantized.scales[..., None].to(dtype)).flatten(1)


def pseudo_quantize(weight: Tensor, bits: int, group_size: int) -> Tensor:
    """Return the weight [N, K] as it is after quantization."""
    groups = split_groups(weight, group_size)
    scales, zeros = _scales_and_zeros(groups, bits)
    steps = torch.round(groups / scales).add_(zeros).clamp_(0, 2**bits - 1)
    return steps.sub_(zeros).mul_(scales).flatten(1)


def row_blocks(weight: Tensor) -> Iterator[slice]:
    """Cut the rows of a weight [N, K] into blocks that are quick to work on one by one."""
    step = max(1, _BLOCK_WEIGHTS // weight.shape[1])
    for begin in range(0, len(weight), step):
        yield slice(begin, begin + step)


def split_groups(weight: Tensor, group_size: int) -> Tensor:
    """[N, K] -> [N, G, group]. Raises ValueError if the group size does not divide K."""
    width = weight.shape[-1]
    group = width if group_size == -1 else group_size
    if group < 1 or width % group:
        raise ValueError(f"a width of {width} cannot be cut into groups of {group_size}")
    return weight.reshape(weight.shape[0], width // group, group)


def fitting_group(width: int, group_size: int) -> int:
    """Return the group size if it divides the width, else the largest power of two below it that does."""
    if width % group_size == 0:
        return group_size
    group = 1 << (group_size.bit_length() - 1)
    while width % group:
        group //= 2
    return group


def _scales_and_zeros(groups: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """[N, G, group] -> [N, G, 1] each."""
    most = 2**bits - 1
    high, low = groups.amax(-1, keepdim=True), groups.amin(-1, keepdim=True)
    scales = (high - low).clamp(min=_LEAST_RANGE) / most
    return scales, (-torch.round(low / scales)).clamp_(0, most)


def _for_storage(weight: Tensor, bits: int, group_size: int) -> GroupQuantized:
    groups = split_groups(weight, group_size)
    scales, zeros = _scales_and_zeros(groups, bits)
    half = scales.to(torch.float16)
    found = _rounded(groups, half.to(weight.dtype), zeros, bits)
    return GroupQuantized(found.values, half[..., 0], found.zeros)


def _rounded(groups: Tensor, scales: Tensor, zeros: Tensor, bits: int) -> GroupQuantized:
    values = (torch.round(groups / scales) + zeros).clamp_(0, 2**bits - 1)
    return GroupQuantized(values.to(torch.uint8).flatten(1), scales[..., 0], zeros[..., 0].to(torch.uint8))
