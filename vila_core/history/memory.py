"""What a window remembers of the frames before it: a few spans of them, each shown as one visual."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from vila_core.history.policy import VisualInfo
from vila_core.types import Frame

T = TypeVar("T")
Span = tuple[Frame, ...]  # frames that follow each other, oldest first, at least one
MAX_MERGED = 8  # frames averaged in one visual; NVILA-Video's TSP averages as many
_SAVING = 4  # a remembered visual has at most this part of a whole frame's tokens


@dataclass(frozen=True, slots=True)
class Memory:
    """A kind of memory.

    spans: (older frames, at most so many spans, model) -> the spans that are shown, oldest first. tokens: the visual
    tokens of each, None for all.
    """

    spans: Callable[[Sequence[Frame], int, VisualInfo], tuple[Span, ...]]
    tokens: Callable[[VisualInfo], int | None]


def merged_spans(frames: Sequence[Frame], count: int, model: VisualInfo) -> tuple[Span, ...]:
    """Cut the frames into spans to be averaged over time, at most count of them.

    A model with pool gets spans of its own length, evenly chosen if there are more; for others the spans cover all
    frames, of which MAX_MERGED in each span are taken, evenly chosen.
    """
    if model.pool is not None:
        length = model.pool[0]
        cut = [frames[start : start + length] for start in range(0, len(frames), length)]
        return tuple(tuple(span) for span in evenly(cut, count))
    return tuple((*evenly(span[:-1], MAX_MERGED - 1), span[-1]) for span in _even_spans(frames, count))


def sampled_spans(frames: Sequence[Frame], count: int, model: VisualInfo) -> tuple[Span, ...]:
    """Return single frames, evenly chosen (StreamVLN's memory)."""
    return tuple((frame,) for frame in evenly(frames, count))


def merged_tokens(model: VisualInfo) -> int | None:
    """Visual tokens of a merged span: those of the model's pool or of its older frames, otherwise a quarter."""
    if model.pool is None and model.history_tokens is not None:
        return model.history_tokens
    part = _SAVING if model.pool is None else model.pool[1] * model.pool[2]
    return square_tokens(model.visual_tokens, model.visual_tokens // part)


def sampled_tokens(model: VisualInfo) -> int | None:
    """Visual tokens of a sampled frame: those of any older frame."""
    return model.history_tokens


def square_tokens(visual_tokens: int, limit: int) -> int | None:
    """Return the largest square of at most limit tokens, but at least 1.

    None, which keeps all, if that is the whole grid or if the tokens make no square: then they cannot be pooled.
    """
    if math.isqrt(visual_tokens) ** 2 != visual_tokens or limit >= visual_tokens:
        return None
    return math.isqrt(max(1, limit)) ** 2


def evenly(items: Sequence[T], count: int) -> tuple[T, ...]:
    """Return count of the items, the first always among them, or all if there are no more than that."""
    if len(items) <= count:
        return tuple(items)
    return tuple(items[len(items) * part // count] for part in range(count))


def _even_spans(frames: Sequence[Frame], count: int) -> list[Sequence[Frame]]:
    total = len(frames)
    parts = min(count, total)
    return [frames[total * part // parts : total * (part + 1) // parts] for part in range(parts)]


MERGED = Memory(merged_spans, merged_tokens)
SAMPLED = Memory(sampled_spans, sampled_tokens)
