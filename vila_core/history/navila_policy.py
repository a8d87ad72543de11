"""NaVILA's own history: at each step the frames are chosen anew, evenly over all that was seen.

`select_frames` says which frames, `plan_tokens` how many visual tokens each of them may cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vila_core.history.policy import VisualInfo, blank_like, require_frames
from vila_core.types import Frame, Visual

BLANK = -1  # stands for a black frame before the oldest real one
_STEPS_AHEAD = 3  # a decision moves three unit steps at most: 75 cm or 45 degrees


class NavilaPolicy:
    """Shows `num_frames` frames as `select_frames` picks them, black ones in front of too few."""

    def __init__(self, model: VisualInfo) -> None:
        self._model = model
        self._plan = plan_tokens(model.num_frames, model.history_tokens)

    @property
    def max_visual_tokens(self) -> int:
        """The visual tokens of every selection; see HistoryPolicy."""
        return self._plan.total(self._model.visual_tokens)

    def select(self, frames: Sequence[Frame]) -> tuple[Visual, ...]:
        """Return `num_frames` visuals; see HistoryPolicy."""
        require_frames(frames)
        indices = select_frames(len(frames), self._model.num_frames)
        blank = blank_like(frames[-1]) if BLANK in indices else frames[-1]
        shown = (blank if index == BLANK else frames[index] for index in indices)
        return tuple(Visual(frame, tokens) for frame, tokens in zip(shown, self._plan.tokens, strict=True))

    def ahead(self, frames: Sequence[Frame]) -> tuple[Frame, ...]:
        """Return the frames that are picked now, and when one, two or three more have come.

        The newest is left out: unless the robot moves on it is soon another.
        """
        counts = range(len(frames), len(frames) + _STEPS_AHEAD + 1)
        picked = [index for count in counts for index in select_frames(count, self._model.num_frames)]
        return tuple(frames[index] for index in dict.fromkeys(picked) if 0 <= index < len(frames) - 1)

    def upcoming(self, frames: Sequence[Frame]) -> tuple[Visual, ...]:
        """Return nothing: which frames are next depends on how many will have come."""
        return ()

    def reset(self) -> None:
        """Need nothing: each selection is made anew."""


def select_frames(n: int, num_frames: int) -> list[int]:
    """Choose num_frames of n frames as NaVILA does: evenly spaced, and the newest last.

    Returns indices, oldest first; BLANK pads in front when n < num_frames. The first frame is
    always among them if num_frames > 1. The rounding is part of the definition: for 64 frames it
    differs from exact integer division for some n. Raises ValueError for n < 0 or num_frames < 1.
    """
    if n < 0 or num_frames < 1:
        raise ValueError(f"need n >= 0 and num_frames >= 1, got n={n}, num_frames={num_frames}")
    blanks = max(0, num_frames - n)
    last = n + blanks - 1
    history = np.linspace(0, last, num_frames - 1, endpoint=False, dtype=int)
    return [max(BLANK, int(i) - blanks) for i in (*history, last)]


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
