"""`vila bench babyai`: which of BabyAI's sentences the way of an instruction takes, from the door to the model's words.

Four questions of each mission: does the door take it (nothing in it could break a prompt), are all its words in the
training templates or among the kinds and colours, does it name exactly one thing that our flats have, and is it one
step, "go to", which is all that the embedded model was trained on?
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vila_core.config import NavigatorConfig
from vila_core.errors import ConfigError, InstructionError, MissingDependencyError
from vila_core.files.writing import write_text
from vila_core.prompts.instruction import normalise, sanitize
from vila_sim.episodes.instructions import HELD_OUT_TEMPLATES, TRAIN_TEMPLATES, spoken
from vila_sim.flats.furniture import COLOURS, KINDS
from vila_tools.command_line import option, parse_options

_VERBS = ("go to", "pick up", "put", "open")
_NAMED = re.compile(rf"\b({'|'.join(COLOURS)}) ({'|'.join(map(spoken, KINDS))})\b")
_SEQUENCE = re.compile(r", then | after you | and ")


@dataclass(frozen=True, slots=True)
class BabyAiOptions:
    """What is asked."""

    missions: int = field(default=20, metadata=option("of each level (default: %(default)s)"))
    levels: str = field(default="", metadata=option("part of a level's name, such as GoTo (default: all)"))
    seed: int = field(default=0, metadata=option("of the first mission (default: %(default)s)"))
    json: Path | None = field(default=None, metadata=option("also write the report here"))

    def __post_init__(self) -> None:
        if self.missions < 1 or self.seed < 0:
            raise ConfigError(f"missions = {self.missions}, seed = {self.seed}: at least one mission, no seed below 0")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A mission, and what becomes of it. unknown: its words that nothing of ours was ever told."""

    level: str
    text: str
    is_taken: bool
    unknown: tuple[str, ...]
    names_one: bool  # a colour and a kind of our flats
    is_one_step: bool
    verb: str

    @property
    def is_understood(self) -> bool:
        """True if it could be an instruction of the training set."""
        return self.is_taken and not self.unknown and self.names_one and self.is_one_step and self.verb == "go to"


def main(argv: Sequence[str] | None = None) -> int:
    """Read missions of every level; print a table and, as the last line, a JSON object."""
    options = parse_options(BabyAiOptions, argv, prog="vila bench babyai", description=__doc__)
    sentences = [read_sentence(level, text) for level, text in missions(options)]
    report = make_report(sentences)
    print(make_table(report))
    print(json.dumps(report))
    if options.json:
        write_text(options.json, json.dumps(report, indent=1) + "\n")
    return 0


def missions(options: BabyAiOptions) -> Iterator[tuple[str, str]]:
    """Yield the level and the words of each mission. Raises ConfigError where no level has such a name."""
    gymnasium = _minigrid()
    names = sorted(name for name in gymnasium.registry if name.startswith("BabyAI-") and options.levels in name)
    if not names:
        raise ConfigError(f"no level of BabyAI has {options.levels!r} in its name")
    for name in names:
        level = gymnasium.make(name, disable_env_checker=True)
        try:
            for number in range(options.missions):
                yield name, str(level.reset(seed=options.seed + number)[0]["mission"])
        finally:
            level.close()


def read_sentence(level: str, text: str) -> Sentence:
    """Lead a sentence the way of an instruction."""
    try:
        is_taken = bool(normalise(sanitize(text, NavigatorConfig().max_instruction_chars)))
    except InstructionError:
        is_taken = False
    words = re.findall(r"[a-z]+", text.lower())
    return Sentence(
        level,
        text,
        is_taken,
        tuple(sorted(set(words) - _WORDS)),
        len(set(_NAMED.findall(text.lower()))) == 1,
        _SEQUENCE.search(text) is None,
        next((verb for verb in _VERBS if text.startswith(verb)), ""),
    )


def make_report(sentences: Sequence[Sentence]) -> dict[str, Any]:
    """Count the sentences, all and by their verb; the unknown words by how many sentences have them."""
    unknown = Counter(word for sentence in sentences for word in sentence.unknown)
    understood = sorted({sentence.text for sentence in sentences if sentence.is_understood})
    return {
        "world": "babyai",
        "levels": len({sentence.level for sentence in sentences}),
        **_counts(sentences),
        "by_verb": {verb: _counts([one for one in sentences if one.verb == verb]) for verb in _VERBS},
        "unknown_words": dict(unknown.most_common()),
        "understood_sentences": understood,
    }


def _counts(sentences: Sequence[Sentence]) -> dict[str, int]:
    return {
        "sentences": len(sentences),
        "taken": sum(one.is_taken for one in sentences),
        "known_words": sum(not one.unknown for one in sentences),
        "one_step": sum(one.is_one_step for one in sentences),
        "names_one": sum(one.names_one for one in sentences),
        "understood": sum(one.is_understood for one in sentences),
    }


def make_table(report: dict[str, Any]) -> str:
    """The report as text, a line for each verb."""
    columns = ("sentences", "taken", "known_words", "one_step", "names_one", "understood")
    lines = [f"{'BabyAI':<10} " + " ".join(f"{name:>11}" for name in columns)]
    for name, row in {"all": report, **report["by_verb"]}.items():
        lines.append(f"{name:<10} " + " ".join(f"{row[column]:>11}" for column in columns))
    worst = ", ".join(f"{word} ({count})" for word, count in list(report["unknown_words"].items())[:12])
    return "\n".join([*lines, f"words that are not ours, in so many sentences: {worst or 'none'}"])


def _minigrid() -> Any:
    try:
        import gymnasium
        import minigrid  # noqa: F401  # registers its levels

        return gymnasium
    except ModuleNotFoundError as err:
        raise MissingDependencyError(f"no BabyAI: {err}; run `pip install 'vila-nav[worlds]'`") from err


_WORDS = {
    word
    for text in (*TRAIN_TEMPLATES, *HELD_OUT_TEMPLATES, *COLOURS, *map(spoken, KINDS))
    for word in re.findall(r"[a-z]+", re.sub(r"\{\w+\}", " ", text))
}
