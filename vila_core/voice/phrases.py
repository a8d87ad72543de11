"""What may be said to the robot: a grammar of sentences about the things that the model knows, and what they mean."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vila_core.errors import CheckpointError, ConfigError
from vila_core.files.json_object import JsonObject, parse_object
from vila_core.files.reading import read_text
from vila_core.files.vocabulary import read_vocabulary
from vila_core.types import Vocabulary

_GO = (  # in front of a thing
    *("go to", "walk to", "move to", "drive to", "head to", "go over to", "walk over to", "drive over to"),
    *("head over to", "find", "look for", "approach", "make your way to", "take me to", "bring me to"),
)
_END = (  # behind it
    *("and stop", "and stop there", "and wait there", "and stop next to it", "and wait", "and move to it"),
)
_AT = ("stop when you are at", "stop when you are next to")
_CHAINS = ("go to {thing} and then to {thing}", "go to {thing} then to {thing}")
_STOPS, _BEFORE_STOP, _BEHIND_STOP = ("stop", "halt"), ("please",), ("now",)
_BEFORE_OTHER = ("a", "the", "at", "on", "in")
_STOP_WEIGHT = 0.999  # a stop that is not heard is worse than one that nobody said
_ANSWERS = {
    "yes": ("yes", "yes please", "yes go", "yes that is right"),
    "no": ("no", "no that is wrong"),
    "cancel": ("cancel", "never mind", "forget it"),
}
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
# Words that sound like "stop" or "halt", and some that people say alone: what is nearer to one of them is no stop.
OTHER_WORDS = (
    *("shop", "top", "stock", "step", "sop", "slop", "swap", "stamp", "start", "stuff", "staff", "star"),
    *("spot", "strap", "stab", "sob", "chop", "drop", "pop", "hop", "cop", "stay", "store", "stand", "stone"),
    *("state", "stick", "stack", "hall", "hold", "salt", "hot", "held", "box", "shot", "what", "so", "the"),
    *("a", "and", "or", "it", "is", "in", "to", "that", "this", "on", "for", "with", "as", "at", "by", "not"),
    *("can", "one", "all", "be", "its", "has", "are", "from", "which", "if", "then", "yes", "out", "there"),
    *("they", "you", "we", "i", "he", "she"),
)


class Meaning(enum.Enum):
    """What an utterance is for; the values are those of KIND_... in Heard.msg."""

    OTHER = 0
    INSTRUCTION = 1
    STOP = 2
    YES = 3
    NO = 4
    CANCEL = 5


@dataclass(frozen=True, slots=True)
class Phrases:
    """Hold what may be said.

    everything: the whole grammar, in JSGF. stop: that of the emergency stop, beside words that sound like it. words:
    all that occur in them. instruction: what a whole instruction fits, with a space behind each word.
    """

    everything: str
    stop: str
    words: tuple[str, ...]
    instruction: re.Pattern[str]

    def cut(self, text: str) -> str:
        """Return the instruction with which a text begins, empty if it does not begin with one.

        A recogniser that hears something behind the sentence's end adds a word or two.
        """
        found = self.instruction.match(" ".join(text.split()) + " ")
        return "" if found is None else found.group().strip()


def phrases_for(vocabulary: Vocabulary, *, wake_word: str = "") -> Phrases:
    """Make the grammars for the things and colours of a model.

    wake_word: what an instruction must begin with; empty for none. Raises ConfigError for one that is no word.
    """
    if wake_word and not _WORD.fullmatch(wake_word):
        raise ConfigError(f"wake_word = {wake_word!r}: must be one word in small letters, or empty")
    colours = _alternatives(_spellings(vocabulary.colours))
    rules = {
        "kind": _alternatives(_spellings(vocabulary.kinds)),
        "thing": (f"the <kind> that is {colours} | " if colours else "") + f"the [{colours}] <kind>",
        "go": _alternatives(_GO),
        "end": _alternatives(_END),
        "one": f"<go> <thing> [<end>] | {_alternatives(_AT)} <thing>",
        "chain": _alternatives(chain.replace("{thing}", "<thing>") for chain in _CHAINS),
        "instruction": f"{wake_word} [please] (<chain> | <one>)".strip(),
        "answer": _alternatives(text for texts in _ANSWERS.values() for text in texts),
    }
    if not colours:
        rules["thing"] = "the <kind>"
    stop = f"[{_alternatives(_BEFORE_STOP)}] {_alternatives(_STOPS)}+ [{_alternatives(_BEHIND_STOP)}]"
    lines = [f"<{name}> = {rule};" for name, rule in rules.items()]
    everything = _jsgf("said", lines, f"<instruction> | <answer> | {stop}")
    others = f"<other> = {_alternatives(OTHER_WORDS)};"
    beside = _jsgf(
        "stop",
        [others],
        f"/{_STOP_WEIGHT}/ ({stop}) | /{1 - _STOP_WEIGHT:.3f}/ [{_alternatives(_BEFORE_OTHER)}] <other>",
    )
    words = sorted({word for text in (*rules.values(), stop) for word in _WORD.findall(re.sub(r"<\w+>", "", text))})
    return Phrases(everything, beside, tuple(dict.fromkeys((*words, *OTHER_WORDS))), _pattern(rules, "instruction"))


def meaning_of(text: str) -> Meaning:
    """Return what a sentence is for; OTHER for an empty one."""
    words = _WORD.findall(text.lower())
    if not words:
        return Meaning.OTHER
    said = " ".join(words)
    if is_stop(said):
        return Meaning.STOP
    for name, texts in _ANSWERS.items():
        if said in texts:
            return Meaning[name.upper()]
    return Meaning.INSTRUCTION


def is_stop(text: str) -> bool:
    """Return True if a text is nothing but the wish that the robot stops, such as "please stop", "stop stop now"."""
    words = _WORD.findall(text.lower())
    if words and words[0] in _BEFORE_STOP:
        words = words[1:]
    if words and words[-1] in _BEHIND_STOP:
        words = words[:-1]
    return bool(words) and set(words) <= set(_STOPS)


def vocabulary_of(checkpoint: Path) -> Vocabulary:
    """Return the words of the checkpoint's model, as its config.json says them, without loading it.

    Raises CheckpointError for a checkpoint that is not there or does not say them: such a model may know any word, and
    a grammar needs a list.
    """
    file = checkpoint / "config.json"
    own = JsonObject(parse_object(read_text(file), file), file).object("vila_nav", {})
    vocabulary = read_vocabulary(own)
    if vocabulary is None:
        raise CheckpointError(
            f"{file} names no vocabulary, so no grammar can be made for it; leave the parameter `checkpoint` of the"
            " voice empty for vila-nano's words, or choose a recogniser that takes any words"
        )
    return vocabulary


def _spellings(names: tuple[tuple[str, tuple[str, ...]], ...]) -> list[str]:
    """All spellings of all names, each once."""
    found = (one.lower().replace("_", " ") for name, others in names for one in (name, *others))
    return list(dict.fromkeys(found))


def _alternatives(texts: Iterable[str]) -> str:
    """One of the texts; empty if there are none."""
    joined = " | ".join(sorted(texts, key=len, reverse=True))  # so that "bin" does not hide "bin bag" from a pattern
    return f"({joined})" if joined else ""


def _jsgf(name: str, lines: list[str], public: str) -> str:
    return "\n".join(["#JSGF V1.0;", f"grammar {name};", *lines, f"public <{name}> = {public};", ""])


def _pattern(rules: Mapping[str, str], name: str) -> re.Pattern[str]:
    """The rule as a regular expression, of texts with a space behind each word."""

    def translated(rule: str) -> str:
        signs = {"(": "(?:", "[": "(?:", "]": ")?", ")": ")", "|": "|", "+": "+"}
        parts = re.findall(r"<\w+>|[\w']+|[()\[\]|+]", rule)
        return "".join(
            f"(?:{translated(rules[part[1:-1]])})" if part[0] == "<" else signs.get(part, f"{part} ") for part in parts
        )

    return re.compile(translated(rules[name]))
