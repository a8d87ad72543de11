"""A small head that tells, frame by frame, whether what a question names goes on.

It looks where the question says: through the decoder's visual tokens, through eyes of its own for a larger picture
(what is far away is small), and through small pictures, which show what changes. Not part of official checkpoints;
vila-nano has one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vila_core.config import check_fields
from vila_core.errors import CheckpointError
from vila_core.models.config import VisionConfig
from vila_core.models.preprocess import normalise_pixels
from vila_core.models.relevance_parts import (
    DistanceReader,
    FreeSpaceReader,
    MotionEncoder,
    Neighbours,
    QuestionEncoder,
    TemporalBlock,
    compared_with,
)
from vila_core.models.vision_tower import VisionTower

THUMBNAIL_PX = 96
PLACE_MAP, EVENT_MAP = 0, 1  # of a question's maps: where the thing is; where what is asked goes on
_MOST_LAYERS, _MOST_SIZE = 1000, 1 << 16
_DILATIONS = (1, 2, 4, 8, 1)


@dataclass(frozen=True, slots=True)
class RelevanceConfig:
    """Sizes of a head.

    period_s: time between the frames that it was trained on. distance_width: of what tells how far off things are;
    free_space_width: of what tells how far the floor is free; 0: it was not taught that.
    """

    visual_tokens: int  # of a frame
    visual_width: int
    text_width: int  # of the decoder's embeddings
    picture_px: int  # the side of the larger picture
    patch_px: int
    eyes_width: int  # of a vision tower for that picture
    eyes_intermediate: int
    eyes_layers: int
    eyes_heads: int
    width: int = 128
    text_layers: int = 2
    heads: int = 4
    cell_width: int = 48
    maps: int = 8  # of the cells, for each question
    value_width: int = 24  # of what a map gathers
    period_s: float = 0.25
    distance_width: int = 0
    free_space_width: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        for name in self.__slots__:
            most = _MOST_LAYERS if name.endswith("layers") else _MOST_SIZE
            value, may_be_0 = getattr(self, name), name in ("distance_width", "free_space_width")
            if not (0 < value <= most or (may_be_0 and value == 0)):
                least = "0 or more" if may_be_0 else "above 0"
                raise CheckpointError(f"relevance head: {name} = {value!r} must be {least}, at most {most}")
        if math.isqrt(self.visual_tokens) ** 2 != self.visual_tokens:
            raise CheckpointError(f"relevance head: visual_tokens = {self.visual_tokens} are no square grid")
        if self.picture_px % self.patch_px or self.eyes_width % self.eyes_heads:
            raise CheckpointError(
                f"relevance head: picture_px {self.picture_px}, patch_px {self.patch_px}; "
                f"eyes_width {self.eyes_width}, eyes_heads {self.eyes_heads}"
            )
        if self.grid % math.isqrt(self.visual_tokens):
            raise CheckpointError(f"relevance head: {self.grid} rows of cells on {self.visual_tokens} visual tokens")
        if self.width % self.heads or self.maps <= EVENT_MAP:
            raise CheckpointError(f"relevance head: width {self.width}, heads {self.heads}, maps {self.maps}")

    @property
    def grid(self) -> int:
        """Rows, and columns, of a frame's cells: the larger picture's patches."""
        return self.picture_px // self.patch_px

    @property
    def eyes(self) -> VisionConfig:
        """The tower that sees the larger picture."""
        return VisionConfig(
            hidden_size=self.eyes_width,
            intermediate_size=self.eyes_intermediate,
            layers=self.eyes_layers,
            heads=self.eyes_heads,
            image_size=self.picture_px,
            patch_size=self.patch_px,
            eps=1e-6,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        )


class RelevanceHead(nn.Module):
    """Questions and frames in, one logit a frame and question out. M cells of a frame, K maps."""

    centres: Tensor

    def __init__(self, config: RelevanceConfig) -> None:
        super().__init__()
        self.config = config
        width, cell, cells = config.width, config.cell_width, config.grid**2
        self.question = QuestionEncoder(config.text_width, width, config.text_layers, config.heads)
        self.eyes = VisionTower(config.eyes)
        self.look = nn.Sequential(nn.LayerNorm(config.eyes_width), nn.Linear(config.eyes_width, 2 * cell), nn.GELU())
        self.glance = nn.Sequential(nn.LayerNorm(config.visual_width), nn.Linear(config.visual_width, 2 * cell))
        self.join = nn.Linear(2 * cell, cell)
        self.place = nn.Parameter(torch.zeros(cells, cell))
        self.motion = MotionEncoder(config.grid, cell)
        self.shake = nn.Linear(cell, cell)  # the mean over the picture: how the camera itself moves
        self.near = Neighbours(config.grid, cell)
        self.norm = nn.LayerNorm(cell)
        self.asked = nn.Linear(width, config.maps * (cell + 1))  # what each map looks for, and its threshold
        self.values = nn.Linear(cell, config.value_width)
        self.pool = nn.Linear(config.maps * (config.value_width + 4), width)
        self.times = nn.ModuleList(TemporalBlock(width, dilation) for dilation in _DILATIONS)
        self.last = nn.LayerNorm(width)
        self.score = nn.Linear(width, 1)
        self.direct = nn.Linear(width, config.maps)  # how much the best cell of each map counts by itself
        nn.init.zeros_(self.direct.weight)
        with torch.no_grad():
            self.direct.bias.zero_()[EVENT_MAP] = 0.5
        sizes, far, free = (config.grid, config.eyes_width), config.distance_width, config.free_space_width
        self.distance = DistanceReader(*sizes, far) if far else None
        self.free_space = FreeSpaceReader(*sizes, free) if free else None
        self.register_buffer("centres", _centres(config.grid), persistent=False)

    def forward(self, still: Tensor, thumbnails: Tensor, questions: Tensor) -> tuple[Tensor, Tensor]:
        """Score each frame for each question.

        still: [B, T, M, F], see `still`. thumbnails: [B, T, 96, 96, 3] uint8. questions: [B, Q, D], see `question`.
        Returns logits [B, Q, T] and the maps' logits [B, Q, T, M, K].
        """
        cells = self.seen(still, thumbnails)
        maps = self.maps(cells, questions)
        return self.over_time(self.told(cells, maps), questions), maps

    def features(self, pictures: Tensor) -> Tensor:
        """What the eyes see of pictures [B, S, S, 3], 0..255: [B, M, E], row by row."""
        return self.eyes(normalise_pixels(pictures, self.config.eyes, self.score.weight.dtype))

    def distances(self, features: Tensor) -> Tensor:
        """How far off, in metres along the floor, the thing is that each cell shows, if it shows one: [B, M].

        features: [B, M, E], see `features`. The head must have been taught that, see RelevanceConfig.
        """
        assert self.distance is not None
        return self.distance(features).exp()

    def free_ranges(self, features: Tensor) -> Tensor:
        """How far, in metres, the floor is free in the direction of each column of cells, from the left: [B, columns].

        features: as of `distances`. The head must have been taught that, too.
        """
        assert self.free_space is not None
        return self.free_space(features).exp()

    def still(self, visual_tokens: Tensor, features: Tensor) -> Tensor:
        """What single frames show: [..., M, F].

        visual_tokens: [..., N, C]. features: [..., M, E], see `features`.
        """
        coarse = math.isqrt(self.config.visual_tokens)
        glance = self.glance(visual_tokens).unflatten(-2, (coarse, coarse))
        for dim in (-3, -2):
            glance = glance.repeat_interleave(self.config.grid // coarse, dim=dim)
        return self.join(self.look(features) + glance.flatten(-3, -2)) + self.place

    def seen(self, still: Tensor, thumbnails: Tensor, earlier: Sequence[Tensor] | None = None) -> Tensor:
        """What each frame shows and how it differs from those before it: [B, T, M, F].

        earlier: what each small picture is compared with, as thumbnails, one for each of relevance_parts.LAGS; without
        it the frames are a run, see `compared_with`.
        """
        if earlier is None:
            numbers = zip(*(compared_with(number) for number in range(thumbnails.shape[1])), strict=True)
            earlier = [thumbnails[:, list(lagging)] for lagging in numbers]
        motion = self.motion(thumbnails, earlier)
        return self.norm(self.near(still + motion + self.shake(motion.mean(dim=2, keepdim=True))))

    def maps(self, cells: Tensor, questions: Tensor, first: int | None = None) -> Tensor:
        """How well each cell [B, T, M, F] answers to what each of a question's maps looks for: [B, Q, T, M, K].

        first: only so many of the maps.
        """
        asked = self.asked(questions).unflatten(-1, (self.config.maps, -1))[:, :, :first]  # [B, Q, K, F + 1]
        wanted, threshold = asked[..., :-1] / math.sqrt(self.config.cell_width), asked[..., -1]
        shape = asked.shape[1:3]
        flat = cells.flatten(1, 2) @ wanted.flatten(1, 2).transpose(1, 2)  # [B, T M, Q K]
        maps = flat.unflatten(-1, shape).unflatten(1, cells.shape[1:3])
        return maps.permute(0, 3, 1, 2, 4) + threshold[:, :, None, None]

    def place_queries(self, questions: Tensor) -> Tensor:
        """What cells are multiplied with for the place maps of questions [N, D], and last what is added: [N, F + 1]."""
        asked = self.asked(questions).unflatten(-1, (self.config.maps, -1))[:, PLACE_MAP]
        return torch.cat((asked[:, :-1] / math.sqrt(self.config.cell_width), asked[:, -1:]), dim=1)

    def told(self, cells: Tensor, maps: Tensor) -> Tensor:
        """What each map points at in each frame, and how surely: [B, Q, T, P]. No frame depends on another here."""
        share = maps.softmax(dim=3)
        values = torch.cat((self.values(cells), self.centres.expand(*cells.shape[:3], 2)), dim=-1)
        gathered = share.transpose(3, 4) @ values[:, None]  # [B, Q, T, K, V + 2]
        most, area = maps.amax(dim=3), maps.sigmoid().mean(dim=3).sqrt()
        return torch.cat((gathered.flatten(3), most / 4, area), dim=-1)

    def over_time(self, told: Tensor, questions: Tensor) -> Tensor:
        """Follow through time what was told of single frames [B, Q, T, P], see `told`: logits [B, Q, T]."""
        frames = self.pool(told)
        for block in self.times:
            frames = block(frames, questions)
        most = 4 * told[..., -2 * self.config.maps : -self.config.maps]
        direct = (most * self.direct(questions)[:, :, None]).sum(dim=-1)
        return self.score(self.last(frames))[..., 0] + direct


def _centres(grid: int) -> Tensor:
    """Where the cells lie, -1..1: [M, 2]."""
    steps = (torch.arange(grid, device="cpu") + 0.5) * (2 / grid) - 1
    return torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1).flatten(0, 1)


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink an image [H, W, 3] to the head's small picture [96, 96, 3], whatever its proportions."""
    small = cv2.resize(image, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8, copy=False)
