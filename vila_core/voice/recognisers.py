"""Recognisers of speech, by name: each turns the samples of an utterance into a text and how sure it is of that."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import ConfigError, MissingDependencyError
from vila_core.voice.phrases import Phrases

RECOGNISERS = {
    "pocketsphinx": "vila_core.voice.pocketsphinx_recogniser:PocketsphinxRecogniser",
    "faster-whisper": "vila_core.voice.whisper_recogniser:WhisperRecogniser",
}


@dataclass(frozen=True, slots=True)
class Recognition:
    """Hold what was understood; text is empty if nothing was. probability: 0..1."""

    text: str
    probability: float


class Recogniser(Protocol):
    """Understands utterances of 16 kHz, int16 [N]; made with the phrases and a model's folder, None for its own."""

    def recognise(self, samples: NDArray[np.int16]) -> Recognition:
        """Return what was said."""


def make_recogniser(name: str, phrases: Phrases, model: Path | None = None) -> Recogniser:
    """Make the recogniser of this name.

    Raises ConfigError for a name that is not a row of RECOGNISERS, MissingDependencyError without its library.
    """
    if name not in RECOGNISERS:
        raise ConfigError(f"recogniser = {name!r}: must be one of {', '.join(RECOGNISERS)}")
    module, _, attribute = RECOGNISERS[name].partition(":")
    recogniser: Recogniser = getattr(import_module(module), attribute)(phrases, model)
    return recogniser


def missing(library: str, install: str) -> MissingDependencyError:
    """Return the error for a library that is not installed."""
    return MissingDependencyError(f"the voice needs {library!r}, which is not installed; run `{install}`")
