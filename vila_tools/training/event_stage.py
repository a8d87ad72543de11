"""The relevance head's training: in which frames, and where in them, what a question names goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vila_core.models.relevance import EVENT_MAP, PLACE_MAP, RelevanceHead
from vila_core.models.vlm import VisionLanguageModel
from vila_tools.training.autocast import autocast
from vila_tools.training.clip_features import ClipFeatures, thumbnails, visual_tokens
from vila_tools.training.clips import Clips
from vila_tools.training.event_lessons import Lesson, Lessons, Naming
from vila_tools.training.ranks import ALONE, Ranks, Share
from vila_tools.training.recipe import EventRecipe
from vila_tools.training.vision_stage import augment

_REMINDED_FRAMES = 3  # in a run of which the names are asked; in their own stage one, as runs show much the same
_WHETHER = 20.0  # weight of what is there at all, a mean over names that are mostly not, beside which it is
_NOISE = 2.0  # of a small picture's values, 0 to 255
_VERB_CONTRAST = 2.0  # of the numbers that tell a verb, which are about 1
_THERE = 0.1  # the weight of the cells that show a thing, which are few, beside all others

Run = tuple[int, slice]  # a clip and some of its frames


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """What both stages share: a head to teach, what it is shown, and what it is asked."""

    model: VisionLanguageModel
    head: RelevanceHead
    clips: Clips
    lessons: Lessons
    recipe: EventRecipe
    ranks: Ranks = ALONE

    def autocast(self) -> torch.autocast:
        """Run in the recipe's precision, where torch takes it."""
        return autocast(self.model.device, self.recipe.precision)

    def own_parameters(self) -> list[nn.Parameter]:
        """The head's, but those of its eyes."""
        return [weight for name, weight in self.head.named_parameters() if not name.startswith("eyes.")]

    def questions(self, texts: Sequence[str]) -> Tensor:
        """The texts as the head reads them: [Q, D]."""
        return self.head.question(*embedded(self.model, texts))

    def named(self, naming: Naming, cells: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of all names at once: in which of the cells [B, T, M, F] each one's place map must be."""
        logits = self.head.maps(cells.flatten(0, 1)[None], self.questions(naming.texts)[None], PLACE_MAP + 1)
        logits = logits[0, ..., PLACE_MAP].flatten(1).T.float()  # [B T M, names]
        return naming_loss(logits, naming.named.flatten().to(logits.device), self.ranks)


class NameStage(nn.Module):
    """The first lessons: what everything is called, and where it is. The head's eyes learn to see it."""

    def __init__(self, course: Course) -> None:
        super().__init__()
        self.head, self._course = course.head, course

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters and their learning rates."""
        rates = self._course.recipe.names
        eyes = list(self.head.eyes.parameters())
        return [(self._course.own_parameters(), rates.learning_rate), (eyes, rates.vision_learning_rate)]

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of one random batch, of which this rank's share is seen."""
        course, head = self._course, self.head
        naming = course.lessons.draw_names(course.recipe.names.batch_size, 1, rng)
        share = course.ranks.share(len(naming.clips))
        naming = naming.part(share)
        pictures = torch.from_numpy(np.concatenate([course.clips.film(clip)[run] for clip, run in naming.runs(1)]))
        pictures = augment(pictures, rng, share).to(course.model.device)
        with course.autocast():
            with torch.no_grad():
                tokens = visual_tokens(course.model, pictures)
            still = head.still(tokens, head.features(pictures))
            return course.named(naming, head.seen(still[:, None], thumbnails(pictures)[:, None]))


class EventStage(nn.Module):
    """The lessons behind the names: each frame's answer, and where the head looks for it; names are reminded of."""

    def __init__(self, course: Course, features: ClipFeatures) -> None:
        """features: what is seen in the clips; the head's eyes learn no more."""
        super().__init__()
        self.head, self._course, self._features = course.head, course, features

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters and their learning rates."""
        return [(self._course.own_parameters(), self._course.recipe.events.learning_rate)]

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of one random batch, of which this rank's share is seen."""
        recipe, ranks, lesson = self._course.recipe, self._course.ranks, self._course.lessons.draw(rng)
        share = ranks.share(len(lesson.clips))
        lesson = lesson.part(share)
        with self._course.autocast():
            questions = self._course.questions(lesson.texts).unflatten(0, (len(lesson.clips), -1))
            logits, maps = self._scored(lesson, questions, rng, share)
            naming, figures = self._reminded(rng)
        active, certain, covered, weights = (
            part.to(logits.device) for part in (lesson.active, lesson.certain, lesson.covered, lesson.weights)
        )
        frames = F.binary_cross_entropy_with_logits(logits, active, reduction="none") * certain * weights[..., None]
        goes_on = torch.where(covered > 0, active[..., None], covered)
        places = _map_loss(maps[..., PLACE_MAP], covered, ranks) + _map_loss(maps[..., EVENT_MAP], goes_on, ranks)
        told = questions[..., : len(self._course.clips.templates)].float()
        verbs = _verb_loss(told, lesson.verbs.to(logits.device)) * len(lesson.clips) / share.count
        answers = frames.mean() * len(lesson.clips) / share.count
        loss = answers + recipe.map_weight * places + recipe.name_weight * naming + recipe.verb_weight * verbs
        figures |= frame_figures(logits.detach().flatten(0, 1), active.flatten(0, 1), ranks)
        return loss, figures | {"places": places.item(), "verbs": verbs.item()}

    def _scored(
        self, lesson: Lesson, questions: Tensor, rng: np.random.Generator, share: Share
    ) -> tuple[Tensor, Tensor]:
        still, pictures = self._shown([(clip, lesson.frames) for clip in lesson.clips], rng, share)
        logits, maps = self.head(still, pictures, questions)
        return logits.float(), maps.float()

    def _reminded(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        course = self._course
        naming = course.lessons.draw_names(course.recipe.named_clips, _REMINDED_FRAMES, rng)
        share = course.ranks.share(len(naming.clips))
        naming = naming.part(share)
        return course.named(naming, self.head.seen(*self._shown(naming.runs(_REMINDED_FRAMES), rng, share)))

    def _shown(self, runs: Sequence[Run], rng: np.random.Generator, share: Share) -> tuple[Tensor, Tensor]:
        """Runs of equal length as the head takes them: `still` [B, T, M, F], and small pictures with some noise."""
        told = self._features
        tokens, features, pictures = (
            torch.from_numpy(np.stack([array[clip, run] for clip, run in runs])).to(self._course.model.device).float()
            for array in (told.tokens, told.features, told.thumbnails)
        )
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        noise = _NOISE * torch.randn((share.count, *pictures.shape[1:]), generator=generator)[share.rows]
        return self.head.still(tokens, features), pictures + noise.to(pictures.device)


def naming_loss(logits: Tensor, named: Tensor, ranks: Ranks) -> tuple[Tensor, dict[str, float]]:
    """Loss and figures of all names at once, from how much each cell is like each name [cells, names].

    named: [cells] the name of what a cell shows; -1: nothing that has one, -2: that cannot be said.
    """
    there, nothing = logits[named >= 0], logits[named == -1]
    names, many = named[named >= 0], logits.shape[1]
    count, blank = (
        ranks.total(torch.tensor(float(len(part)), device=logits.device)).clamp(min=1) for part in (there, nothing)
    )
    which = F.cross_entropy(there, names, reduction="sum") / count
    is_named = F.one_hot(names, many).to(there.dtype)
    whether = F.binary_cross_entropy_with_logits(there, is_named, reduction="sum") / (count * many)
    empty = F.softplus(nothing).sum() / (blank * many)
    return which + _WHETHER * (whether + empty), {"named": float((there.argmax(dim=1) == names).sum() / count)}


def _verb_loss(questions: Tensor, verbs: Tensor) -> Tensor:
    """The first numbers of a question's vector [B, Q, verbs] shall tell its verb [B, Q].

    Else verbs that the head can't tell apart yet, as what appears and what vanishes, get the same vector and stay so.
    """
    return F.cross_entropy(_VERB_CONTRAST * questions.flatten(0, 1), verbs.flatten())


def _map_loss(logits: Tensor, truth: Tensor, ranks: Ranks) -> Tensor:
    """Cross entropy of a map where the truth is not -1; see _THERE."""
    loss = F.binary_cross_entropy_with_logits(logits, truth.clamp(min=0), reduction="none")
    there, elsewhere = (truth > 0).float(), (truth == 0).float()
    hits, misses = ((loss * part).sum() / ranks.total(part.sum()).clamp(min=1) for part in (there, elsewhere))
    return _THERE * hits + misses


def frame_figures(logits: Tensor, active: Tensor, ranks: Ranks = ALONE) -> dict[str, float]:
    """Share of right frames, and the mean over questions of the overlap of the frames told and true; [Q, T].

    ranks: of whose questions these are a part; the figures of all add up.
    """
    told, true = logits > 0, active > 0.5
    shared, union = (told & true).sum(dim=1), (told | true).sum(dim=1)
    seen = true.any(dim=1)
    overlaps = (shared / union.clamp(min=1))[seen]
    frames, with_one, without = (
        ranks.total(torch.tensor(float(count), device=logits.device)).clamp(min=1)
        for count in (told.numel(), int(seen.sum()), int((~seen).sum()))
    )
    return {
        "frame_accuracy": float((told == true).sum() / frames),
        "overlap": float(overlaps.sum() / with_one),
        "not_seen": float((~told.any(dim=1))[~seen].sum() / without),
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
