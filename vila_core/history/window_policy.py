"""A history that is only appended to: what a prompt began with, the next one begins with, until a bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vila_core.history.memory import Memory
from vila_core.history.policy import VisualInfo, blank_like, is_blank, require_frames
from vila_core.types import Frame, Visual


@dataclass(frozen=True, slots=True)
class WindowSizes:
    """How much is shown: visuals of the memory, frames of the window, and of those how many outlive a rebuild."""

    window: int  # at least 2
    kept: int  # less than window
    memory: int


class WindowPolicy:
    """Shows a memory, then a window to which each selection appends its newest frame.

    When the window is full it is rebuilt: its last frames stay, and all that was seen before them becomes the new
    memory. So the number of visual tokens is bounded, and between two rebuilds each prompt repeats the one before
    it. A memory of too few frames has black ones in front.
    """

    def __init__(self, model: VisualInfo, sizes: WindowSizes, memory: Memory) -> None:
        self._model = model
        self._sizes = sizes
        self._kind = memory
        self._memory: tuple[Visual, ...] = ()
        self._window: tuple[Frame, ...] = ()

    @property
    def max_visual_tokens(self) -> int:
        """The visual tokens when memory and window are full; see HistoryPolicy."""
        whole = self._model.visual_tokens
        remembered = self._kind.tokens(self._model) or whole
        older = self._model.history_tokens or whole
        return self._sizes.memory * remembered + (self._sizes.window - 1) * older + whole

    def select(self, frames: Sequence[Frame]) -> tuple[Visual, ...]:
        """Append the newest frame, unless it is there, and return memory and window; see HistoryPolicy."""
        require_frames(frames)
        newest, known = frames[-1], self._window
        if not known or (newest.key != known[-1].key and self._is_full()):
            kept = self._kept()
            self._memory, self._window = self._remembered(frames[:-1], kept, newest), (*kept, newest)
        elif newest.key != known[-1].key:
            self._window = (*known, newest)
        return (*self._memory, *self._older(self._window[:-1]), Visual(newest))

    def ahead(self, frames: Sequence[Frame]) -> tuple[Frame, ...]:
        """Return the frames that the memory would hold if it were made now, less those that are shown."""
        if not frames:
            return ()
        shown = {frame.key for frame in (*_frames_of(self._memory), *self._window)}
        coming = _frames_of(self._remembered(frames[:-1], self._kept(), frames[-1]))
        return tuple(frame for frame in coming if frame.key not in shown and not is_blank(frame))

    def upcoming(self, frames: Sequence[Frame]) -> tuple[Visual, ...]:
        """Return memory and window, or what a rebuild makes of them; nothing if that depends on frames to come."""
        if self._window and not self._is_full():
            return (*self._memory, *self._older(self._window))
        kept = self._kept()
        return (*self._remembered(frames, kept, kept[0]), *self._older(kept)) if kept else ()

    def reset(self) -> None:
        """Forget memory and window."""
        self._memory, self._window = (), ()

    def _is_full(self) -> bool:
        return len(self._window) >= self._sizes.window

    def _kept(self) -> tuple[Frame, ...]:
        return self._window[-self._sizes.kept :] if self._sizes.kept else ()

    def _remembered(self, frames: Sequence[Frame], kept: Sequence[Frame], like: Frame) -> tuple[Visual, ...]:
        """Make the memory of the frames before the kept ones; like: of which size the black frames are."""
        older = [frame for frame in frames if not kept or frame.stamp_ns < kept[0].stamp_ns]
        spans = self._kind.spans(older, self._sizes.memory, self._model)
        tokens = self._kind.tokens(self._model)
        blanks = (Visual(blank_like(like), tokens),) * (self._sizes.memory - len(spans))
        return (*blanks, *(Visual(span[-1], tokens, span[:-1]) for span in spans))

    def _older(self, frames: Sequence[Frame]) -> tuple[Visual, ...]:
        return tuple(Visual(frame, self._model.history_tokens) for frame in frames)


def _frames_of(visuals: Sequence[Visual]) -> tuple[Frame, ...]:
    return tuple(frame for visual in visuals for frame in visual.frames)
