"""More lessons on names, after all others: the relevance head's eyes learn from many more frames what is what."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vila_core.engine.names import QUESTION
from vila_core.models.relevance import PLACE_MAP, RelevanceHead
from vila_core.models.vlm import VisionLanguageModel
from vila_sim.events.event_queries import TRAIN_TEMPLATES
from vila_tools.training.autocast import autocast
from vila_tools.training.clip_features import thumbnails, visual_tokens
from vila_tools.training.event_lessons import CELL_SHARE
from vila_tools.training.event_stage import embedded, naming_loss
from vila_tools.training.ranks import ALONE, Ranks
from vila_tools.training.recipe import StageRecipe
from vila_tools.training.shards import Rollouts, grid_objects
from vila_tools.training.vision_stage import augment

_SEEING = ("look", "glance", "join", "near", "norm")  # what is between the eyes and the cells
_ONE_WORDING = 0.5  # of the batches, that ask as the product does: QUESTION
_KEEP = 0.3  # weight of that cells which told rightly what they show stay as they were


class FrameNames(nn.Module):
    """Learns what each cell shows. Questions, and all that reads the cells, stay as they are.

    So that they still fit, a cell that was told rightly before shall stay what it was.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        heads: tuple[RelevanceHead, RelevanceHead],
        rollouts: Rollouts,
        rows: range,
        recipe: StageRecipe,
        precision: str,
        ranks: Ranks = ALONE,
    ) -> None:
        """heads: the one that learns, and as it was before. rows: of the rollouts, that are learned from."""
        super().__init__()
        head = heads[0]
        self.eyes, self.place = head.eyes, head.place
        self.seeing = nn.ModuleDict({name: getattr(head, name) for name in _SEEING})
        self._heads, self._models = heads, (model,)  # in tuples: what they hold beside is not ours to save
        self._rollouts, self._rows = rollouts, rows
        self._recipe, self._precision, self._ranks = recipe, precision, ranks
        self._named_codes, self._wanted = self._names()

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters and their learning rates."""
        behind = [self.place, *self.seeing.parameters()]
        return [(behind, self._recipe.learning_rate), (list(self.eyes.parameters()), self._recipe.vision_learning_rate)]

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of one random batch, of which this rank's share is seen."""
        rows = self._rows.start + rng.integers(len(self._rows), size=self._recipe.batch_size)
        share, ranks = self._ranks.share(len(rows)), self._ranks
        rows = rows[share.rows]
        pictures, seg = self._rollouts.images[rows], self._rollouts.seg[rows]
        if rng.random() < 0.5:  # a name holds in a mirror, too
            pictures, seg = pictures[:, :, ::-1], seg[:, :, ::-1]
        seen = augment(torch.from_numpy(np.ascontiguousarray(pictures)), rng, share).to(self._models[0].device)
        named = torch.from_numpy(self._named(rows, seg)).to(seen.device)
        wanted = self._worded(rng)
        head, before = self._heads
        with autocast(self._models[0].device, self._precision):
            with torch.no_grad():
                tokens, small = visual_tokens(self._models[0], seen), thumbnails(seen)[:, None]
                were = before.seen(before.still(tokens, before.features(seen))[:, None], small)[:, 0].float()
            cells = head.seen(head.still(tokens, head.features(seen))[:, None], small)[:, 0].float()
        logits, old = (each @ wanted[:, :-1].T + wanted[:, -1] for each in (cells, were))  # [B, M, names]
        loss, figures = naming_loss(logits.flatten(0, 1), named.flatten(), ranks)
        right = torch.where(named >= 0, old.argmax(dim=-1) == named, (named == -1) & (old.amax(dim=-1) < 0))
        count = ranks.total(right.sum().float()).clamp(min=1)
        kept = (cells - were)[right].square().mean(dim=-1).sum() / count
        return loss + _KEEP * kept, figures | {"kept": kept.item()}

    def _names(self) -> tuple[NDArray[np.int64], Tensor]:
        """The names' codes, see `_codes`; and what is looked for by their words.

        The latter: [wordings, names, F + 1], see CellBackend.cell_queries; the first wording is QUESTION.
        """
        told, head = self._rollouts, self._heads[0]
        codes = np.unique(self._codes(slice(None)))
        codes = codes[codes >= 0]
        words = [
            {"kind": told.kind_names[kind].replace("_", " "), "colour": told.colour_names[colour]}
            for kind, colour in zip(*divmod(codes, len(told.colour_names)), strict=True)
        ]
        wordings = [QUESTION.format(thing="{colour} {kind}")]
        wordings += [text for texts in TRAIN_TEMPLATES.values() for text in texts if "{colour}" in text]
        with torch.no_grad():
            rows = [
                head.asked(head.question(*embedded(self._models[0], [text.format(**name) for name in words])))
                for text in wordings
            ]
        asked = torch.stack(rows).unflatten(-1, (head.config.maps, -1))[:, :, PLACE_MAP].float()
        return codes, torch.cat((asked[..., :-1] / head.config.cell_width**0.5, asked[..., -1:]), dim=-1)

    def _codes(self, rows: NDArray[np.int64] | slice) -> NDArray[np.int64]:
        """A number for the kind and colour of each object of these rows' flats [B, 64]; -1 for what has no name."""
        kinds, colours = self._rollouts.kinds[rows], self._rollouts.colours[rows]
        return np.where((kinds >= 0) & (colours >= 0), kinds * len(self._rollouts.colour_names) + colours, -1)

    def _worded(self, rng: np.random.Generator) -> Tensor:
        """What is looked for in one batch [names, F + 1]: each name in words of its own, or all as the product asks."""
        count = self._wanted.shape[1]
        if rng.random() < _ONE_WORDING:
            return self._wanted[0]
        return self._wanted[torch.from_numpy(rng.integers(len(self._wanted), size=count)), torch.arange(count)]

    def _named(self, rows: NDArray[np.int64], seg: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The name of what each cell shows [B, M]; -1: nothing that has one, -2: that cannot be said."""
        grid = self._heads[0].config.grid
        shown, empty = grid_objects(seg, grid, CELL_SHARE), grid_objects(seg, grid, 0.0) < 0
        codes = np.take_along_axis(self._codes(rows), shown.clip(0), axis=1)
        names = np.where(codes >= 0, np.searchsorted(self._named_codes, codes), -2)
        return np.where(shown >= 0, names, np.where(empty, -1, -2))
