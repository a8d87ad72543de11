"""The relevance head's training: in which frames, and where in them, what a question names goes on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vila_core.models.relevance import EVENT_MAP, PLACE_MAP, RelevanceHead
from vila_core.models.vlm import VisionLanguageModel
from vila_core.training.clip_features import ClipFeatures
from vila_core.training.clips import Clips
from vila_core.training.event_lessons import Lesson, Lessons
from vila_core.training.recipe import EventRecipe

_NAMED_FRAMES = 3
_WHETHER = 20.0  # weight of what is there at all, a mean over names that are mostly not, beside which it is
_NOISE = 2.0  # of a small picture's values, 0 to 255
_THERE = 0.1  # the weight of the cells that show a thing, which are few, beside all others


class NameStage(nn.Module):
    """The head's first lessons: what everything is called, and where it is."""

    def __init__(
        self,
        model: VisionLanguageModel,
        head: RelevanceHead,
        clips: Clips,
        *,
        features: ClipFeatures,
        asked: range,
        recipe: EventRecipe,
    ) -> None:
        """asked: the clips that are drawn from."""
        super().__init__()
        self.head = head
        self._model, self._features, self._recipe = [model], features, recipe
        self._lessons = Lessons(clips, asked, recipe, head.config.grid)

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters and their learning rates."""
        return [(list(self.head.parameters()), self._recipe.names.learning_rate)]

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of one random batch."""
        return self._named(self._recipe.names.batch_size, rng)

    def _named(self, clips: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """All names at once, in short runs of so many clips: which cells each one's place map must point at."""
        head = self.head
        naming = self._lessons.draw_names(clips, _NAMED_FRAMES, rng)
        words, known = embedded(self._model[0], naming.texts)
        runs = [(clip, slice(at, at + _NAMED_FRAMES)) for clip, at in zip(naming.clips, naming.frames, strict=True)]
        cells = head.seen(*shown(head, self._features, runs, rng))
        logits = head.maps(cells.flatten(0, 1)[None], head.question(words, known)[None], PLACE_MAP + 1)
        logits = logits[0, ..., PLACE_MAP].flatten(1).T.float()  # [B T M, names]
        named = naming.named.flatten().to(logits.device)
        there, nothing = logits[named >= 0], logits[named == -1]
        names = named[named >= 0]
        which = F.cross_entropy(there, names)
        whether = F.binary_cross_entropy_with_logits(there, F.one_hot(names, len(naming.texts)).to(there.dtype))
        empty = F.softplus(nothing).mean()
        figures = {"named": float((there.argmax(dim=1) == names).float().mean())}
        return which + _WHETHER * (whether + empty), figures


class EventStage(NameStage):
    """The lessons behind the names: each frame's answer, and where the head looks for it; names are reminded of."""

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters and their learning rates."""
        return [(list(self.head.parameters()), self._recipe.events.learning_rate)]

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of one random batch."""
        lesson = self._lessons.draw(rng)
        with torch.autocast(self._model[0].device.type, torch.bfloat16, enabled=self._recipe.bfloat16):
            logits, maps = self._scored(lesson, rng)
        active, certain, covered, weights = (
            part.to(logits.device) for part in (lesson.active, lesson.certain, lesson.covered, lesson.weights)
        )
        frames = F.binary_cross_entropy_with_logits(logits, active, reduction="none") * certain * weights[..., None]
        goes_on = torch.where(covered > 0, active[..., None], covered)
        places = _map_loss(maps[..., PLACE_MAP], covered) + _map_loss(maps[..., EVENT_MAP], goes_on)
        naming, figures = self._named(self._recipe.named_clips, rng)
        loss = frames.mean() + self._recipe.map_weight * places + self._recipe.name_weight * naming
        figures |= frame_figures(logits.detach().flatten(0, 1), active.flatten(0, 1))
        return loss, figures | {"places": places.item()}

    def _scored(self, lesson: Lesson, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        head, features = self.head, self._features
        words, known = embedded(self._model[0], lesson.texts)
        questions = head.question(words, known).unflatten(0, (len(lesson.clips), -1))
        runs = [(clip, lesson.frames) for clip in lesson.clips]
        logits, maps = head(*shown(head, features, runs, rng), questions)
        return logits.float(), maps.float()


def shown(
    head: RelevanceHead, features: ClipFeatures, runs: Sequence[tuple[int, slice]], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """What the head is shown of runs of equal length: its `still` [B, T, M, F] and small pictures with some noise."""
    tokens, tiles, pictures = (
        torch.from_numpy(np.stack([array[clip, run] for clip, run in runs])).to(head.score.weight.device).float()
        for array in (features.tokens, features.tiles, features.thumbnails)
    )
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    noise = _NOISE * torch.randn(pictures.shape, generator=generator)
    return head.still(tokens, tiles), pictures + noise.to(pictures.device)


def _map_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross entropy of a map where the truth is not -1; see _THERE."""
    loss = F.binary_cross_entropy_with_logits(logits, truth.clamp(min=0), reduction="none")
    there, elsewhere = (truth > 0).float(), (truth == 0).float()
    hits, misses = ((loss * part).sum() / part.sum().clamp(min=1) for part in (there, elsewhere))
    return _THERE * hits + misses


def frame_figures(logits: Tensor, active: Tensor) -> dict[str, float]:
    """Share of right frames, and the mean over questions of the overlap of the frames told and true; [Q, T]."""
    told, true = logits > 0, active > 0.5
    shared, union = (told & true).sum(dim=1), (told | true).sum(dim=1)
    seen = true.any(dim=1)
    overlap = (shared / union.clamp(min=1))[seen]
    return {
        "frame_accuracy": float((told == true).float().mean()),
        "overlap": float(overlap.mean()) if bool(seen.any()) else 0.0,
        "not_seen": float((~told.any(dim=1))[~seen].float().mean()) if bool((~seen).any()) else 0.0,
    }


def embedded(model: VisionLanguageModel, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return the decoder's embeddings [B, L, E] of the texts, padded, and where they are known [B, L]."""
    rows = [model.tokenizer.encode(text) for text in texts]
    known = torch.zeros((len(rows), max(map(len, rows))), dtype=torch.bool)
    ids = torch.zeros(known.shape, dtype=torch.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        known[number, : len(row)] = True
    with torch.no_grad():
        return model.language_model.embed_tokens(ids.to(model.device)).float(), known.to(model.device)
