"""Recognition of any words by faster-whisper, where it is installed; its model is a folder that you name."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import ConfigError
from vila_core.voice.phrases import Phrases
from vila_core.voice.recognisers import Recognition, missing


class WhisperRecogniser:
    """Understands English of any words; what the model does not know the navigator refuses."""

    def __init__(self, phrases: Phrases, model: Path | None) -> None:
        if model is None or not model.is_dir():
            raise ConfigError(
                f"recogniser_model = {str(model or '')!r}: must be the folder of a model of faster-whisper"
            )
        try:
            library = import_module("faster_whisper")
        except ModuleNotFoundError as err:
            raise missing("faster_whisper", "pip install faster-whisper") from err
        self._model = library.WhisperModel(str(model), device="cpu", compute_type="int8")
        self._words = " ".join(phrases.words)

    def recognise(self, samples: NDArray[np.int16]) -> Recognition:
        """Return what was said, in small letters without punctuation; probability: the mean of the tokens'."""
        sound = samples.astype(np.float32) / 32768
        found, _ = self._model.transcribe(sound, language="en", initial_prompt=self._words, beam_size=3)
        segments = list(found)
        text = " ".join(segment.text for segment in segments)
        plain = "".join(each if each.isalpha() or each in " '" else " " for each in text.lower())
        if not plain.split():
            return Recognition("", 0.0)
        mean = sum(segment.avg_logprob for segment in segments) / len(segments)
        return Recognition(" ".join(plain.split()), float(min(1.0, math.exp(mean))))
