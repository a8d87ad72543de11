"""From frames of sound to what was said: speech is found, understood at its end, and "stop" sooner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vila_core.voice.endpoint import FRAME, Endpointer, Mark, Pauses
from vila_core.voice.phrases import Meaning, Phrases, meaning_of
from vila_core.voice.pocketsphinx_recogniser import PocketsphinxRecogniser
from vila_core.voice.recognisers import Recogniser, missing

_STOP_S = 1.5  # nobody takes longer to say stop
_CUT_FACTOR = 0.9  # of the probability, for a word behind a sentence's end that was not said


@dataclass(frozen=True, slots=True)
class Understood:
    """What an utterance was. duration_s: of the speech; ended_s: how long ago that was over."""

    text: str
    meaning: Meaning
    probability: float
    duration_s: float
    ended_s: float


def webrtc_vad() -> Callable[[NDArray[np.int16]], bool]:
    """Return WebRTC's judge of whether a frame is speech, which pocketsphinx brings."""
    try:
        import pocketsphinx
    except ModuleNotFoundError as err:
        raise missing(err.name or "pocketsphinx", "pip install '.[voice]'") from err
    vad: Any = pocketsphinx.Vad(mode=pocketsphinx.Vad.STRICT, sample_rate=16000, frame_length=0.03)
    return lambda frame: bool(vad.is_speech(frame.tobytes()))


class VoiceListener:
    """Hears sound of 16 kHz in pieces of any size.

    recogniser: of what is said. stops: of the emergency stop, always pocketsphinx, which answers soonest.
    """

    def __init__(
        self,
        phrases: Phrases,
        recogniser: Recogniser,
        stops: PocketsphinxRecogniser,
        is_speech: Callable[[NDArray[np.int16]], bool],
        pauses: Pauses | None = None,
    ) -> None:
        self._phrases, self._recogniser, self._stops, self._is_speech = phrases, recogniser, stops, is_speech
        self._endpointer = Endpointer(pauses)
        self._rest = np.zeros(0, np.int16)

    def put(self, samples: NDArray[np.int16], *, only_stop: bool = False) -> list[Understood]:
        """Return what was said to its end in these samples.

        only_stop: all else is not listened to, as the robot itself speaks.
        """
        found = []
        sound = np.concatenate([self._rest, samples])
        whole = len(sound) // FRAME * FRAME
        self._rest = sound[whole:]
        for frame in sound[:whole].reshape(-1, FRAME):
            mark = self._endpointer.put(frame, self._is_speech(frame))
            if mark is Mark.PAUSE and (stop := self._stop()) is not None:
                self._endpointer.drop()
                found.append(stop)
            elif mark is Mark.END and not only_stop:
                found.append(self._end())
        return found

    def _stop(self) -> Understood | None:
        ears = self._endpointer
        if ears.spoken_s > _STOP_S or not self._stops.is_stop(ears.samples):
            return None
        return Understood("stop", Meaning.STOP, 1.0, ears.spoken_s, ears.silent_s)

    def _end(self) -> Understood:
        ears = self._endpointer
        said = self._recogniser.recognise(ears.samples)
        meaning, text, probability = meaning_of(said.text), said.text, said.probability
        if meaning is Meaning.STOP:  # judged at the pause already, beside other words
            meaning = Meaning.OTHER
        if meaning is Meaning.INSTRUCTION and isinstance(self._recogniser, PocketsphinxRecogniser):
            text = self._phrases.cut(said.text)
            probability *= 1.0 if text == said.text else _CUT_FACTOR
            meaning = meaning if text else Meaning.OTHER
        return Understood(text or said.text, meaning, probability, ears.spoken_s, ears.silent_s)
