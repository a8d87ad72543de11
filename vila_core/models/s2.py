"""Features at several scales: static S2 (VILA1.5) and dynamic S2 (NVILA).

Static S2 enlarges the tower's input to each scale itself; dynamic S2 is given every scale's tiles.
Both bring all scales to one grid and put them side by side on the channels, small scales first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vila_core.errors import CheckpointError
from vila_core.models.config import ImageConfig
from vila_core.models.projector import square_side

Encode = Callable[[Tensor], Tensor]  # a tower, [B, 3, S, S] -> [B, N, C], or a projector, [B, N, C] -> [B, M, D]
Block = tuple[int, int]  # rows, columns of tiles

TOWER_BATCH = 32  # tiles that run through the tower at once: bounds the memory of long videos


def encode_s2(tower: Encode, pixels: Tensor, images: ImageConfig) -> Tensor:
    """Encode pixels [B, 3, S, S] at every scale: [B, N, C * scales], N the tokens of the scale chosen.

    The pixels are enlarged in float32, cut into squares of at most s2_max_split_size, and encoded
    square by square.
    """
    maps = []
    for scale in images.s2_scales:
        sized = F.interpolate(pixels.float(), size=(scale, scale), mode="bicubic").to(pixels.dtype)
        side = -(-scale // (images.s2_max_split_size or pixels.shape[-1]))
        if scale % side:
            raise CheckpointError(f"s2_scales {scale} cannot be cut into {side} x {side} equal squares")
        squares = split_blocks(sized, (side, side))
        features = run_in_batches(tower, squares.flatten(0, 1)).unflatten(0, squares.shape[:2])
        maps.append(merge_blocks(tokens_to_map(features), (side, side)))
    return concat_scales(maps, images.s2_resize_index).flatten(2).transpose(1, 2)


def encode_dynamic_s2(
    tower: Encode, projector: Encode, tiles: Tensor, blocks: Sequence[Block | None], images: ImageConfig
) -> list[Tensor]:
    """Encode the tiles [n, 3, S, S] of pictures that lie one after another: [N_i, D] for each picture.

    blocks: of each picture the (rows, columns) of its last scale's tiles, None for a single tile.
    Raises ValueError if the blocks do not account for the tiles.
    """
    features = run_in_batches(tower, tiles)
    merged = list(merge_pictures(features, blocks, images))
    cut = [split_blocks(picture[None], block)[0] for picture, block in merged]  # [rows * cols, C, h, w]
    tokens = projector(torch.cat(cut).flatten(2).transpose(1, 2))
    counts = [rows * cols for _, (rows, cols) in merged]
    return [stitch(projected, block) for projected, (_, block) in zip(tokens.split(counts), merged, strict=True)]


def merge_pictures(
    features: Tensor, blocks: Sequence[Block | None], images: ImageConfig
) -> Iterator[tuple[Tensor, Block]]:
    """Join the tiles' features [n, N, C] to one map [C * scales, H, W] a picture, with the block to cut it in again."""
    counts = [tile_count(block, images.s2_scales) for block in blocks]
    if sum(counts) != len(features):
        raise ValueError(f"blocks {list(blocks)} need {sum(counts)} tiles, got {len(features)}")
    for tiles, block in zip(tokens_to_map(features).split(counts), blocks, strict=True):
        if block is None:
            yield tiles[0].repeat(len(images.s2_scales), 1, 1), (1, 1)
        else:
            grids = scale_blocks(block, images.s2_scales)
            scales = tiles.split([rows * cols for rows, cols in grids])
            maps = [merge_blocks(some[None], grid) for some, grid in zip(scales, grids, strict=True)]
            yield concat_scales(maps, images.s2_resize_index)[0], grids[images.s2_resize_index]


def scale_blocks(last: Block, scales: Sequence[int]) -> list[Block]:
    """(rows, columns) of tiles at every scale; only the last follows the picture's shape."""
    sides = [scale // scales[0] for scale in scales[:-1]]
    return [(side, side) for side in sides] + [last]


def tile_count(block: Block | None, scales: Sequence[int]) -> int:
    """Tiles that a picture has at all scales together."""
    return 1 if block is None else sum(rows * cols for rows, cols in scale_blocks(block, scales))


def concat_scales(maps: Sequence[Tensor], index: int) -> Tensor:
    """Average maps [B, C, h_i, w_i] to the size of maps[index], in float32, and concatenate their channels."""
    size = tuple(maps[index].shape[-2:])
    return torch.cat([F.interpolate(each.float(), size=size, mode="area").to(each.dtype) for each in maps], dim=1)


def stitch(tokens: Tensor, block: Block) -> Tensor:
    """Lay blocks' tokens [rows * cols, n, D] out in one grid, and read it row by row: [rows * cols * n, D]."""
    return merge_blocks(tokens_to_map(tokens)[None], block)[0].flatten(1).T


def split_blocks(maps: Tensor, block: Block) -> Tensor:
    """Cut maps [B, C, H, W] into [B, rows * cols, C, H / rows, W / cols], row by row."""
    rows, cols = block
    grid = maps.unflatten(-1, (cols, -1)).unflatten(-3, (rows, -1))  # [B, C, rows, h, cols, w]
    return grid.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def merge_blocks(blocks: Tensor, block: Block) -> Tensor:
    """Undo split_blocks: [B, rows * cols, C, h, w] -> [B, C, rows * h, cols * w]."""
    return blocks.unflatten(1, block).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def tokens_to_map(tokens: Tensor) -> Tensor:
    """[..., N, C], a square grid row by row -> [..., C, h, h]."""
    side = square_side(tokens.shape[-2])
    return tokens.transpose(-1, -2).unflatten(-1, (side, side))


def run_in_batches(tower: Encode, tiles: Tensor) -> Tensor:
    """Run the tower over tiles [n, 3, S, S], at most TOWER_BATCH at once: [n, N, C]."""
    if len(tiles) <= TOWER_BATCH:
        return tower(tiles)
    return torch.cat([tower(some) for some in tiles.split(TOWER_BATCH)])
