"""NaVILA's own history: at each step the frames are chosen anew, evenly over all that was seen."""

from __future__ import annotations

from collections.abc import Sequence

from vila_core.history.blank import blank_like
from vila_core.history.compression import plan_tokens
from vila_core.history.policy import VisualInfo, require_frames
from vila_core.history.sampling import BLANK, select_frames
from vila_core.types import Frame, Visual

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
