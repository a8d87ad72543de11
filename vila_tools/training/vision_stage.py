"""First stage: the tower learns what is where, from the simulator's segmentation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vila_core.models.preprocess import normalise_pixels
from vila_core.models.vlm import VisionLanguageModel
from vila_tools.training.autocast import autocast
from vila_tools.training.ranks import ALONE, Ranks, Share
from vila_tools.training.recipe import Recipe
from vila_tools.training.shards import Rollouts, grid_objects

CELL_SHARE = 0.2  # of a patch, that an object must cover to be its label
LEAST_ZOOMED = 0.6  # of a picture's side, that a part of it is shown of


class VisionStage(nn.Module):
    """Classifies each patch's kind and colour from the tower's features."""

    name = "vision"

    def __init__(
        self, model: VisionLanguageModel, rollouts: Rollouts, recipe: Recipe, rows: range, *, ranks: Ranks = ALONE
    ) -> None:
        super().__init__()
        self.model, self.rollouts, self.recipe, self.rows, self.ranks = model, rollouts, recipe, rows, ranks
        width = recipe.sizes.vision_width
        self.norm = nn.LayerNorm(width)
        self.kind_head = nn.Linear(width, len(rollouts.kind_names) + 1)
        self.colour_head = nn.Linear(width, len(rollouts.colour_names) + 1)

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters and their learning rates."""
        heads = [*self.norm.parameters(), *self.kind_head.parameters(), *self.colour_head.parameters()]
        rate = self.recipe.vision.learning_rate
        return [([*self.model.vision_tower.parameters(), *heads], rate)]

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of one random batch, of which this rank's share is seen."""
        rollouts, ranks = self.rollouts, self.ranks
        rows = rng.integers(self.rows.start, self.rows.stop, self.recipe.vision.batch_size)
        share = ranks.share(len(rows))
        rows = rows[share.rows]
        pictures, seg = rollouts.images[rows], rollouts.seg[rows]
        if rng.random() < 0.5:  # what is where, in a mirror: but for left and right the world is the same
            pictures, seg = pictures[:, :, ::-1], seg[:, :, ::-1]
        if rng.random() < self.recipe.zoomed_share:
            pictures, seg = zoomed(pictures, seg, rng)
        objects = grid_objects(seg, self.model.config.vision.grid, CELL_SHARE)  # [B, P]
        kind_target = self._target(rollouts.kinds[rows], objects)
        colour_target = self._target(rollouts.colours[rows], objects)
        images = augment(torch.from_numpy(np.ascontiguousarray(pictures)), rng, share).to(self.model.device)
        with autocast(self.model.device, self.recipe.precision):
            seen = self.model.vision_tower(normalise_pixels(images, self.model.config.vision, torch.float32))
            features = self.norm(seen)
            kind_logits, colour_logits = self.kind_head(features).float(), self.colour_head(features).float()
        loss = _balanced(kind_logits, kind_target, ranks) + _balanced(colour_logits, colour_target, ranks)
        return loss, {
            "kind_accuracy": _accuracy(kind_logits, kind_target, ranks),
            "colour_accuracy": _accuracy(colour_logits, colour_target, ranks),
        }

    def _target(self, classes: NDArray[np.int64], objects: NDArray[np.int64]) -> Tensor:
        """[B, P] class + 1 of the object in each patch, 0 for none; classes: [B, 64] by object."""
        of_patch = np.take_along_axis(classes, objects.clip(0), 1)
        return torch.from_numpy(np.where(objects >= 0, of_patch + 1, 0)).to(self.model.device)


def zoomed(
    pictures: NDArray[np.uint8], seg: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Show a square part of all pictures [B, S, S, 3] at their full size, and of their segmentations [B, G, G]."""
    size, cells = pictures.shape[1], seg.shape[1]
    side = int(rng.integers(round(LEAST_ZOOMED * cells), cells))
    top, left = (int(start) for start in rng.integers(0, cells - side + 1, 2))
    step = size // cells
    rows, columns = (slice(start * step, (start + side) * step) for start in (top, left))
    part = torch.from_numpy(np.ascontiguousarray(pictures[:, rows, columns])).permute(0, 3, 1, 2)
    whole = F.interpolate(part.float(), (size, size), mode="bilinear", align_corners=False)
    nearest = np.minimum(((np.arange(cells) + 0.5) * side / cells).astype(np.intp), side - 1)
    shown = seg[:, top : top + side, left : left + side][:, nearest][:, :, nearest]
    return whole.round().to(torch.uint8).permute(0, 2, 3, 1).numpy(), shown


def augment(images: Tensor, rng: np.random.Generator, share: Share | None = None) -> Tensor:
    """Vary brightness, contrast, tint and noise of uint8 images [B, S, S, 3]; returns float 0..255.

    share: which of a larger batch they are, so that each is varied as it would be there.
    """
    share = share or Share.whole(len(images))
    count, own = share.count, share.rows
    gain = torch.from_numpy(rng.uniform(0.8, 1.2, (count, 1, 1, 1)) * rng.uniform(0.95, 1.05, (count, 1, 1, 3)))
    shift = torch.from_numpy(rng.uniform(-15, 15, (count, 1, 1, 1)))
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    noise = torch.randn((count, *images.shape[1:]), generator=generator)[own] * 4.0
    return ((images.float() * gain.float()[own] + shift.float()[own]) + noise).clamp(0, 255)


def _balanced(logits: Tensor, target: Tensor, ranks: Ranks) -> Tensor:
    """Cross entropy with the background, which is most of every image, at a quarter of the weight."""
    weight = torch.ones(logits.shape[-1], device=logits.device)
    weight[0] = 0.25
    summed = F.cross_entropy(logits.flatten(0, 1), target.flatten(), weight=weight, reduction="sum")
    return summed / ranks.total(weight[target].sum())


def _accuracy(logits: Tensor, target: Tensor, ranks: Ranks) -> float:
    seen = target > 0
    return float((logits.argmax(-1) == target)[seen].sum() / ranks.total(seen.sum()).clamp(min=1))
