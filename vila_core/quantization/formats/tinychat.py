"""TinyChat's packings of 4-bit weights: v1, and v2 with rows interleaved for its kernels.

Source: mit-han-lab/llm-awq, awq/quantize/qmodule.py and tinychat/offline-weight-repacker.py.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vila_core.quantization.formats.nibbles import pack_int32, unpack_int32

ROWS, STRIDE = 4, 64  # v2: rows interleaved, in runs of so many columns
_PAD = 8  # groups that scales and zeros are padded to a multiple of; of smaller groups see padded_groups


def pack_v2(values: Tensor) -> Tensor:
    """[N, K] uint8 -> qweight [N/4, K] int16. Raises ValueError unless 4 divides N and 64 divides K."""
    rows, width = values.shape
    if rows % ROWS or width % STRIDE:
        raise ValueError(f"TinyChat's v2 packs shapes [{ROWS} n, {STRIDE} k], not {list(values.shape)}")
    spread = values.reshape(rows, width // 32, 4, 4, 2).transpose(2, 3)  # runs of 32: 0, 1, 8, 9, 16, 17, 24, 25, ...
    spread = spread.reshape(rows, width // 32, 4, 4, 2).transpose(3, 4)  # each 8: 0, 2, 4, 6, 1, 3, 5, 7
    woven = spread.reshape(rows // ROWS, ROWS, width // STRIDE, STRIDE).transpose(1, 2)
    nibbles = woven.reshape(rows // ROWS, width, ROWS).to(torch.int32)
    shifts = 4 * torch.arange(ROWS, device=values.device, dtype=torch.int32)
    return (nibbles << shifts).sum(-1).to(torch.int16)


def unpack_v2(qweight: Tensor) -> Tensor:
    """[N/4, K] int16 -> [N, K] uint8; undoes pack_v2."""
    quarters, width = qweight.shape
    rows = quarters * ROWS
    shifts = 4 * torch.arange(ROWS, device=qweight.device, dtype=torch.int16)
    nibbles = ((qweight[..., None] >> shifts) & 15).to(torch.uint8)
    woven = nibbles.reshape(quarters, width // STRIDE, ROWS, STRIDE).transpose(1, 2)
    spread = woven.reshape(rows, width // 32, 4, 2, 4).transpose(3, 4)
    return spread.reshape(rows, width // 32, 4, 4, 2).transpose(2, 3).reshape(rows, width)


def pack_v2_scales(scales: Tensor, zeros: Tensor, group_size: int = 128) -> tuple[Tensor, Tensor]:
    """Scales and zeros [N, G] -> scales and scaled_zeros = -(scale * zero) [padded G, N] float16."""
    scaled = -(scales * zeros.to(scales.dtype))
    extra = padded_groups(scales.shape[1], group_size) - scales.shape[1]
    rows, zero_rows = (torch.nn.functional.pad(each.to(torch.float16), (0, extra)).T for each in (scales, scaled))
    return rows.contiguous(), zero_rows.contiguous()


def unpack_v2_scales(scales: Tensor, scaled_zeros: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Undo pack_v2_scales: scales [N, G] float16 and zeros [N, G] uint8."""
    scales, scaled = scales[:groups].T.contiguous(), scaled_zeros[:groups].T
    wide = scales.float()
    zeros = torch.where(wide == 0, torch.zeros_like(wide), torch.round(-scaled.float() / wide))
    return scales, zeros.clamp(0, 15).to(torch.uint8)


def pack_v1(values: Tensor) -> Tensor:
    """[N, K] uint8 -> qweight [N, K/8] int32, columns in order."""
    return pack_int32(values)


def unpack_v1(qweight: Tensor) -> Tensor:
    """[N, K/8] int32 -> [N, K] uint8."""
    return unpack_int32(qweight)


def unpack_v1_scales(scales: Tensor, qzeros: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """v1's scales [N, padded G] and qzeros int32 -> scales [N, G] float16 and zeros [N, G] uint8."""
    return scales[:, :groups].contiguous(), unpack_int32(qzeros)[:, :groups].contiguous()


def padded_groups(groups: int, group_size: int = 128) -> int:
    """Groups that are stored for as many used ones: a multiple of 8, of 16 for groups of 64, of 32 for groups of 32.

    Source: calculate_zeros_width.
    """
    multiple = _PAD * {64: 2, 32: 4}.get(group_size, 1)
    return -(-groups // multiple) * multiple
