"""Our own neutral layout of 4-bit values, and the bit work that the foreign ones share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PER_INT32 = 8


def pack_pairs(values: Tensor) -> Tensor:
    """[N, K] uint8, each below 16 -> [N, K/2] uint8: the even column in the low four bits."""
    if values.shape[-1] % 2:
        raise ValueError(f"4-bit values are packed in pairs, but the width is {values.shape[-1]}")
    return values[..., 0::2] | (values[..., 1::2] << 4)


def unpack_pairs(packed: Tensor) -> Tensor:
    """[..., K/2] uint8 -> [..., K] uint8; undoes pack_pairs."""
    return torch.stack((packed & 15, packed >> 4), dim=-1).flatten(-2)


def pack_int32(values: Tensor, order: Sequence[int] = tuple(range(PER_INT32))) -> Tensor:
    """[..., W] uint8 -> [..., W/8] int32: nibble i of each word holds the word's value number order[i]."""
    if values.shape[-1] % PER_INT32:
        raise ValueError(f"4-bit values are packed by eight, but the width is {values.shape[-1]}")
    words = values.unflatten(-1, (-1, PER_INT32))[..., list(order)].to(torch.int64)
    return (words << _shifts(values.device)).sum(-1).to(torch.int32)


def unpack_int32(packed: Tensor, order: Sequence[int] = tuple(range(PER_INT32))) -> Tensor:
    """[..., W/8] int32 -> [..., W] uint8; undoes pack_int32."""
    nibbles = ((packed[..., None] >> _shifts(packed.device).to(torch.int32)) & 15).to(torch.uint8)
    values = torch.empty_like(nibbles)
    values[..., list(order)] = nibbles
    return values.flatten(-2)


def _shifts(device: torch.device) -> Tensor:
    return 4 * torch.arange(PER_INT32, device=device)
