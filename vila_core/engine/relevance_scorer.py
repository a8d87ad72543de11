"""Scores frames for questions with the model's relevance head; what does not depend on the question is done once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vila_core.engine.frame_encoder import FrameEncoder
from vila_core.engine.visual_cache import VisualCache
from vila_core.errors import BackendError
from vila_core.models.relevance import RelevanceHead, thumbnail
from vila_core.models.vlm import VisionLanguageModel
from vila_core.types import Frame

_QUESTIONS, _FRAMES = 64, 1024
_AT_ONCE = 16  # frames that are encoded together


class RelevanceScorer:
    """Keeps what each frame shows, vectors by question, and the last run of frames as the head sees it."""

    def __init__(self, model: VisionLanguageModel, encoder: FrameEncoder) -> None:
        self._model, self._encoder = model, encoder
        self._views: VisualCache[_View] = VisualCache(_FRAMES)
        self._question = lru_cache(maxsize=_QUESTIONS)(self._read_question)
        self._seen: tuple[tuple[object, ...], Tensor] = ((), torch.empty(0))

    def score(self, question: str, frames: Sequence[Frame]) -> tuple[float, ...]:
        """Return one probability a frame; BackendError if the model has no head."""
        head = self._head()
        cells, asked = self._see(head, frames), self._question(question)[None, None]
        logits = head.over_time(cells, head.maps(cells, asked), asked)
        return tuple(logits[0, 0].sigmoid().tolist())

    def close(self) -> None:
        """Drop the model and all that is kept."""
        self._question.cache_clear()
        self._seen = ((), torch.empty(0))
        self._views = VisualCache(1)
        del self._model, self._encoder

    def _head(self) -> RelevanceHead:
        head = self._model.relevance_head
        if head is None:
            name = self._model.config.name
            raise BackendError(f"{name} has no relevance head; it can be asked by time tokens or timestamps")
        return head

    def _see(self, head: RelevanceHead, frames: Sequence[Frame]) -> Tensor:
        """[1, T, M, F] of the frames."""
        keys = tuple(frame.key for frame in frames)
        if self._seen[0] != keys:
            views = self._look(head, frames)
            still = torch.stack([view.still for view in views]).float()
            pictures = torch.from_numpy(np.stack([view.thumbnail for view in views])).to(still.device)
            self._seen = (keys, head.seen(still[None], pictures[None]))
        return self._seen[1]

    def _look(self, head: RelevanceHead, frames: Sequence[Frame]) -> list[_View]:
        """What the head keeps of each frame; the new ones are encoded together."""
        views = {frame.key: self._views.get(frame.key) for frame in frames}
        new = [frame for frame in frames if views[frame.key] is None]
        for first in range(0, len(new), _AT_ONCE):
            part = new[first : first + _AT_ONCE]
            tokens = torch.stack([self._encoder.tokens(frame) for frame in part]).float()
            features = head.features(self._model.squares(part, head.config.picture_px))
            for frame, still in zip(part, head.still(tokens, features).half(), strict=True):
                seen = _View(still, thumbnail(frame.image))
                views[frame.key] = seen
                self._views.put(frame.key, seen)
        return [view for frame in frames if (view := views[frame.key]) is not None]

    def _read_question(self, question: str) -> Tensor:
        """The question's vector [D]."""
        model = self._model
        words = model.embed_ids(model.tokenizer.encode(question)).float()
        known = torch.ones((1, len(words)), dtype=torch.bool, device=model.device)
        return self._head().question(words[None], known)[0]


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """A frame's part that no question changes: still [M, F] float16, and its small picture."""

    still: Tensor
    thumbnail: NDArray[np.uint8]
