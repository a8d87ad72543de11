"""The relevance head's last lesson: how far off what it sees is, and how far the floor is free in each direction."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vila_core.models.relevance import RelevanceHead
from vila_sim.episodes.splits import split_flat
from vila_sim.flats.free_space import FreeSpace, column_bearings_rad
from vila_tools.training.frame_lessons import Frames
from vila_tools.training.seen_frames import SeenFrames
from vila_tools.training.shards import Rollouts, grid_objects

FREE_MOST_M = 5.0  # that is called free; the reader need not tell more from less
_FREE_LEAST_M = 0.15
_RAYS = 5  # in each column, of which the shortest counts
_CELL_SHARE = 0.5  # of a cell, that a thing must cover to be what it shows
_NEAREST_M = 0.2
_BEND = 0.1  # of the logarithm, below which an error counts by its square

Floats = NDArray[np.float32]


class DistanceStage(nn.Module):
    """Learns, beside eyes that learn no more, distances along the floor: to the middle of what each cell shows, and to
    where the floor ends in the direction of each column of cells.

    All cells of a thing count as much as the one cell of another: else the near and large ones were all that is learnt.
    """

    def __init__(self, head: RelevanceHead, frames: Frames) -> None:
        super().__init__()
        assert head.distance is not None and head.free_space is not None
        self.distance, self.free_space = head.distance, head.free_space
        self._frames, self._seen = frames, SeenFrames(head, frames)  # not the head itself: the readers are ours to save
        self._spots = _Spots()
        self._free = free_ranges(frames.rollouts, frames.rows, self.distance.grid)

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters and their learning rates."""
        return [(list(self.parameters()), self._frames.recipe.learning_rate)]

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of one random batch, of which this rank's share is seen."""
        rows, _ = self._frames.draw(rng)
        features = self._seen(rows)
        things = self.shown(rows)
        far = torch.from_numpy(self.distances(rows, things)).to(features.device)
        free = torch.from_numpy(self._free[rows - self._frames.rows.start]).to(features.device)
        shown = ~far.isnan()
        weights = torch.from_numpy(_thing_weights(things)).to(features.device)
        told, ranges = self.distance(features).float(), self.free_space(features).float()
        wanted = far[shown].clamp(min=_NEAREST_M).log()
        loss, error = self._errors(told[shown], wanted, weights[shown])
        free_loss, free_error = self._errors(ranges, free.log(), torch.ones_like(free))
        return loss + free_loss, {"error": float(error), "free_error": float(free_error)}

    def distances(self, rows: NDArray[np.int64], shown: NDArray[np.int64]) -> Floats:
        """How far off the thing is that each cell of these rows' pictures shows [B, M], nan where it shows none."""
        told = self._frames.rollouts
        out = np.full(shown.shape, np.nan, np.float32)
        for number, row in enumerate(rows):
            spots = self._spots.of(told, int(row))
            things = shown[number] >= 0
            out[number, things] = np.hypot(*(spots[shown[number, things]] - told.pose[row, :2]).T)
        return out

    def shown(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which thing of its flat each cell of these rows' pictures shows [B, M], -1 for none."""
        return grid_objects(self._frames.rollouts.seg[rows], self.distance.grid, _CELL_SHARE)

    def _errors(self, told: Tensor, wanted: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and the mean error, of logarithms; each with a weight, over all ranks."""
        whole = self._frames.ranks.total(weights.sum()).clamp(min=1e-6)
        loss = F.smooth_l1_loss(told, wanted, beta=_BEND, reduction="none")
        return (loss * weights).sum() / whole, ((told.detach() - wanted).abs() * weights).sum() / whole


def free_ranges(rollouts: Rollouts, rows: range, columns: int) -> Floats:
    """How far the floor is free, in metres, in the direction of each column of rows' pictures: [rows, columns]."""
    out = np.empty((len(rows), columns), np.float32)
    by_flat = defaultdict[tuple[int, str], list[int]](list)
    for row in rows:
        by_flat[int(rollouts.flat_seed[row]), str(rollouts.flat_family[row])].append(row)
    for (seed, family), own in by_flat.items():
        space, pose, hfov_deg = FreeSpace(split_flat(seed, family=family)), rollouts.pose[own], rollouts.camera[own, 2]
        bearings = np.stack([column_bearings_rad(columns * _RAYS, float(each)) for each in hfov_deg])
        angles = pose[:, 2:3].astype(np.float64) + bearings
        x_m, y_m = (np.broadcast_to(pose[:, at, None].astype(np.float64), angles.shape) for at in (0, 1))
        rays = space.ranges_m(x_m, y_m, angles, FREE_MOST_M).reshape(len(own), columns, _RAYS)
        out[np.array(own) - rows.start] = rays.min(axis=2).clip(_FREE_LEAST_M)
    return out


def _thing_weights(shown: NDArray[np.int64]) -> Floats:
    """One over the number of cells that show the same thing in the same picture [B, M]; 0 where there is none."""
    same = (shown[:, :, None] == shown[:, None, :]).sum(axis=2)
    return np.where(shown >= 0, 1.0 / same, 0.0).astype(np.float32)


class _Spots:
    """Where the things of flats stand, [objects, 2]; built once for each flat."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], Floats] = {}

    def of(self, rollouts: Rollouts, row: int) -> Floats:
        """Those of a row's flat."""
        key = int(rollouts.flat_seed[row]), str(rollouts.flat_family[row])
        if key not in self._known:
            things = split_flat(key[0], family=key[1]).objects
            self._known[key] = np.array([(one.x_m, one.y_m) for one in things], np.float32)
        return self._known[key]
