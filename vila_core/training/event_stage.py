"""The relevance head's training: which frames of a clip show what a question names. All else stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from vila_core.models.relevance import RelevanceHead
from vila_core.models.vlm import VisionLanguageModel
from vila_core.training.clips import Clips, Question
from vila_core.training.recipe import EventRecipe, StageRecipe
from vila_core.training.shards import Drives
from vila_core.training.sightings import Lesson, Sightings, thumbnails
from vila_core.training.vision_stage import augment

_FRAMES_AT_ONCE = 256
_NOISE = 2.0  # of a small picture's values, 0 to 255


class EventStage(nn.Module):
    """Draws questions, each verb and each answer (seen, not seen) as often as the others."""

    def __init__(
        self,
        model: VisionLanguageModel,
        head: RelevanceHead,
        clips: Clips,
        *,
        tokens: Tensor,
        pictures: Tensor,
        asked: range,
        recipe: EventRecipe,
        sightings: Sightings,
    ) -> None:
        """tokens, pictures: of all clips, see clip_tokens and clip_pictures. asked: whose questions are drawn."""
        super().__init__()
        self.head = head
        self._model, self._clips, self._tokens, self._recipe = [model], clips, tokens, recipe
        self._sightings, self._thumbnails = sightings, pictures
        self._groups = _by_verb_and_answer(question for question in clips.questions if question.clip in asked)

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters and their learning rates."""
        return [(list(self.head.parameters()), self._recipe.events.learning_rate)]

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of one random batch."""
        lesson = self._lesson(rng)
        logits = scored(self._model[0], self.head, lesson, rng)
        active = lesson.active.to(logits.device)
        figures = frame_figures(logits.detach(), active)
        loss = F.binary_cross_entropy_with_logits(logits, active)
        reminded, more = sighting_loss(self._model[0], self.head, self._sightings, self._recipe.reminders, rng)
        return loss + self._recipe.reminder_weight * reminded, figures | more

    def _lesson(self, rng: np.random.Generator) -> Lesson:
        questions = self._draw(rng)
        frames = rng.integers(self._clips.frames - self._recipe.frames + 1) + np.arange(self._recipe.frames)
        clips = torch.tensor([question.clip for question in questions])[:, None]
        shown = torch.from_numpy(frames)
        return Lesson(
            self._tokens[clips, shown],
            self._thumbnails[clips, shown],
            [self._worded(question, rng) for question in questions],
            torch.from_numpy(np.stack([question.active[frames] for question in questions])).float(),
        )

    def _draw(self, rng: np.random.Generator) -> list[Question]:
        groups = rng.integers(len(self._groups), size=self._recipe.events.batch_size)
        return [self._groups[group][rng.integers(len(self._groups[group]))] for group in groups]

    def _worded(self, question: Question, rng: np.random.Generator) -> str:
        templates = self._clips.templates[question.verb]
        chosen = templates[rng.integers(len(templates))]
        return chosen.format(colour=question.colour, kind=question.kind.replace("_", " "))


class SightingStage(nn.Module):
    """The head's first lessons: is what a question names in view?"""

    def __init__(
        self, model: VisionLanguageModel, head: RelevanceHead, sightings: Sightings, recipe: StageRecipe
    ) -> None:
        super().__init__()
        self.head = head
        self._model, self._sightings, self._recipe = [model], sightings, recipe

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters and their learning rates."""
        return [(list(self.head.parameters()), self._recipe.learning_rate)]

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of one random batch."""
        return sighting_loss(self._model[0], self.head, self._sightings, self._recipe.batch_size, rng)


def sighting_loss(
    model: VisionLanguageModel, head: RelevanceHead, sightings: Sightings, count: int, rng: np.random.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Loss and figures of so many sightings."""
    lesson = sightings.draw(count, rng)
    logits = scored(model, head, lesson, rng)
    active = lesson.active.to(logits.device)
    right = ((logits.detach() > 0) == (active > 0.5)).float().mean()
    return F.binary_cross_entropy_with_logits(logits, active), {"sighted": float(right)}


def scored(model: VisionLanguageModel, head: RelevanceHead, lesson: Lesson, rng: np.random.Generator) -> Tensor:
    """Logits [B, T] of the head; the small pictures get some noise, as a camera has."""
    words, known = embedded(model, lesson.texts)
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    noise = _NOISE * torch.randn(lesson.thumbnails.shape, generator=generator)
    pictures = (lesson.thumbnails + noise).to(words.device)
    return head(lesson.tokens.to(words.device).float(), pictures, words, known)


def frame_figures(logits: Tensor, active: Tensor) -> dict[str, float]:
    """Share of right frames, and the mean over questions of the overlap of the frames told and true."""
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


def clip_pictures(clips: Clips) -> Tensor:
    """Small pictures [clips, T, 48, 48, 3] uint8 of all clips."""
    return torch.from_numpy(np.concatenate([thumbnails(shard) for shard in clips.images]))


@torch.inference_mode()
def clip_tokens(model: VisionLanguageModel, clips: Clips, seed: int) -> Tensor:
    """Visual tokens [clips, T, N, C] float16 of all clips, each with its own light, each frame with its own noise."""
    done: list[Tensor] = []
    for shard in tqdm(clips.images, desc="features", unit="shard"):
        for clip in shard:
            rng = np.random.default_rng([seed, len(done)])
            images = augment(torch.from_numpy(np.array(clip))[None].flatten(1, 2), rng)[0]
            done.append(model.encode_squares(images.view(clip.shape).to(model.device)).half().cpu())
    return torch.stack(done).clone()


@torch.inference_mode()
def drive_tokens(model: VisionLanguageModel, drives: Drives) -> Tensor:
    """Visual tokens [frames, N, C] float16 of all frames of the drives."""
    done: list[Tensor] = []
    for first in tqdm(range(0, len(drives), _FRAMES_AT_ONCE), desc="features", unit="batch"):
        images = torch.from_numpy(drives.images[first : first + _FRAMES_AT_ONCE])
        done.append(model.encode_squares(images.to(model.device)).half().cpu())
    return torch.cat(done)


def _by_verb_and_answer(questions: Iterable[Question]) -> list[list[Question]]:
    groups: dict[tuple[str, bool], list[Question]] = {}
    for question in questions:
        groups.setdefault((question.verb, bool(question.active.any())), []).append(question)
    return [groups[key] for key in sorted(groups)]
