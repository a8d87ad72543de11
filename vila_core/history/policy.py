"""What decides which of the remembered frames a prompt shows: the interface, and what it must know of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from vila_core.types import Frame, Visual

_BLANK_CAMERA = "blank"


class VisualInfo(Protocol):
    """The part of engine.backend.ModelInfo that history depends on; the fields are told there."""

    @property
    def num_frames(self) -> int:
        """Frames in a prompt, the current one included."""
        ...

    @property
    def history_tokens(self) -> int | None:
        """Visual tokens of an older frame, None for all."""
        ...

    @property
    def visual_tokens(self) -> int:
        """Visual tokens of a whole frame."""
        ...

    @property
    def pool(self) -> tuple[int, int, int] | None:
        """(frames, rows, columns) that the model was trained to average, if it was."""
        ...


class HistoryPolicy(Protocol):
    """Chooses what a prompt shows. frames: `FrameHistory.snapshot()`, oldest first, the newest is the current one.

    A policy may remember what it showed; it holds a bounded number of frames, also some that the history has since
    dropped. Not thread-safe.
    """

    @property
    def max_visual_tokens(self) -> int:
        """The most visual tokens that a selection ever has."""
        ...

    def select(self, frames: Sequence[Frame]) -> tuple[Visual, ...]:
        """Return what to show, oldest first and the current frame last; ValueError without frames."""
        ...

    def ahead(self, frames: Sequence[Frame]) -> tuple[Frame, ...]:
        """Return frames that one of the next selections is likely to show, to be encoded in idle time.

        The most urgent come first; some may have been shown before.
        """
        ...

    def upcoming(self, frames: Sequence[Frame]) -> tuple[Visual, ...]:
        """Return what the next selection with a newer frame will begin with, as far as that can be told."""
        ...

    def reset(self) -> None:
        """Forget what was shown: another mission begins, or the clock was reset."""
        ...


def require_frames(frames: Sequence[Frame]) -> None:
    """Raise ValueError if there are no frames to select from."""
    if not frames:
        raise ValueError("a selection needs at least the current frame")


def blank_like(frame: Frame) -> Frame:
    """Return a black frame of the same size, which stands for what was before the first frame, as NaVILA was trained.

    Every black frame has the same key.
    """
    return Frame(np.zeros_like(frame.image), 0, _BLANK_CAMERA)


def is_blank(frame: Frame) -> bool:
    """Return True for a frame that `blank_like` made."""
    return frame.camera == _BLANK_CAMERA
