"""Evidence by leaving out: what the ten probabilities become without an image or a word, or with changed pictures.

It shows what the decision depends on, not why: two things that say the same hide each other, and a picture with a hole
is one that the model was never trained on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vila_core.actions.grammar import SENTENCES
from vila_core.engine.backend import Backend
from vila_core.history.policy import blank_like, is_blank
from vila_core.navigator import prompt_of
from vila_core.types import Choice, Frame, Instruction, Visual

_SLOT = "explain"
FRAME, WORD, PICTURE = "image", "word", "picture"
Ask = Callable[[Sequence[Visual], str], Choice]
Change = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a change does. kind: FRAME, WORD or PICTURE; name: what was left out or changed; index: its place.

    probabilities: the ten, with it. drop: by how much the explained reply is less probable, negative if it is more.
    moved: half the sum of all changes, 0 to 1. reply: the most probable one.
    """

    kind: str
    name: str
    index: int
    probabilities: tuple[float, ...]
    drop: float
    moved: float
    reply: str


@dataclass(frozen=True, slots=True, eq=False)
class Occlusion:
    """How much the explained reply loses where a patch of the current image is covered: [rows, columns] float64."""

    drops: NDArray[np.float64]

    @property
    def strongest(self) -> tuple[int, int]:
        """Row and column of the patch that it loses most by."""
        row, column = np.unravel_index(int(self.drops.argmax()), self.drops.shape)
        return int(row), int(column)


def asker(backend: Backend) -> Ask:
    """Return what scores the ten sentences for other visuals and words, in a cache slot of its own."""

    def ask(visuals: Sequence[Visual], text: str) -> Choice:
        prompt = prompt_of(backend.info, Instruction(text), visuals)
        return backend.choose(dataclasses.replace(prompt, cache_slot=_SLOT), SENTENCES)

    return ask


def evidence(ask: Ask, visuals: Sequence[Visual], text: str, explained: int) -> Iterator[Evidence]:
    """Yield what each change does: each image left out, then each word, then changed pictures.

    explained: the index of the reply. An image that is left out is black, as models of this family were trained to
    see where there was nothing yet.
    """
    base = ask(visuals, text).probabilities
    for kind, index, name, changed, words in (
        *_frames(visuals, text),
        *_words(visuals, text),
        *_pictures(visuals, text),
    ):
        yield _evidence((kind, name, index), base, ask(changed, words), explained)


def occlusion(ask: Ask, visuals: Sequence[Visual], text: str, explained: int, columns: int) -> Iterator[Occlusion]:
    """Yield the map as it grows, patch by patch; the last one is whole. columns: patches beside each other."""
    current = visuals[-1].frame
    height, width = current.image.shape[:2]
    rows = max(1, round(columns * height / width))
    drops = np.zeros((rows, columns))
    base = ask(visuals, text).probabilities[explained]
    mean = current.image.reshape(-1, 3).mean(0).astype(np.uint8)
    for row in range(rows):
        for column in range(columns):
            image = current.image.copy()
            image[_patch(row, rows, height), _patch(column, columns, width)] = mean
            covered = dataclasses.replace(current, image=image, camera=f"covered {row} {column}")
            drops[row, column] = base - _with_last(ask, visuals, text, covered, explained)
            yield Occlusion(drops)


def _patch(number: int, count: int, size: int) -> slice:
    return slice(number * size // count, (number + 1) * size // count)


def _with_last(ask: Ask, visuals: Sequence[Visual], text: str, frame: Frame, explained: int) -> float:
    last = dataclasses.replace(visuals[-1], frame=frame)
    return ask((*visuals[:-1], last), text).probabilities[explained]


_Row = tuple[str, int, str, tuple[Visual, ...], str]


def _frames(visuals: Sequence[Visual], text: str) -> Iterator[_Row]:
    for index, visual in enumerate(visuals):
        if not all(is_blank(frame) for frame in visual.frames):
            black = Visual(blank_like(visual.frame), visual.tokens)
            yield FRAME, index, f"image {index + 1}", (*visuals[:index], black, *visuals[index + 1 :]), text


def _words(visuals: Sequence[Visual], text: str) -> Iterator[_Row]:
    words = text.split()
    if len(words) > 1:
        for index, word in enumerate(words):
            yield WORD, index, word, tuple(visuals), " ".join((*words[:index], *words[index + 1 :]))


def _pictures(visuals: Sequence[Visual], text: str) -> Iterator[_Row]:
    for index, (name, change) in enumerate(PICTURES.items()):
        yield PICTURE, index, name, tuple(_changed(visual, name, change) for visual in visuals), text


def _changed(visual: Visual, name: str, change: Change) -> Visual:
    frames = [_changed_frame(frame, name, change) for frame in visual.frames]
    return Visual(frames[-1], visual.tokens, tuple(frames[:-1]))


def _changed_frame(frame: Frame, name: str, change: Change) -> Frame:
    """Return the frame under another name, for caches know frames by their names; black ones stay."""
    if is_blank(frame):
        return frame
    return dataclasses.replace(frame, image=np.ascontiguousarray(change(frame.image)), camera=name)


def _mirrored(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image[:, ::-1]


def _swapped(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image[..., ::-1]


def _brighter(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    return np.clip(image * factor, 0, 255).astype(np.uint8)


PICTURES: dict[str, Change] = {
    "mirrored": _mirrored,
    "red and blue swapped": _swapped,
    "darker by half": partial(_brighter, factor=0.5),
    "brighter by half": partial(_brighter, factor=1.5),
}


def _evidence(what: tuple[str, str, int], base: Sequence[float], choice: Choice, explained: int) -> Evidence:
    kind, name, index = what
    now = choice.probabilities
    return Evidence(
        kind=kind,
        name=name,
        index=index,
        probabilities=now,
        drop=base[explained] - now[explained],
        moved=float(np.abs(np.subtract(base, now)).sum() / 2),
        reply=SENTENCES[choice.index],
    )
