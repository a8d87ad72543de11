"""A small head that tells, frame by frame, whether what a question names goes on.

It sees what there is through the decoder's visual tokens, and what changes through small pictures of its own: tokens
of a still picture hardly tell a slow slide. Not part of official checkpoints; vila-nano has one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vila_core.errors import CheckpointError

MAX_WORDS = 48  # tokens of a question that are read
THUMBNAIL_PX = 48
LAGS = (1, 4)  # frames back, that a small picture is compared with
_CONTRAST = 4.0  # of changes, which are small
_DILATIONS = (1, 2, 4, 1)


@dataclass(frozen=True, slots=True)
class RelevanceConfig:
    """Sizes of a head. period_s: time between the frames that it was trained on."""

    visual_tokens: int  # of a frame
    visual_width: int
    text_width: int  # of the decoder's embeddings
    width: int = 128
    text_layers: int = 2
    frame_width: int = 64  # of a visual token, before its frame is one vector
    frame_blocks: int = 2
    heads: int = 4
    period_s: float = 0.25

    def __post_init__(self) -> None:
        for name in ("visual_tokens", "visual_width", "text_width", "width", "heads", "period_s"):
            if getattr(self, name) <= 0:
                raise CheckpointError(f"relevance head: {name} = {getattr(self, name)!r} must be above 0")
        if self.grid**2 != self.visual_tokens:
            raise CheckpointError(f"relevance head: {self.visual_tokens} visual tokens are no square grid")
        if self.width % self.heads:
            raise CheckpointError(f"relevance head: width {self.width} must be a multiple of heads {self.heads}")

    @property
    def grid(self) -> int:
        """Rows, and columns, of a frame's visual tokens."""
        return math.isqrt(self.visual_tokens)


class RelevanceHead(nn.Module):
    """Questions and frames in, one logit a frame and question out."""

    def __init__(self, config: RelevanceConfig) -> None:
        super().__init__()
        self.config = config
        width, narrow = config.width, config.frame_width
        self.question = QuestionEncoder(config)
        self.look = nn.Sequential(nn.LayerNorm(config.visual_width), nn.Linear(config.visual_width, narrow))
        self.motion = MotionEncoder(config.grid, narrow)
        self.shake = nn.Linear(narrow, narrow)  # the mean over the picture: how the camera itself moves
        self.place = nn.Parameter(torch.zeros(config.visual_tokens, narrow))
        self.blocks = nn.ModuleList(
            Modulated(nn.Linear(narrow, 2 * narrow), narrow, width) for _ in range(config.frame_blocks)
        )
        self.pool = nn.Linear(2 * narrow, width)
        self.times = nn.ModuleList(
            Modulated(nn.Conv1d(width, width, 3, padding=rate, dilation=rate), width, width) for rate in _DILATIONS
        )
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, 1)

    def forward(self, visual_tokens: Tensor, thumbnails: Tensor, words: Tensor, known: Tensor) -> Tensor:
        """Score each frame for each clip's question.

        visual_tokens: [B, T, N, C]. thumbnails: [B, T, 48, 48, 3] uint8. words: [B, L, E], the decoder's embeddings of
        the question's tokens. known: [B, L] bool, False at padding. Returns logits [B, T].
        """
        seen = self.seen(visual_tokens, thumbnails)
        return self.over_time(seen[:, None], self.question(words, known)[:, None])[:, 0]

    def seen(self, visual_tokens: Tensor, thumbnails: Tensor) -> Tensor:
        """What each frame shows and how it differs from those before it: [B, T, N, F]."""
        motion = self.motion(thumbnails)
        return self.look(visual_tokens) + self.place + motion + self.shake(motion.mean(dim=2, keepdim=True))

    def over_time(self, seen: Tensor, questions: Tensor) -> Tensor:
        """Score frames for several questions.

        seen: [B, 1 or Q, T, N, F]. questions: [B, Q, D]. Returns logits [B, Q, T].
        """
        hidden = seen
        for block in self.blocks:
            hidden = hidden + block(hidden, questions[:, :, None, None])
        frames = self.pool(torch.cat((hidden.amax(dim=3), hidden.mean(dim=3)), dim=-1))  # [B, Q, T, D]
        for block in self.times:
            frames = frames + block(frames, questions[:, :, None])
        return self.score(self.norm(frames))[..., 0]


class MotionEncoder(nn.Module):
    """Small pictures and how they differ from earlier ones -> one vector for each cell of the visual tokens' grid."""

    def __init__(self, grid: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3 * (1 + len(LAGS)), 24, 5, stride=3, padding=2),
            nn.GELU(),
            nn.Conv2d(24, 48, 3, stride=2, padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(grid),
            nn.Conv2d(48, width, 3, padding=1),
            nn.GELU(),
        )
        self.back = nn.Linear(width, width)

    def forward(self, thumbnails: Tensor) -> Tensor:
        """[B, T, 48, 48, 3] uint8 (or float, 0..255) -> [B, T, N, F]. The first frames are compared with the first."""
        pictures = thumbnails.float() / 127.5 - 1.0
        at = torch.arange(pictures.shape[1], device=pictures.device)
        earlier = (pictures[:, (at - lag).clamp(min=0)] for lag in LAGS)
        inputs = torch.cat((pictures, *(_CONTRAST * (pictures - other) for other in earlier)), dim=-1)
        inputs = inputs.flatten(0, 1).permute(0, 3, 1, 2)  # channels last in memory, which is quicker
        return self.back(self.layers(inputs).flatten(2).transpose(1, 2)).unflatten(0, pictures.shape[:2])


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink an image [H, W, 3] to the head's small picture [48, 48, 3], whatever its proportions."""
    small = cv2.resize(image, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8, copy=False)


class QuestionEncoder(nn.Module):
    """A question's tokens -> one vector."""

    def __init__(self, config: RelevanceConfig) -> None:
        super().__init__()
        width = config.width
        self.words = nn.Linear(config.text_width, width)
        self.order = nn.Parameter(torch.zeros(MAX_WORDS, width))
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.text_layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, words: Tensor, known: Tensor) -> Tensor:
        """[B, L, E] embeddings, [B, L] bool -> [B, D]; tokens beyond MAX_WORDS are not read."""
        words, known = words[:, :MAX_WORDS], known[:, :MAX_WORDS]
        hidden = self.layers(self.words(words) + self.order[: words.shape[1]], src_key_padding_mask=~known)
        weight = known[..., None].to(hidden.dtype)
        return self.norm((hidden * weight).sum(dim=1) / weight.sum(dim=1))


class Modulated(nn.Module):
    """Norm, a widening layer whose outputs the question scales and shifts, GELU, and back."""

    def __init__(self, widen: nn.Linear | nn.Conv1d, width: int, question_width: int) -> None:
        super().__init__()
        inner = widen.weight.shape[0]
        self.norm = nn.LayerNorm(width)
        self.widen = widen
        self.tune = nn.Linear(question_width, 2 * inner)
        self.back = nn.Linear(inner, width)

    def forward(self, x: Tensor, question: Tensor) -> Tensor:
        """x: [..., D] (a convolution runs along the dimension before the last). question: [..., D], broadcast."""
        scale, shift = self.tune(question).chunk(2, dim=-1)
        return self.back(F.gelu(self._widened(self.norm(x)) * (1 + scale) + shift))

    def _widened(self, x: Tensor) -> Tensor:
        if isinstance(self.widen, nn.Linear):
            return self.widen(x)
        rows = x.flatten(0, -3).transpose(-1, -2)
        return self.widen(rows).transpose(-1, -2).unflatten(0, x.shape[:-2])
