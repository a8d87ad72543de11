"""Recognition by pocketsphinx, which brings its weights: offline, of the phrases of a grammar alone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import ConfigError
from vila_core.voice.phrases import Phrases, is_stop
from vila_core.voice.recognisers import Recognition, missing

# How words are said that its dictionary lacks, and in other ways: a stop with a breath behind it, British vowels.
_PRONUNCIATIONS = {
    "settee": ("S EH T IY",),
    "stop": ("S T AA P HH", "S T AO P", "S T AO P HH", "S T AA P AH"),
    "halt": ("HH AO L T HH", "HH AA L T"),
    "chair": ("CH EH", "CH EH AH"),
    "armchair": ("AA M CH EH", "AA M CH EH AH"),
    "bear": ("B EH", "B EH AH"),
    "there": ("DH EH",),
}
# Wider beams and lighter grammar than its own: a phrase that is wrong then scores less, and is asked about.
_SEARCH = {"lw": 1.0, "pip": 0.5, "wip": 0.3, "beam": 1e-64, "wbeam": 1e-48, "pbeam": 1e-64}
_LOG_BASE = math.log(1.0001)  # of its scores, which are relative to the best sound of each 10 ms
_EVEN_SCORE, _SCORE_SCALE = -34.0, 2.5  # by `vila bench voice`: what scores -30 and better was mostly said so
_LEAST_STOP, _LEAST_STOP_BESIDE_ALL = 0.17, 0.48  # beside words that sound like it; beside instructions


class PocketsphinxRecogniser:
    """Understands the phrases, in American and plain British English."""

    def __init__(self, phrases: Phrases, model: Path | None = None) -> None:
        try:
            import pocketsphinx
        except ModuleNotFoundError as err:
            raise missing(err.name or "pocketsphinx", "pip install '.[voice]'") from err
        given = {} if model is None else {"hmm": str(model)}
        try:  # bestpath: a lattice of a grammar takes minutes, and adds nothing
            self._decoder = pocketsphinx.Decoder(
                lm=None, loglevel="FATAL", cmn="batch", bestpath=False, **_SEARCH, **given
            )
        except RuntimeError as err:
            raise ConfigError(f"recogniser_model = {str(model)!r}: is no acoustic model of pocketsphinx") from err
        for word in phrases.words:
            self._pronounce(word)
        self._decoder.add_jsgf_string("everything", phrases.everything)
        self._decoder.add_jsgf_string("stop", phrases.stop)

    def recognise(self, samples: NDArray[np.int16]) -> Recognition:
        """Return which phrase was said; one that was not said to its end is returned as far as it goes."""
        return self._decode(samples, "everything")

    def is_stop(self, samples: NDArray[np.int16]) -> bool:
        """Return True if a short utterance is the wish that the robot stops, nearer to that than to other words."""
        for grammar, least in (("stop", _LEAST_STOP), ("everything", _LEAST_STOP_BESIDE_ALL)):
            found = self._decode(samples, grammar)
            if is_stop(found.text) and found.probability >= least:
                return True
        return False

    def _decode(self, samples: NDArray[np.int16], grammar: str) -> Recognition:
        if not len(samples):
            return Recognition("", 0.0)
        decoder = self._decoder
        decoder.activate_search(grammar)
        decoder.start_utt()
        decoder.process_raw(np.ascontiguousarray(samples).tobytes(), full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        if found is None or not found.hypstr or found.score <= 0:
            return Recognition("", 0.0)
        score = math.log(found.score) / _LOG_BASE / max(1, decoder.n_frames())
        return Recognition(found.hypstr, 1.0 / (1.0 + math.exp((_EVEN_SCORE - score) / _SCORE_SCALE)))

    def _pronounce(self, word: str) -> None:
        """Have the dictionary know a word, by our table or as two words that it knows: "house" and "plant".

        Raises ConfigError for a word that nobody can pronounce.
        """
        is_known = self._decoder.lookup_word(word) is not None
        ways = list(_PRONUNCIATIONS.get(word, ()))
        if not is_known and not ways:
            halves = (
                (self._decoder.lookup_word(word[:k]), self._decoder.lookup_word(word[k:]))
                for k in range(3, len(word) - 2)
            )
            ways = [f"{first} {second}" for first, second in halves if first and second][:1]
            if not ways:
                raise ConfigError(f"{word!r} is in no dictionary of pocketsphinx; give the thing another spelling too")
        for number, way in enumerate(ways, start=10):
            self._decoder.add_word(word if not is_known and number == 10 else f"{word}({number})", way, True)
