"""Each frame is encoded once: a bounded map from a frame to its visual tokens."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from vila_core.types import FrameKey

T = TypeVar("T")


class VisualCache(Generic[T]):
    """Least-recently-used map from a frame to its visual tokens; counts hits and misses."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity {capacity}: must be at least 1")
        self.capacity = capacity
        self.hits = 0
        self.misses = 0
        self._tokens: OrderedDict[FrameKey, T] = OrderedDict()

    def get(self, key: FrameKey) -> T | None:
        """Return the frame's visual tokens, or None if they must be computed."""
        tokens = self._tokens.get(key)
        if tokens is None:
            self.misses += 1
            return None
        self.hits += 1
        self._tokens.move_to_end(key)
        return tokens

    def put(self, key: FrameKey, tokens: T) -> None:
        """Keep the frame's visual tokens; the longest unused ones make room."""
        self._tokens[key] = tokens
        self._tokens.move_to_end(key)
        while len(self._tokens) > self.capacity:
            self._tokens.popitem(last=False)

    def clear(self) -> None:
        """Forget all frames; the counts stay."""
        self._tokens.clear()

    def __contains__(self, key: FrameKey) -> bool:
        """Tell if the frame's visual tokens are there; counts nothing."""
        return key in self._tokens

    def __len__(self) -> int:
        return len(self._tokens)
