"""`vila bench voice`: what the voice understands, how soon it hears "stop", and how often it hears one in other talk.

espeak-ng speaks instructions of the training's and of the held-out templates, quietly and in white noise, then stops,
then text that has nothing to do with the robot. Sound does not pass through air: a real room is harder.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.errors import ConfigError, InstructionError
from vila_core.files.reading import read_text
from vila_core.prompts.wording import in_words_of
from vila_core.types import Vocabulary
from vila_core.voice.dialogue import DialogueConfig
from vila_core.voice.endpoint import FRAME, SAMPLE_RATE_HZ
from vila_core.voice.listener import Understood, VoiceListener, webrtc_vad
from vila_core.voice.phrases import Meaning, phrases_for, vocabulary_of
from vila_core.voice.pocketsphinx_recogniser import PocketsphinxRecogniser
from vila_core.voice.speakers import Speaker
from vila_sim.episodes.instructions import HELD_OUT_TEMPLATES, TRAIN_TEMPLATES, render_instruction
from vila_tools.report import tell

FLOOR, STOPS_FLOOR = 0.85, 0.9  # of instructions that are spoken quietly and understood
SURE = 0.8  # how sure an instruction must be to need no yes: what a careful user might set; by default each needs one
MOST_FALSE_STOPS = 1
MOST_LATE_S = 0.7
STOPS = ("stop", "stop now", "please stop", "stop stop")
_DOCS = Path(__file__).resolve().parents[2] / "docs"
_SILENCE_S, _HUM = 1.0, 20.0  # behind each utterance; standard deviation of the quiet room, of 32768
_STOP_WORD = re.compile(r"\b(stop|stops|stopped|stopping|halt)\w*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Understanding:
    """What became of the instructions of one voice in one noise. snr_db: None for a quiet room."""

    voice: str
    snr_db: float | None
    spoken: int
    accuracy: float  # the model would be told the same as by the text
    asked: float  # share that needs a yes, right or wrong
    sent_wrong: float  # share that is wrong and is sent without a yes
    word_error: float


def main(argv: Sequence[str] | None = None) -> int:
    """Print what was understood and, as the last line, a JSON object; status 1 below a floor."""
    args = _parser().parse_args(argv)
    voices, speeds = args.voices.split(","), _numbers(args.speeds)
    noises: list[float | None] = [None, *_numbers(args.snr_db)]
    vocabulary, talk = vocabulary_of(args.checkpoint), _sentences(args.text)
    listener = _listener(vocabulary)
    spoken = [
        Spoken(text, voice, speed) for text in _instructions(vocabulary, args) for voice in voices for speed in speeds
    ]
    rows = [_understanding(listener, vocabulary, spoken, voice, noise) for noise in noises for voice in voices]
    stops, late_s = _stops(listener, voices, speeds)
    taken = _lone_words(listener, talk, voices, args.words)
    false_stops, false_goals, minutes = _other_talk(listener, talk, voices, args.minutes)
    quiet = float(np.mean([row.accuracy for row in rows if row.snr_db is None]))
    passed = quiet >= FLOOR and stops >= STOPS_FLOOR and false_stops <= MOST_FALSE_STOPS and late_s <= MOST_LATE_S
    result = {
        "passed": passed,
        "quiet_accuracy": round(quiet, 4),
        "rows": [asdict(row) for row in rows],
        "stops_heard": round(stops, 4),
        "latest_stop_s": round(late_s, 3),
        "other_talk_minutes": round(minutes, 2),
        "false_stops": false_stops,
        "lone_words": args.words,
        "lone_words_taken_for_stop": taken,
        "false_instructions": false_goals,
    }
    ends = (
        f"stops heard: {stops:.3f}, the latest {late_s:.2f} s after its end",
        f"other talk: {minutes:.1f} minutes, {false_stops} false stops, {false_goals} instructions that nobody gave",
    )
    lone = f"{args.words} words that are said alone: {taken} taken for a stop"
    tell(result, (*_table(rows), *ends, lone), args.json)
    return 0 if passed else 1


def _table(rows: Sequence[Understanding]) -> Iterator[str]:
    yield f"{'voice':12} {'noise':>6} {'right':>6} {'asked':>6} {'sent wrong':>10} {'word error':>10}"
    for row in rows:
        noise = "quiet" if row.snr_db is None else f"{row.snr_db:g} dB"
        yield (
            f"{row.voice:12} {noise:>6} {row.accuracy:6.3f} {row.asked:6.3f} {row.sent_wrong:10.3f}"
            f" {row.word_error:10.3f}"
        )


@dataclass(frozen=True, slots=True)
class Spoken:
    """A text, whose voice says it, and how fast, in words a minute."""

    text: str
    voice: str
    speed: int

    def sound(self) -> NDArray[np.int16]:
        """Have espeak-ng say it."""
        return Speaker("espeak-ng", self.voice, self.speed).speak(self.text)


def in_a_room(sound: NDArray[np.int16], snr_db: float | None, seed: int) -> NDArray[np.int16]:
    """Return sound with silence before and behind it, in a quiet room's hum or in white noise so far below it."""
    silence = np.zeros(round(_SILENCE_S * SAMPLE_RATE_HZ), np.int16)
    heard = np.concatenate([silence, sound, silence]).astype(np.float64)
    level = _HUM
    if snr_db is not None:
        level = float(np.sqrt(np.mean(sound.astype(np.float64) ** 2))) / 10 ** (snr_db / 20)
    heard += np.random.default_rng(seed).normal(0.0, level, len(heard))
    return np.clip(heard, -32768, 32767).astype(np.int16)


def word_errors(said: str, understood: str) -> int:
    """Return how many words must be changed, added or left out to make one text of the other."""
    row = list(range(len(understood.split()) + 1))
    for i, word in enumerate(said.split(), start=1):
        before, row[0] = row[0], i
        for j, other in enumerate(understood.split(), start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def _listener(vocabulary: Vocabulary) -> VoiceListener:
    phrases = phrases_for(vocabulary)
    recogniser = PocketsphinxRecogniser(phrases)
    return VoiceListener(phrases, recogniser, recogniser, webrtc_vad())


def _instructions(vocabulary: Vocabulary, args: argparse.Namespace) -> list[str]:
    """Different sentences about all kinds in turn."""
    rng = np.random.default_rng(args.seed)
    kinds = cycle(name for name, _ in vocabulary.kinds)
    templates = (*TRAIN_TEMPLATES, *HELD_OUT_TEMPLATES)
    colours = [name for name, _ in vocabulary.colours]
    return [
        render_instruction(templates[rng.integers(len(templates))], colours[rng.integers(len(colours))], next(kinds))
        for _ in range(args.instructions)
    ]


def _understanding(
    listener: VoiceListener, vocabulary: Vocabulary, spoken: Sequence[Spoken], voice: str, snr_db: float | None
) -> Understanding:
    config = DialogueConfig(sure_probability=SURE)
    right = asked = wrong = errors = words = count = 0
    for seed, one in enumerate(tqdm([each for each in spoken if each.voice == voice], desc=f"{voice} {snr_db}")):
        heard = [each for each in listener.put(in_a_room(one.sound(), snr_db, seed)) if each.text]
        best = max(heard, key=lambda each: each.probability, default=None)
        is_right = best is not None and _means(vocabulary, best, one.text)
        is_sure = best is not None and best.probability >= config.sure_probability
        is_goal = best is not None and best.meaning is Meaning.INSTRUCTION
        count, words = count + 1, words + len(one.text.split())
        right, errors = right + is_right, errors + word_errors(one.text, best.text if best else "")
        asked += is_goal and best is not None and not is_sure and best.probability >= config.least_probability
        wrong += is_goal and is_sure and not is_right
    rates = [round(n / count, 4) for n in (right, asked, wrong)]
    return Understanding(voice, snr_db, count, rates[0], rates[1], rates[2], round(errors / words, 4))


def _means(vocabulary: Vocabulary, heard: Understood, text: str) -> bool:
    """Whether the model would be told the same by what was understood and by what was said."""
    if heard.meaning is not Meaning.INSTRUCTION:
        return False
    try:
        return in_words_of(vocabulary, heard.text) == in_words_of(vocabulary, text)
    except InstructionError:
        return False


def _stops(listener: VoiceListener, voices: Sequence[str], speeds: Sequence[int]) -> tuple[float, float]:
    """The share of stops that is heard, and how late the latest is: sound until then, and the time to understand it."""
    heard, late_s, count = 0, 0.0, 0
    for text, voice, speed in product(STOPS, voices, speeds):
        sound = Spoken(text, voice, speed).sound()
        spoken_s = _SILENCE_S + _last_sound(sound) / SAMPLE_RATE_HZ
        count += 1
        for k, frame in enumerate(_frames(in_a_room(sound, None, count))):
            begun_s = time.perf_counter()
            if any(each.meaning is Meaning.STOP for each in listener.put(frame)):
                took_s = time.perf_counter() - begun_s
                heard, late_s = heard + 1, max(late_s, (k + 1) * FRAME / SAMPLE_RATE_HZ - spoken_s + took_s)
                break
    return heard / count, late_s


def _last_sound(sound: NDArray[np.int16]) -> int:
    loud = np.flatnonzero(np.abs(sound.astype(np.int32)) > np.abs(sound.astype(np.int32)).max() * 0.02)
    return int(loud[-1]) + 1 if len(loud) else len(sound)


def _frames(sound: NDArray[np.int16]) -> Iterator[NDArray[np.int16]]:
    for start in range(0, len(sound) - FRAME + 1, FRAME):
        yield sound[start : start + FRAME]


def _other_talk(
    listener: VoiceListener, talk: Sequence[str], voices: Sequence[str], minutes: float
) -> tuple[int, int, float]:
    """False stops and instructions that would be sent without a yes, and the minutes of talk."""
    config = DialogueConfig(sure_probability=SURE)
    samples, stops, goals = 0, 0, 0
    with tqdm(total=minutes, desc="other talk, minutes", bar_format="{desc}: {n:.1f}/{total_fmt}") as bar:
        for k, text in enumerate(cycle(talk)):
            if samples / SAMPLE_RATE_HZ / 60 >= minutes:
                break
            sound = in_a_room(Spoken(text, voices[k % len(voices)], 160).sound()[: 60 * SAMPLE_RATE_HZ], None, k)
            sound = sound[: len(sound) - round(0.5 * SAMPLE_RATE_HZ)]
            samples += len(sound)
            bar.update(len(sound) / SAMPLE_RATE_HZ / 60)
            for each in listener.put(sound):
                if each.meaning is Meaning.STOP:
                    stops += 1
                    tqdm.write(f"false stop in: {text}", file=sys.stderr)
                goals += each.meaning is Meaning.INSTRUCTION and each.probability >= config.sure_probability
    return stops, goals, samples / SAMPLE_RATE_HZ / 60


def _lone_words(listener: VoiceListener, talk: Sequence[str], voices: Sequence[str], count: int) -> int:
    """How many of so many different words, each said alone, are taken for a stop: the hardest talk there is."""
    words = dict.fromkeys(word for text in talk for word in re.findall(r"[a-z]{2,}", text.lower()))
    taken = 0
    for k, word in enumerate(tqdm(list(words)[:count], desc="words alone")):
        heard = listener.put(in_a_room(Spoken(word, voices[k % len(voices)], 160).sound(), None, k))
        if any(each.meaning is Meaning.STOP for each in heard):
            taken += 1
            tqdm.write(f"taken for a stop: {word}", file=sys.stderr)
    return taken


def _sentences(files: Sequence[Path]) -> list[str]:
    """Sentences of Markdown files, without those that say stop: hearing that would be no mistake."""
    found: list[str] = []
    for file in files or sorted(_DOCS.glob("*.md")):
        if file.suffix not in (".md", ".txt"):
            raise ConfigError(f"{file}: text to read as other talk must be a file .md or .txt")
        text = re.sub(r"```.*?```|^\|.*$|^#+ ", " ", read_text(file, error=ConfigError), flags=re.DOTALL | re.MULTILINE)
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*_<>]", r"\1 ", text)
        sentences = (" ".join(each.split()) for each in re.split(r"(?<=[.:;!?])\s|\n\s*\n", text))
        found += [each for each in sentences if len(each) > 20 and not _STOP_WORD.search(each)]
    if not found:
        raise ConfigError("there is no text to read as other talk; name Markdown files: --text README.md")
    return found


def _numbers(text: str) -> list[int]:
    try:
        return [int(each) for each in text.split(",") if each]
    except ValueError as err:
        raise ConfigError(f"{text!r}: must be whole numbers with commas between them") from err


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila bench voice", description=__doc__)
    parser.add_argument("--instructions", type=int, default=40, help="how many sentences (default: %(default)s)")
    parser.add_argument("--voices", default="en-us,en-us+f3", help="of espeak-ng (default: %(default)s)")
    parser.add_argument("--speeds", default="130,150,170", help="words a minute (default: %(default)s)")
    parser.add_argument("--snr-db", default="20,10", help="of white noise, beside quiet (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=20.0, help="of other talk (default: %(default)s)")
    parser.add_argument("--words", type=int, default=300, help="said alone (default: %(default)s)")
    parser.add_argument("--text", type=Path, nargs="+", default=[], help="Markdown files to read as other talk: docs/")
    parser.add_argument("--checkpoint", type=Path, default=EMBEDDED_CHECKPOINT, help="whose words are understood")
    parser.add_argument("--json", type=Path, help="write the last line to this file too")
    parser.add_argument("--seed", type=int, default=0, help="of the sentences (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
