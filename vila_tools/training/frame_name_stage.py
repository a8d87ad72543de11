"""More lessons on names, after all others: the relevance head's eyes learn from many more frames what is what."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vila_core.engine.names import QUESTION
from vila_core.models.relevance import RelevanceHead
from vila_core.models.vlm import VisionLanguageModel
from vila_sim.events.event_queries import TRAIN_TEMPLATES
from vila_tools.training.autocast import autocast
from vila_tools.training.clip_features import thumbnails, visual_tokens
from vila_tools.training.event_lessons import named_cells
from vila_tools.training.event_stage import embedded, naming_loss
from vila_tools.training.frame_lessons import Frames
from vila_tools.training.shards import Rollouts
from vila_tools.training.vision_stage import augment

_SEEING = ("look", "glance", "join", "near", "norm")  # what is between the eyes and the cells
_ONE_WORDING = 0.5  # of the batches, that ask as the product does: QUESTION
_KEEP = 0.3  # weight of that cells which told rightly what they show stay as they were


class FrameNameStage(nn.Module):
    """Learns what each cell shows. Questions, and all that reads the cells, stay as they are.

    So that they still fit, a cell that was told rightly before shall stay what it was.
    """

    def __init__(self, model: VisionLanguageModel, head: RelevanceHead, frames: Frames) -> None:
        """head: the one that learns; the model's own is as it was before."""
        super().__init__()
        assert model.relevance_head is not None
        self.eyes, self.place = head.eyes, head.place
        self.seeing = nn.ModuleDict({name: getattr(head, name) for name in _SEEING})
        self._heads, self._models = (head, model.relevance_head), (model,)  # in tuples: not ours to save
        self._frames = frames
        self._codes = _codes(frames.rollouts)
        self._names = np.unique(self._codes[self._codes >= 0])
        self._wanted = self._asked()

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters and their learning rates."""
        behind, rates = [self.place, *self.seeing.parameters()], self._frames.recipe
        return [(behind, rates.learning_rate), (list(self.eyes.parameters()), rates.vision_learning_rate)]

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of one random batch, of which this rank's share is seen."""
        frames, (model,), (head, before) = self._frames, self._models, self._heads
        rows, share = frames.draw(rng)
        pictures, seg = frames.rollouts.images[rows], frames.rollouts.seg[rows]
        if rng.random() < 0.5:  # a name holds in a mirror, too
            pictures, seg = pictures[:, :, ::-1], seg[:, :, ::-1]
        seen = augment(torch.from_numpy(np.ascontiguousarray(pictures)), rng, share).to(model.device)
        named = torch.from_numpy(self._named(rows, seg)).to(seen.device)
        wanted = self._worded(rng)
        with autocast(model.device, frames.precision):
            with torch.no_grad():
                tokens, small = visual_tokens(model, seen), thumbnails(seen)[:, None]
                were = _cells(before, seen, tokens, small)
            cells = _cells(head, seen, tokens, small)
        logits, old = (each @ wanted[:, :-1].T + wanted[:, -1] for each in (cells, were))  # [B, M, names]
        loss, figures = naming_loss(logits.flatten(0, 1), named.flatten(), frames.ranks)
        right = torch.where(named >= 0, old.argmax(dim=-1) == named, (named == -1) & (old.amax(dim=-1) < 0))
        count = frames.ranks.total(right.sum().float()).clamp(min=1)
        kept = (cells - were)[right].square().mean(dim=-1).sum() / count
        return loss + _KEEP * kept, figures | {"kept": kept.item()}

    def _asked(self) -> Tensor:
        """What is looked for by each name's words [wordings, names, F + 1]; the first wording is QUESTION."""
        told, (model,), (head, _) = self._frames.rollouts, self._models, self._heads
        words = [
            {"kind": told.kind_names[kind].replace("_", " "), "colour": told.colour_names[colour]}
            for kind, colour in zip(*divmod(self._names, len(told.colour_names)), strict=True)
        ]
        wordings = [QUESTION.format(thing="{colour} {kind}")]
        wordings += [text for texts in TRAIN_TEMPLATES.values() for text in texts if "{colour}" in text]
        with torch.no_grad():
            questions = [head.question(*embedded(model, [text.format(**name) for name in words])) for text in wordings]
            return torch.stack([head.place_queries(each) for each in questions]).float()

    def _worded(self, rng: np.random.Generator) -> Tensor:
        """What is looked for in one batch [names, F + 1]: each name in words of its own, or all as the product asks."""
        count = self._wanted.shape[1]
        if rng.random() < _ONE_WORDING:
            return self._wanted[0]
        return self._wanted[torch.from_numpy(rng.integers(len(self._wanted), size=count)), torch.arange(count)]

    def _named(self, rows: NDArray[np.int64], seg: NDArray[np.uint8]) -> NDArray[np.int64]:
        codes = self._codes[rows]
        numbers = np.where(codes >= 0, np.searchsorted(self._names, codes), -2)
        return named_cells(seg, self._heads[0].config.grid, numbers)


def _codes(rollouts: Rollouts) -> NDArray[np.int64]:
    """A number for the kind and colour of each object of each row's flat [N, 64]; -1 for what has no name."""
    kinds, colours = rollouts.kinds, rollouts.colours
    return np.where((kinds >= 0) & (colours >= 0), kinds * len(rollouts.colour_names) + colours, -1)


def _cells(head: RelevanceHead, pictures: Tensor, tokens: Tensor, small: Tensor) -> Tensor:
    """What each cell of pictures shows, by themselves: [B, M, F]."""
    return head.seen(head.still(tokens, head.features(pictures))[:, None], small)[:, 0].float()
