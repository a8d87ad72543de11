"""From prepared pictures to the rows of embeddings that stand in a prompt.

First the visual tokens (tower, S2, projector), then what the checkpoint's encoder makes of them:
start and end tokens around each picture or frame, and for TSP averages over time and space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vila_core.errors import CheckpointError, FrameError
from vila_core.models.config import CheckpointConfig, EncoderConfig, ImageConfig
from vila_core.models.preprocess import PreparedImage
from vila_core.models.projector import square_side, visual_token_count
from vila_core.models.s2 import Encode, encode_dynamic_s2, encode_s2, run_in_batches


def frame_tokens(config: CheckpointConfig) -> int:
    """Visual tokens of a frame, which is one tile; what an encoder puts around them is not counted."""
    vision, images = config.vision, config.images
    side = vision.grid
    if images.s2_scales and not images.dynamic_s2:
        side = vision.grid * max(1, round(images.s2_scales[images.s2_resize_index] / vision.image_size))
    return visual_token_count(config.projector.kind, side)


@dataclass(frozen=True, slots=True, eq=False)
class EncoderTokens:
    """Embeddings [k, D] of an encoder's start, end and separator texts; None where it has none."""

    start: Tensor | None = None
    end: Tensor | None = None
    sep: Tensor | None = None


def encoder_tokens(config: EncoderConfig, embed_text: Callable[[str], Tensor]) -> EncoderTokens:
    """Embed the encoder's texts. embed_text: text -> [k, D], the tokenizer's automatic BOS included."""
    start, end, sep = (
        embed_text(text) if text else None for text in (config.start_tokens, config.end_tokens, config.sep_tokens)
    )
    return EncoderTokens(start, end, sep)


def encode_pictures(
    tower: Encode, projector: Encode, pictures: Sequence[PreparedImage], images: ImageConfig
) -> list[Tensor]:
    """Visual tokens [N_i, D] for each `<image>` of the prompt: each tile, or with dynamic S2 each picture.

    The tiles must already have the tower's device and dtype.
    """
    if not pictures:
        return []
    tiles = torch.cat([picture.tiles for picture in pictures])
    if images.dynamic_s2:
        blocks = [block for picture in pictures for block in _blocks(picture)]
        return encode_dynamic_s2(tower, projector, tiles, blocks, images)
    features = encode_s2(tower, tiles, images) if images.s2_scales else run_in_batches(tower, tiles)
    return list(projector(features))


def encode_image(visual_tokens: Tensor, config: EncoderConfig, tokens: EncoderTokens) -> Tensor:
    """Rows [L, D] that take the place of one `<image>` with visual tokens [N, D]."""
    if config.kind != "basic":
        raise CheckpointError(f"image_encoder {config.kind!r} is not supported; supported: basic")
    return basic_image(visual_tokens, tokens)


def encode_video(visual_tokens: Tensor, config: EncoderConfig, tokens: EncoderTokens) -> Tensor:
    """Rows [L, D] that take the place of one `<vila/video>` whose frames have visual tokens [T, N, D]."""
    if config.kind == "basic":
        return basic_video(visual_tokens, tokens)
    if config.kind == "tsp":
        return tsp_video(visual_tokens, config.pool_sizes, tokens)
    raise CheckpointError(f"video_encoder {config.kind!r} is not supported; supported: basic, tsp")


def basic_image(visual_tokens: Tensor, tokens: EncoderTokens) -> Tensor:
    """Put the start and end tokens around a picture's visual tokens [N, D]: [L, D]."""
    return torch.cat([rows for rows in (tokens.start, visual_tokens, tokens.end) if rows is not None])


def basic_video(visual_tokens: Tensor, tokens: EncoderTokens) -> Tensor:
    """Put the start and end tokens around every frame [N, D] of [T, N, D], frames in time order: [L, D]."""
    return torch.cat([basic_image(frame, tokens) for frame in visual_tokens])


def tsp_video(visual_tokens: Tensor, pool_sizes: Sequence[tuple[int, int, int]], tokens: EncoderTokens) -> Tensor:
    """Average frames [T, N, D] at each pool size, each surrounded as a video and closed by the separator: [L, D].

    Raises FrameError if a pool size does not divide the frames, CheckpointError if it does not divide the grid.
    """
    if not pool_sizes:
        raise CheckpointError("video_encoder 'tsp' needs pool_sizes, got none")
    parts: list[Tensor] = []
    for size in pool_sizes:
        parts.append(basic_video(pool_video(visual_tokens, size), tokens))
        if tokens.sep is not None:
            parts.append(tokens.sep)
    return torch.cat(parts)


def pool_video(visual_tokens: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Average (frames, rows, columns) of tokens [T, N, D], N a square grid: [T / t, N / (h * w), D].

    One axis after the other, as the official code does: so the rounding is the same.
    """
    side = square_side(visual_tokens.shape[1])
    _check_pool_size(size, len(visual_tokens), side)
    pooled = visual_tokens.unflatten(1, (side, side))
    for axis, step in enumerate(size):
        pooled = pooled.unflatten(axis, (-1, step)).mean(axis + 1)
    return pooled.flatten(1, 2)


def _check_pool_size(size: tuple[int, int, int], frames: int, side: int) -> None:
    time, rows, cols = size
    if min(size) < 1 or side % rows or side % cols:
        raise CheckpointError(f"pool size {list(size)} does not divide a grid of {side} x {side} visual tokens")
    if frames % time:
        raise FrameError(f"a video of {frames} frames cannot be pooled {time} by {time}; take a multiple of {time}")


def _blocks(picture: PreparedImage) -> list[tuple[int, int] | None]:
    return [None] * len(picture.tiles) if picture.block is None else [picture.block]
