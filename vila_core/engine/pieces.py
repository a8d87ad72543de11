"""A prompt as the prefix cache compares it, and the embeddings of each of its pieces when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vila_core.engine.prefix_cache import Piece
from vila_core.models.projector import pool_tokens
from vila_core.models.vlm import Segment
from vila_core.types import Frame, Visual


def pieces_of(segments: Sequence[Segment], visuals: Sequence[Visual], visual_tokens: int) -> tuple[Piece, ...]:
    """Describe a segmented prompt. visual_tokens: of a whole frame."""
    return tuple(
        Piece.of_text(run.ids) if run.visual is None else _piece(visuals[run.visual], visual_tokens) for run in segments
    )


def _piece(visual: Visual, visual_tokens: int) -> Piece:
    return Piece(visual.tokens or visual_tokens, visual=visual.key)


def embed_visual(visual: Visual, encode: Callable[[Frame], Tensor]) -> Tensor:
    """Visual tokens [n, D] of a visual: pooled in space, then averaged over the frames merged in it.

    encode: frame -> all its visual tokens [N, D].
    """
    frames = (*visual.merged, visual.frame)
    rows = [encode(frame) if visual.tokens is None else pool_tokens(encode(frame), visual.tokens) for frame in frames]
    return rows[0] if len(rows) == 1 else torch.stack(rows).mean(0)
