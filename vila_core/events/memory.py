"""The frames that can be asked about: one per period, over a bounded time, in order of their stamps."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from vila_core.errors import FrameError
from vila_core.media.images import check_image, squeezed
from vila_core.types import Frame

_SLACK = 0.1  # of the period: a frame that comes so much too early is taken, as cameras are not punctual
_AT_ONCE = 2  # images that are squeezed when one is kept: a camera must not wait for a whole window of them


@dataclass(frozen=True, slots=True)
class Kept:
    """A remembered frame; number: how many were kept before it, so that every n-th is always the same one."""

    number: int
    frame: Frame


class FrameMemory:
    """Keeps one frame per period; older than history_ns behind the newest is forgotten. Not thread-safe.

    Images are referred to, not copied: the caller must not write into them. Those older than recent_ns are squeezed to
    picture_px a side, if that is given.
    """

    def __init__(self, period_ns: int, history_ns: int, *, recent_ns: int = 0, picture_px: int | None = None) -> None:
        self._period_ns, self._history_ns, self._recent_ns = period_ns, history_ns, recent_ns
        self._picture_px = picture_px
        most = history_ns // max(1, period_ns) + 2
        self._old: deque[Kept] = deque(maxlen=most)  # squeezed
        self._recent: deque[Kept] = deque(maxlen=most)
        self._number = 0
        self._due_ns: int | None = None  # when the next frame is to be kept
        self.newest_ns: int | None = None  # of all frames, kept or not
        self.camera = ""

    def is_due(self, stamp_ns: int) -> bool:
        """Tell whether a frame of this stamp has to be added: it would be kept, or is older than the newest."""
        is_old = self.newest_ns is not None and stamp_ns <= self.newest_ns
        return is_old or self._due_ns is None or stamp_ns >= self._due_ns - _SLACK * self._period_ns

    def add(self, frame: Frame) -> bool:
        """Take the camera's next frame; True if it is kept.

        Raises FrameError for an image that is not [H, W, 3] uint8, another camera, or a stamp that is not newer;
        the memory is then as before.
        """
        check_image(frame)
        if self.newest_ns is not None:
            self._check_order(frame)
        is_due = self.is_due(frame.stamp_ns)
        self.newest_ns, self.camera = frame.stamp_ns, frame.camera
        if not is_due:
            return False
        due_ns = frame.stamp_ns if self._due_ns is None else self._due_ns
        late = frame.stamp_ns - due_ns >= self._period_ns
        self._due_ns = (frame.stamp_ns if late else due_ns) + self._period_ns
        self._recent.append(Kept(self._number, frame))
        self._number += 1
        for kept in (self._old, self._recent):
            while kept and kept[0].frame.stamp_ns < frame.stamp_ns - self._history_ns:
                kept.popleft()
        if self._picture_px is not None:
            self._squeeze(frame.stamp_ns - self._recent_ns, self._picture_px)
        return True

    def snapshot(self) -> tuple[Kept, ...]:
        """Return what is kept, oldest first."""
        return (*self._old, *self._recent)

    def clear(self) -> None:
        """Forget all frames, also which camera it was."""
        self._old.clear()
        self._recent.clear()
        self._due_ns = self.newest_ns = None
        self.camera = ""

    def _squeeze(self, before_ns: int, picture_px: int) -> None:
        for _ in range(_AT_ONCE):
            if self._recent[0].frame.stamp_ns >= before_ns:
                return
            kept = self._recent.popleft()
            self._old.append(Kept(kept.number, squeezed(kept.frame, picture_px)))

    def _check_order(self, frame: Frame) -> None:
        if frame.camera != self.camera:
            raise FrameError(f"frame of camera {frame.camera!r} in the memory of {self.camera!r}")
        if self.newest_ns is not None and frame.stamp_ns <= self.newest_ns:
            raise FrameError(f"stamp {frame.stamp_ns} ns is not after the newest frame's {self.newest_ns} ns")


def thinned(frames: tuple[Frame, ...], count: int) -> tuple[Frame, ...]:
    """At most count of the frames, spread evenly, the first and the last among them; ValueError for less than 2."""
    if count < 2:
        raise ValueError(f"count {count}: must be at least 2")
    if len(frames) <= count:
        return frames
    last = len(frames) - 1
    return tuple(frames[round(index * last / (count - 1))] for index in range(count))
