"""Where an utterance begins, pauses and ends, from frames of which it is known whether they are speech."""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16000
FRAME = 480  # samples, 30 ms
FRAME_S = FRAME / SAMPLE_RATE_HZ
_WINDOW, _BEGIN = 8, 5  # frames of speech among the last ones with which an utterance begins
_BEFORE = 14  # frames that are kept of what was before


class Mark(enum.Enum):
    """What a frame was for the utterance."""

    NOTHING = 0
    BEGIN = 1
    PAUSE = 2  # a short one: somebody who only said one word has said it
    END = 3


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long silence must be, and an utterance may be."""

    short_s: float = 0.24
    end_s: float = 0.6
    most_s: float = 12.0  # after which an utterance is ended, as nobody says so much to a robot


class Endpointer:
    """Collects the samples of an utterance. No clock: time is what the frames take."""

    def __init__(self, pauses: Pauses | None = None) -> None:
        self._pauses = pauses or Pauses()
        self._before: deque[tuple[NDArray[np.int16], bool]] = deque(maxlen=_BEFORE)
        self._frames: list[NDArray[np.int16]] = []
        self._silent, self._voiced = 0, 0
        self.is_speaking = False

    @property
    def samples(self) -> NDArray[np.int16]:
        """The utterance so far, with a little of what was before and behind it."""
        return np.concatenate(self._frames) if self._frames else np.zeros(0, np.int16)

    @property
    def spoken_s(self) -> float:
        """From the beginning to the last frame of speech."""
        return max(0, self._voiced) * FRAME_S

    @property
    def silent_s(self) -> float:
        """Since the last frame of speech."""
        return self._silent * FRAME_S

    def put(self, frame: NDArray[np.int16], is_speech: bool) -> Mark:
        """Take a frame of FRAME samples; after END the utterance is there until the next one begins."""
        if not self.is_speaking:
            return self._wait(frame, is_speech)
        self._frames.append(frame)
        self._silent = 0 if is_speech else self._silent + 1
        begun = len(self._frames) - min(_BEFORE, len(self._frames))
        if is_speech:
            self._voiced = begun + _BEGIN
        if self._silent == _frames(self._pauses.short_s):
            return Mark.PAUSE
        if self._silent >= _frames(self._pauses.end_s) or begun >= _frames(self._pauses.most_s):
            self.is_speaking = False
            self._before.clear()
            return Mark.END
        return Mark.NOTHING

    def drop(self) -> None:
        """Forget the utterance; the next one begins anew."""
        self.is_speaking = False
        self._before.clear()

    def _wait(self, frame: NDArray[np.int16], is_speech: bool) -> Mark:
        self._before.append((frame, is_speech))
        if sum(voiced for _, voiced in list(self._before)[-_WINDOW:]) < _BEGIN:
            return Mark.NOTHING
        self.is_speaking, self._silent, self._voiced = True, 0, _BEGIN
        self._frames = [one for one, _ in self._before]
        return Mark.BEGIN


def _frames(seconds: float) -> int:
    return max(1, round(seconds / FRAME_S))
