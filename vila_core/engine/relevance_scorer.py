"""Scores frames for questions with the model's relevance head, and works out only what is new.

A frame's cells do not depend on the question, and what a question's maps tell of a frame does not depend on the other
frames but for two that it is compared with. Both are kept, so a window that moved on by a frame costs that frame, and
a short pass through time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vila_core.engine.finite import require_finite
from vila_core.engine.frame_encoder import FrameEncoder
from vila_core.engine.visual_cache import VisualCache
from vila_core.errors import BackendError
from vila_core.models.relevance import RelevanceHead, thumbnail
from vila_core.models.relevance_parts import LAGS, compared_with
from vila_core.models.vlm import VisionLanguageModel
from vila_core.types import Frame, FrameKey

_QUESTIONS = 64  # more than stand and are asked in turn: an evaluation would begin anew for each of them
_FRAMES = 640  # as many as have visual tokens
_RUN = 1 + len(LAGS)  # a frame, and those that it is compared with
_AT_ONCE = 16  # frames that are worked out together: more would take memory, not be quicker

Sight = tuple[FrameKey, ...]  # a frame, and those that it is compared with


class RelevanceScorer:
    """Keeps what each frame shows, cells of the last call's frames, and for each question what it was told last."""

    def __init__(self, model: VisionLanguageModel, encoder: FrameEncoder) -> None:
        self._model, self._encoder = model, encoder
        self._views: VisualCache[_View] = VisualCache(_FRAMES)
        self._cells: dict[Sight, Tensor] = {}  # [M, F], of frames of the last call
        self._features: dict[FrameKey, Tensor] = {}  # [1, M, E], of the frame that was encoded last
        self._asked = lru_cache(maxsize=_QUESTIONS)(self._read_question)

    def score(self, question: str, frames: Sequence[Frame]) -> tuple[float, ...]:
        """Return one probability a frame; BackendError if the model has no head."""
        head, asked, runs = self._head(), self._asked(question), _runs(frames)
        sights = [_sight(run) for run in runs]
        shown = dict(zip(sights, runs, strict=True))
        new = [sight for sight in shown if sight not in asked.told]
        for first in range(0, len(new), _AT_ONCE):
            part = new[first : first + _AT_ONCE]
            cells = self._see(head, {sight: shown[sight] for sight in part})
            asked.told.update(zip(part, _rows(head.told(cells, head.maps(cells, asked.vector))[0, 0]), strict=True))
        asked.told = {sight: asked.told[sight] for sight in shown}
        self._cells = {sight: self._cells[sight] for sight in shown if sight in self._cells}
        told = torch.stack([asked.told[sight] for sight in sights])
        scores = head.over_time(told[None, None], asked.vector)[0, 0]
        require_finite(scores, "the relevance scores")
        return tuple(scores.sigmoid().tolist())

    def cells(self, frame: Frame) -> NDArray[np.float32]:
        """Return what each cell of a frame shows by itself, beside no other frame: [M, F]."""
        run = (frame,) * _RUN
        cells = self._see(self._head(), {_sight(run): run})[0, 0]
        del self._cells[_sight(run)]  # no question will be asked about it
        require_finite(cells, "the cells")
        return cells.numpy(force=True)

    def distances(self, frame: Frame) -> NDArray[np.float32] | None:
        """Return how far off the thing in each cell of a frame is: [M]; None if the head was not taught that."""
        head = self._head()
        return None if head.distance is None else self._told(frame, "distances", head.distances)

    def free_ranges(self, frame: Frame) -> NDArray[np.float32] | None:
        """Return how far the floor is free in each direction: [columns]; None if the head was not taught that."""
        head = self._head()
        return None if head.free_space is None else self._told(frame, "free ranges", head.free_ranges)

    def cell_queries(self, questions: Sequence[str]) -> NDArray[np.float32]:
        """Return what each question's place map looks for, and its threshold: [N, F + 1]."""
        wanted = self._head().place_queries(self._read(questions))
        require_finite(wanted, "a question's map")
        return wanted.numpy(force=True)

    def forget(self) -> None:
        """Drop all that is kept of frames and questions."""
        self._asked.cache_clear()
        self._cells, self._features = {}, {}
        self._views.clear()

    def close(self) -> None:
        """Drop the model and all that is kept."""
        self.forget()
        del self._model, self._encoder

    def _head(self) -> RelevanceHead:
        head = self._model.relevance_head
        if head is None:
            name = self._model.config.name
            raise BackendError(f"{name} has no relevance head; it can be asked by time tokens or timestamps")
        return head

    def _told(self, frame: Frame, what: str, read: Callable[[Tensor], Tensor]) -> NDArray[np.float32]:
        """What is read from a frame's features, worked out when it is first asked for: most frames are never asked."""
        head = self._head()
        (view,) = self._look(head, [frame])
        told = view.told.get(what)
        if told is None:
            if (features := self._features.get(frame.key)) is None:
                features = self._features_of(head, [frame])
                self._features = {frame.key: features}
            told = read(features)[0]
            require_finite(told, f"the {what}")
            view.told[what] = told
        return told.numpy(force=True)

    def _see(self, head: RelevanceHead, shown: Mapping[Sight, Sequence[Frame]]) -> Tensor:
        """[1, T, M, F] of frames, each beside those that it is compared with; those that are kept come from there."""
        new = [sight for sight in shown if sight not in self._cells]
        if new:
            runs = [self._look(head, frames) for frames in zip(*(shown[sight] for sight in new), strict=True)]
            still = torch.stack([view.still for view in runs[0]]).float()
            now, *earlier = (_pictures(views).to(still.device) for views in runs)
            self._cells.update(zip(new, _rows(head.seen(still[None], now, earlier)[0]), strict=True))
        return torch.stack([self._cells[sight] for sight in shown])[None]

    def _look(self, head: RelevanceHead, frames: Sequence[Frame]) -> list[_View]:
        """What the head keeps of each frame; the new ones are encoded together."""
        views = {frame.key: self._views.get(frame.key) for frame in frames}
        new = [frame for frame in frames if views[frame.key] is None]
        if new:
            tokens = torch.stack([self._encoder.tokens(frame) for frame in new]).float()
            features = self._features_of(head, new)
            self._features = {new[-1].key: features[-1:].clone()}  # a view would keep all of them
            for frame, still in zip(new, _rows(head.still(tokens, features).half()), strict=True):
                seen = _View(still, thumbnail(frame.image))
                views[frame.key] = seen
                self._views.put(frame.key, seen)
        return [view for frame in frames if (view := views[frame.key]) is not None]

    def _features_of(self, head: RelevanceHead, frames: Sequence[Frame]) -> Tensor:
        return head.features(self._model.squares(frames, head.config.picture_px))

    def _read_question(self, question: str) -> _Asked:
        return _Asked(self._read([question])[None])

    def _read(self, questions: Sequence[str]) -> Tensor:
        """Return what each question is to the head, [N, D]; those of one length are read together."""
        model, head = self._model, self._head()
        ids = [model.tokenizer.encode(question) for question in questions]
        read = torch.empty((len(ids), head.config.width), device=model.device)
        for length in sorted(set(map(len, ids))):
            rows = [row for row, own in enumerate(ids) if len(own) == length]
            words = torch.stack([model.embed_ids(ids[row]).float() for row in rows])
            read[rows] = head.question(words, torch.ones(words.shape[:2], dtype=torch.bool, device=model.device))
        return read


def _runs(frames: Sequence[Frame]) -> list[tuple[Frame, ...]]:
    """Each frame with those that it is compared with."""
    return [(frame, *(frames[at] for at in compared_with(number))) for number, frame in enumerate(frames)]


def _sight(run: Sequence[Frame]) -> Sight:
    return tuple(frame.key for frame in run)


def _rows(batch: Tensor) -> list[Tensor]:
    """The rows of a batch, each in memory of its own: one that is kept would keep the others there too."""
    return [row.clone() for row in batch]


def _pictures(views: Sequence[_View]) -> Tensor:
    """[1, T, S, S, 3] uint8."""
    return torch.from_numpy(np.stack([view.thumbnail for view in views]))[None]


@dataclass(slots=True, eq=False)
class _Asked:
    """A question's vector [1, 1, D], and what it was told of the frames of its own last call: [P] each."""

    vector: Tensor
    told: dict[Sight, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """A frame's part that no question changes: still [M, F] float16, its small picture, what else was read from it."""

    still: Tensor
    thumbnail: NDArray[np.uint8]
    told: dict[str, Tensor] = field(default_factory=dict)
