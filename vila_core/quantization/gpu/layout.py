"""4-bit weights as torch's own matrix product for GPUs (tinygemm) reads them, there and back.

Source: pytorch, aten/src/ATen/native/cuda/int4mm.cu, matrix_to_m16n8k16_Bint4_layout. A word holds eight values of one
output: of 32 inputs those numbered 2 (c + 4 i) + p, where c = 0..3 tells words apart and i + 4 p numbers the nibble.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

OUTPUTS = 8  # of a tile
PAIR = 32  # inputs of two tiles, which share their words
INNER_TILES = (8, 4, 2)  # tiles of 16 inputs that lie together: the widest loads first
GROUPS = (32, 64, 128, 256)  # inputs that may share a scale
MIDDLE = 8  # the value that stands for zero before the group's own zero is added


@dataclass(frozen=True, slots=True, eq=False)
class Int4Weight:
    """W [N, K] = (values - 8) * scale + zero, values 0..15.

    packed: int32 [N/8, K/(16 I), 32, I/2] for I inner tiles. table: bfloat16 [G, N, 2], scale and zero.
    """

    packed: Tensor
    table: Tensor

    @property
    def outputs(self) -> int:
        """N."""
        return self.table.shape[1]

    @property
    def inputs(self) -> int:
        """K."""
        return self.packed.shape[1] * self.packed.shape[3] * PAIR

    @property
    def group(self) -> int:
        """Inputs that share a scale."""
        return self.inputs // self.table.shape[0]

    def tile(self, begin: int, end: int) -> Int4Weight:
        """The outputs begin..end, multiples of 8; the weights are views."""
        return Int4Weight(self.packed[begin // OUTPUTS : end // OUTPUTS], self.table[:, begin:end])

    def dequantized(self, dtype: torch.dtype) -> Tensor:
        """W [N, K]."""
        return _scaled(unpack_tiles(self.packed), self.table, dtype)

    def rows(self, numbers: Tensor) -> Tensor:
        """Rows [U, K] float32 of W; numbers: [U] int64."""
        words = _by_output(self.packed)[numbers // OUTPUTS, numbers % OUTPUTS]
        return _scaled(_unpack_words(words), self.table[:, numbers], torch.float32)


def pack_int4(values: Tensor, scales: Tensor, zeros: Tensor, inner_tiles: int) -> Int4Weight:
    """Pack values [N, K] uint8 with scales [N, G] and zeros [N, G], where W = (values - zeros) * scales."""
    return Int4Weight(pack_tiles(values, inner_tiles), scales_and_zeros(scales, zeros))


def scales_and_zeros(scales: Tensor, zeros: Tensor) -> Tensor:
    """Scales and zeros [N, G] of (q - zero) * scale -> [G, N, 2] bfloat16 of (q - 8) * scale + zero."""
    wide = scales.float()
    return torch.stack((wide, (MIDDLE - zeros.float()) * wide), dim=-1).transpose(0, 1).contiguous().bfloat16()


def fits_tiles(outputs: int, inputs: int, group: int, inner_tiles: int = INNER_TILES[-1]) -> bool:
    """Tell if a weight of these sizes can be packed so."""
    return not (outputs % OUTPUTS or inputs % (16 * inner_tiles) or group not in GROUPS or inputs % group)


def pack_tiles(values: Tensor, inner_tiles: int) -> Tensor:
    """[N, K] uint8, each below 16 -> int32 [N/8, K/(16 I), 32, I/2]."""
    outputs, inputs = values.shape
    shape = (outputs // OUTPUTS, OUTPUTS, inputs // (16 * inner_tiles), inner_tiles // 2, 2, 2, 4, 2)
    nibbles = values.view(shape).permute(0, 2, 1, 6, 3, 7, 4, 5)  # [n, k, row, c, pair, p, i / 2, i % 2]
    packed = (nibbles[..., 0] | nibbles[..., 1] << 4).contiguous()  # two nibbles a byte, p and i / 2 number a word's
    return packed.flatten(-2).view(torch.int32).view(shape[0], shape[2], 32, shape[3])


def unpack_tiles(packed: Tensor) -> Tensor:
    """int32 [N/8, K/(16 I), 32, I/2] -> [N, K] uint8; undoes pack_tiles."""
    return _unpack_words(_by_output(packed).flatten(0, 1))


def _by_output(packed: Tensor) -> Tensor:
    """A view [N/8, 8, K/(16 I), 4, I/2] of the words."""
    n, k, _, pairs = packed.shape
    return packed.view(n, k, OUTPUTS, 4, pairs).transpose(1, 2)


def _unpack_words(words: Tensor) -> Tensor:
    """int32 [R, K/(16 I), 4, I/2] -> [R, K] uint8."""
    octets = words.contiguous().view(torch.uint8).unflatten(-1, (-1, 2, 2))
    nibbles = torch.stack((octets & 15, octets >> 4), dim=-1)  # [R, k, c, pair, p, i / 2, i % 2]
    return nibbles.permute(0, 1, 3, 5, 6, 2, 4).reshape(len(words), -1)


def _scaled(values: Tensor, table: Tensor, dtype: torch.dtype) -> Tensor:
    """Values [N, K] uint8 -> W [N, K], rounded once."""
    grouped = (values.view(torch.int8) - MIDDLE).unflatten(1, (table.shape[0], -1)).to(dtype)
    scale, zero = (part.T[..., None] for part in table.to(dtype).unbind(-1))
    return torch.addcmul(zero, grouped, scale).flatten(1)
