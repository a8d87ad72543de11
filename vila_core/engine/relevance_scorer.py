"""Scores frames for questions with the model's relevance head; what does not depend on the question is done once."""

from __future__ import annotations

from collections.abc import Sequence
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

_QUESTIONS, _THUMBNAILS = 64, 1024


class RelevanceScorer:
    """Keeps small pictures by frame, vectors by question, and the last run of frames as the head sees it."""

    def __init__(self, model: VisionLanguageModel, encoder: FrameEncoder) -> None:
        self._model, self._encoder = model, encoder
        self._thumbnails: VisualCache[NDArray[np.uint8]] = VisualCache(_THUMBNAILS)
        self._question = lru_cache(maxsize=_QUESTIONS)(self._read_question)
        self._seen: tuple[tuple[object, ...], Tensor] = ((), torch.empty(0))

    def score(self, question: str, frames: Sequence[Frame]) -> tuple[float, ...]:
        """Return one probability a frame; BackendError if the model has no head."""
        head = self._head()
        logits = head.over_time(self._see(head, frames)[:, None], self._question(question)[None, None])
        return tuple(logits[0, 0].sigmoid().tolist())

    def close(self) -> None:
        """Drop the model and all that is kept."""
        self._question.cache_clear()
        self._seen = ((), torch.empty(0))
        self._thumbnails = VisualCache(1)
        del self._model, self._encoder

    def _head(self) -> RelevanceHead:
        head = self._model.relevance_head
        if head is None:
            name = self._model.config.name
            raise BackendError(f"{name} has no relevance head; it can be asked by time tokens or timestamps")
        return head

    def _see(self, head: RelevanceHead, frames: Sequence[Frame]) -> Tensor:
        """[1, T, N, F] of the frames."""
        keys = tuple(frame.key for frame in frames)
        if self._seen[0] != keys:
            tokens = torch.stack([self._encoder.tokens(frame) for frame in frames])
            pictures = torch.from_numpy(np.stack([self._thumbnail(frame) for frame in frames])).to(tokens.device)
            self._seen = (keys, head.seen(tokens[None].float(), pictures[None]))
        return self._seen[1]

    def _thumbnail(self, frame: Frame) -> NDArray[np.uint8]:
        kept = self._thumbnails.get(frame.key)
        if kept is None:
            kept = thumbnail(frame.image)
            self._thumbnails.put(frame.key, kept)
        return kept

    def _read_question(self, question: str) -> Tensor:
        """The question's vector [D]."""
        model = self._model
        words = model.embed_ids(model.tokenizer.encode(question)).float()
        known = torch.ones((1, len(words)), dtype=torch.bool, device=model.device)
        return self._head().question(words[None], known)[0]
