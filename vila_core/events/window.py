"""The frames that standing queries are asked about: appended to up to a bound, so each prompt repeats the last."""

from __future__ import annotations

from vila_core.types import Frame


class AppendedWindow:
    """Takes the newest frame at each evaluation, and starts again with its newer half when it is full or too long.

    Between two such rebuilds each window begins with the one before: what a model read of it can be kept. All frames
    of a rebuilt one were in the last, so none is encoded anew.
    """

    def __init__(self, most: int, span_ns: int, step_ns: int) -> None:
        """most: frames, at least 2. span_ns: from the first to the last at most. step_ns: between two at least."""
        if most < 2:
            raise ValueError(f"most {most}: must be at least 2")
        self._most = most
        self._span_ns = span_ns
        self._step_ns = step_ns
        self._frames: tuple[Frame, ...] = ()

    @property
    def frames(self) -> tuple[Frame, ...]:
        """What it holds, oldest first."""
        return self._frames

    def awaits(self, newest: Frame) -> bool:
        """Tell whether the frame would be appended."""
        return not self._frames or newest.stamp_ns - self._frames[-1].stamp_ns >= self._step_ns

    def extend(self, before: Frame, newest: Frame) -> tuple[Frame, ...]:
        """Append the newest frame if it is a step younger than the last, and return the window.

        before: what an empty window begins with, as a time needs two frames to be told.
        """
        if not self._frames:
            self._frames = (before, newest)
        elif self.awaits(newest):
            if len(self._frames) >= self._most or newest.stamp_ns - self._frames[0].stamp_ns > self._span_ns:
                self._frames = self._newer_half(newest)
            self._frames = (*self._frames, newest)
        return self._frames

    def clear(self) -> None:
        """Forget all."""
        self._frames = ()

    def _newer_half(self, newest: Frame) -> tuple[Frame, ...]:
        half = self._frames[-max(1, self._most // 2) :]
        young = tuple(frame for frame in half if newest.stamp_ns - frame.stamp_ns <= self._span_ns // 2)
        return young or self._frames[-1:]
