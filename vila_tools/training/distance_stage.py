"""The relevance head's last lesson: how far off what it sees is."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vila_core.models.relevance import RelevanceHead
from vila_sim.episodes.splits import split_flat
from vila_tools.training.autocast import autocast
from vila_tools.training.frame_lessons import Frames
from vila_tools.training.shards import grid_objects
from vila_tools.training.vision_stage import augment

_CELL_SHARE = 0.5  # of a cell, that a thing must cover to be what it shows
_NEAREST_M = 0.2
_BEND = 0.1  # of the logarithm, below which an error counts by its square

Spots = NDArray[np.float32]  # [objects, 2]


class DistanceStage(nn.Module):
    """Learns, beside eyes that learn no more, the distance along the floor to the middle of what a cell shows."""

    def __init__(self, head: RelevanceHead, frames: Frames) -> None:
        super().__init__()
        assert head.distance is not None
        self.reader = head.distance
        self._eyes = head.features  # not the head itself: the reader alone is ours to save
        self._frames = frames
        self._spots: dict[tuple[int, str], Spots] = {}

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters and their learning rates."""
        return [(list(self.reader.parameters()), self._frames.recipe.learning_rate)]

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of one random batch, of which this rank's share is seen."""
        frames, device = self._frames, self.reader.place.device
        rows, share = frames.draw(rng)
        pictures = augment(torch.from_numpy(frames.rollouts.images[rows]), rng, share).to(device)
        truth = torch.from_numpy(self._distances(rows)).to(device)
        with autocast(device, frames.precision):
            with torch.no_grad():
                features = self._eyes(pictures)
            told = self.reader(features.float()).float()
        shown = ~truth.isnan()
        count = frames.ranks.total(shown.sum().float()).clamp(min=1)
        wanted = truth[shown].clamp(min=_NEAREST_M).log()
        loss = F.smooth_l1_loss(told[shown], wanted, beta=_BEND, reduction="sum") / count
        error = (told[shown].detach() - wanted).abs().sum() / count
        return loss, {"error": float(error)}

    def _distances(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Of each cell of these rows' pictures [B, M], nan where it shows no thing."""
        told = self._frames.rollouts
        shown = grid_objects(told.seg[rows], self.reader.grid, _CELL_SHARE)
        out = np.full(shown.shape, np.nan, np.float32)
        for number, row in enumerate(rows):
            spots = self._spots_in(int(told.flat_seed[row]), str(told.flat_family[row]))
            things = shown[number] >= 0
            out[number, things] = np.hypot(*(spots[shown[number, things]] - told.pose[row, :2]).T)
        return out

    def _spots_in(self, seed: int, family: str) -> Spots:
        """Where the things of a flat stand; built once."""
        key = seed, family
        if key not in self._spots:
            things = split_flat(seed, family=family).objects
            self._spots[key] = np.array([(one.x_m, one.y_m) for one in things], np.float32)
        return self._spots[key]
