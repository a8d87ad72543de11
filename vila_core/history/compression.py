"""How many visual tokens each selected frame may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenPlan:
    """Visual tokens per selected frame, oldest first, current last; None keeps them all."""

    tokens: tuple[int | None, ...]

    def total(self, full: int) -> int:
        """Return the number of visual tokens when a whole frame has `full`."""
        return sum(full if t is None else min(t, full) for t in self.tokens)


def plan_tokens(num_frames: int, history_tokens: int | None) -> TokenPlan:
    """Give the current frame all its tokens and each older one history_tokens (None: all too).

    Raises ValueError for num_frames < 1 or history_tokens < 1.
    """
    if num_frames < 1 or (history_tokens is not None and history_tokens < 1):
        raise ValueError(f"need at least 1 frame and 1 token, got {num_frames} frames, {history_tokens} tokens")
    return TokenPlan((history_tokens,) * (num_frames - 1) + (None,))
