"""What a batch of the relevance head's training asks: the clips' own questions, and more about what is in view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vila_tools.training.clips import Clips, Question, Thing
from vila_tools.training.ranks import Share
from vila_tools.training.recipe import EventRecipe
from vila_tools.training.samples import made_up_word
from vila_tools.training.shards import grid_objects

IN_VIEW = "in_view"
_PLAIN, _GLIMPSED = 7, 1  # of 48 x 48 pixels: from the one on a thing is plainly in view, below the other it is not
_CELL_SHARE = 0.25  # of a cell, that a thing must cover to be in it
_SEEN = 0.5  # of the questions about what is in view, that begin with a thing that is
_OTHER_KIND, _OTHER_COLOUR = 0.35, 0.3  # of them, that then ask for its like


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """Questions about runs of frames of some clips.

    clips: [B]. frames: the run. texts: Q for each clip. active, certain: [B, Q, T] float, 1 where what the text names
    goes on, and where that can be said. covered: [B, Q, T, M] float, 1 in the cells that show the thing, -1 where
    that cannot be said. weights: [B, Q] float. verbs: [B, Q] int, the number of each text's verb.
    """

    clips: NDArray[np.intp]
    frames: slice
    texts: list[str]
    active: Tensor
    certain: Tensor
    covered: Tensor
    weights: Tensor
    verbs: Tensor

    def part(self, share: Share) -> Lesson:
        """Those about some of the clips."""
        rows, each = share.rows, len(self.texts) // len(self.clips)
        return Lesson(
            self.clips[rows],
            self.frames,
            share.times(each).of(self.texts),
            *(getattr(self, name)[rows] for name in ("active", "certain", "covered", "weights", "verbs")),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One question of a lesson; see Lesson. active, certain: [T]. covered: [T, M]."""

    text: str
    verb: str
    active: NDArray[np.bool_]
    certain: NDArray[np.bool_]
    covered: NDArray[np.float32]
    weight: float


@dataclass(frozen=True, slots=True, eq=False)
class Naming:
    """Short runs of frames, and which of all names each cell shows.

    clips: [B]. frames: the first frame of each run, [B]. texts: one for each name. named: [B, T, M] int, the number of
    the name, -1 where nothing is that has one, -2 where that cannot be said.
    """

    clips: NDArray[np.intp]
    frames: NDArray[np.intp]
    texts: list[str]
    named: Tensor

    def part(self, share: Share) -> Naming:
        """The same names in some of the runs."""
        return Naming(self.clips[share.rows], self.frames[share.rows], self.texts, self.named[share.rows])

    def runs(self, frames: int) -> list[tuple[int, slice]]:
        """Each clip and its run, so many frames long."""
        return [(int(clip), slice(at, at + frames)) for clip, at in zip(self.clips, self.frames, strict=True)]


class Lessons:
    """Draws clips and questions."""

    def __init__(self, clips: Clips, asked: range, recipe: EventRecipe, grid: int) -> None:
        """asked: the clips that are drawn from. grid: rows of cells."""
        self._clips, self._asked, self._recipe, self._grid = clips, asked, recipe, grid
        self._questions: dict[int, list[Question]] = {clip: [] for clip in asked}
        for question in clips.questions:
            if question.clip in asked:
                self._questions[question.clip].append(question)
        self._weights = _rarity([question for own in self._questions.values() for question in own])
        self._verbs = {verb: at for at, verb in enumerate(sorted(clips.templates))}
        self._alike = [verb for verb in self._verbs if verb != IN_VIEW and _names_a_thing(clips.templates[verb])]
        self._names = sorted({thing for things in clips.things for thing in things})
        self._coloured = [name for name in self._names if name[0]]
        number = {name: at for at, name in enumerate(self._names)}
        self._named = [np.array([number[thing] for thing in things]) for things in clips.things]

    def draw(self, rng: np.random.Generator) -> Lesson:
        """Draw a batch: a run of frames, the same of each clip, and its questions."""
        recipe, clips = self._recipe, self._clips
        chosen = self._asked.start + rng.permutation(len(self._asked))[: recipe.events.batch_size]
        first = int(rng.integers(clips.frames - recipe.frames + 1))
        run = slice(first, first + recipe.frames)
        asked = [one for clip in chosen for one in self._ask(int(clip), run, rng)]
        active, certain, covered, weights = (
            torch.from_numpy(np.stack([getattr(one, name) for one in asked])).float().unflatten(0, (len(chosen), -1))
            for name in ("active", "certain", "covered", "weight")
        )
        verbs = torch.tensor([self._verbs[one.verb] for one in asked]).unflatten(0, (len(chosen), -1))
        return Lesson(chosen, run, [one.text for one in asked], active, certain, covered, weights, verbs)

    def draw_names(self, count: int, frames: int, rng: np.random.Generator) -> Naming:
        """Draw so many runs of so many frames, and word each name with a verb of its own."""
        chosen = self._asked.start + rng.permutation(len(self._asked))[:count]
        first = rng.integers(self._clips.frames - frames + 1, size=len(chosen))
        named = [self._names_in(int(clip), slice(at, at + frames)) for clip, at in zip(chosen, first, strict=True)]
        texts = [self._worded(self._any_verb(colour, rng), colour, kind, rng) for colour, kind in self._names]
        return Naming(chosen, first, texts, torch.from_numpy(np.stack(named)))

    def _names_in(self, clip: int, run: slice) -> NDArray[np.int64]:
        seg, own = self._clips.seg[clip, run], self._named[clip]
        return named_cells(seg, self._grid, np.broadcast_to(own, (len(seg), len(own))))

    def _any_verb(self, colour: str, rng: np.random.Generator) -> str:
        verbs = [verb for verb, texts in self._clips.templates.items() if _names_a_thing(texts) == bool(colour)]
        return verbs[rng.integers(len(verbs))]

    def _ask(self, clip: int, run: slice, rng: np.random.Generator) -> list[Asked]:
        """Some of the clip's own questions, and more about what is in view."""
        own, recipe = self._questions[clip], self._recipe
        rows = list[Asked]()
        for at in rng.permutation(len(own))[: recipe.questions]:
            asked = own[at]
            pixels = self._clips.covered(clip, (asked.colour, asked.kind), run)
            active, covered = asked.active[run], cells(pixels, self._grid)
            weight = self._weights[asked.verb]
            text = self._worded(asked.verb, asked.colour, asked.kind, rng)
            rows.append(Asked(text, asked.verb, active, np.ones_like(active), covered, weight))
        rows += self._contrasts(clip, run, rng)
        while len(rows) < recipe.questions + recipe.contrasts + recipe.sightings:
            rows.append(self._sighting(clip, run, rng))
        return rows

    def _contrasts(self, clip: int, run: slice, rng: np.random.Generator) -> list[Asked]:
        """Ask of things to which something happens whether something else did, which is easily taken for it."""
        happened = self._clips.happened[clip]
        options = [
            (verb, thing)
            for thing in sorted({thing for verb, thing in happened if verb in self._alike})
            for verb in self._alike
            if (verb, thing) not in happened
        ]
        rows = list[Asked]()
        for at in rng.permutation(len(options))[: self._recipe.contrasts]:
            verb, (colour, kind) = options[at]
            never = np.zeros(run.stop - run.start, bool)
            covered = cells(self._clips.covered(clip, (colour, kind), run), self._grid)
            text = self._worded(verb, colour, kind, rng)
            rows.append(Asked(text, verb, never, ~never, covered, self._recipe.contrast_weight))
        return rows

    def _sighting(self, clip: int, run: slice, rng: np.random.Generator) -> Asked:
        """Ask whether a thing is in view: one that is, one that is somewhere in the flat, or its like."""
        colour, kind = self._tempting(clip, run, rng)
        pixels = self._clips.covered(clip, (colour, kind), run)
        count = pixels.sum(axis=(1, 2))
        certain = (count >= _PLAIN) | (count < _GLIMPSED)
        text = self._worded(IN_VIEW, colour, kind, rng)
        covered = cells(pixels, self._grid)
        return Asked(text, IN_VIEW, count >= _PLAIN, certain, covered, self._recipe.sighting_weight)

    def _tempting(self, clip: int, run: slice, rng: np.random.Generator) -> Thing:
        things = self._clips.things[clip]
        here = [thing for thing in things if thing[0]]
        if rng.random() < _SEEN:
            shown = np.unique(self._clips.seg[clip, run])
            here = [things[at] for at in shown if at < len(things) and things[at][0]] or here
        colour, kind = here[rng.integers(len(here))]
        other, change = self._coloured[rng.integers(len(self._coloured))], rng.random()
        if change < _OTHER_KIND:
            return colour, other[1]
        return (other[0], kind) if change < _OTHER_KIND + _OTHER_COLOUR else (colour, kind)

    def _worded(self, verb: str, colour: str, kind: str, rng: np.random.Generator) -> str:
        templates = self._clips.templates[verb]
        chosen = templates[rng.integers(len(templates))]
        if rng.random() < self._recipe.nonsense_share:
            chosen = " ".join([*(made_up_word(rng) for _ in range(rng.integers(1, 4))), chosen])
        return chosen.format(colour=colour, kind=kind.replace("_", " "))


def _names_a_thing(texts: Sequence[str]) -> bool:
    """Whether the sentences of a verb are about a thing that has a colour, as those about doors are not."""
    return "{colour}" in texts[0]


def named_cells(seg: NDArray[np.uint8], grid: int, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The name of what each cell shows [B, M]; -1: nothing that has one, -2: that cannot be said.

    seg: [B, 48, 48], see shards.grid_objects. numbers: [B, objects] of each picture's objects, -2 for what has no name.
    """
    shown, empty = grid_objects(seg, grid, _CELL_SHARE), grid_objects(seg, grid, 0.0) < 0
    return np.where(shown >= 0, np.take_along_axis(numbers, shown.clip(0), axis=1), np.where(empty, -1, -2))


def cells(pixels: NDArray[np.bool_], grid: int) -> NDArray[np.float32]:
    """Where a thing is, [T, 48, 48], by cell [T, M]: 1 if it covers enough of it, 0 if nothing, else -1."""
    step = pixels.shape[1] // grid
    rows = np.stack([pixels[:, at::step] for at in range(step)]).sum(axis=0, dtype=np.uint8)
    count = np.stack([rows[:, :, at::step] for at in range(step)]).sum(axis=0).reshape(len(pixels), -1)
    return np.where(count >= _CELL_SHARE * step**2, 1.0, np.where(count > 0, -1.0, 0.0)).astype(np.float32)


def _rarity(questions: Sequence[Question]) -> dict[str, float]:
    """By verb, the weight of a question: the rarer the more, 1 on the whole.

    Whatever its answer: a rare one that weighed more would be told too often.
    """
    counts = Counter(question.verb for question in questions)
    raw = {key: count**-0.5 for key, count in counts.items()}
    mean = sum(raw[key] * count for key, count in counts.items()) / max(1, len(questions))
    return {key: value / mean for key, value in raw.items()}
