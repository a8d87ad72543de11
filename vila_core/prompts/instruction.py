"""Instructions from outside: refused if they could break the prompt, then put in the trained form."""

from __future__ import annotations

import re
import unicodedata

from vila_core.errors import InstructionError

# <|...|> or half of one; a tag such as <image>, <vila/video>, <t12>, </s>; other chat marks; the roles of vicuna_v1.
_TOKEN = re.compile(
    r"<\|[^<>|]*\|>|<\||\|>|<[^<>\s]{1,64}>|\[/?(?:INST|BOS|EOS|PAD|UNK)\]|(?-i:USER:|ASSISTANT:)", re.IGNORECASE
)
_LINE_BREAK = re.compile("\r\n|[\r\n\t\u2028\u2029]")
_REFUSED_CATEGORIES = {"Cc", "Cf", "Cs", "Co"}  # control, invisible format, surrogate, private use
_JOINERS = {"\u200c", "\u200d"}  # spelling needs them in Persian and in Indian scripts


def sanitize(text: str, max_chars: int, noun: str = "instruction") -> str:
    """Return the instruction, or another text for a prompt, with line breaks and tabs as spaces, and stripped.

    noun: what the text is called in messages. Raises InstructionError if it is empty, longer than max_chars, or holds
    a control character or the text of a media or chat token, which would change the number of images or end the turn.
    Look-alikes are found after Unicode compatibility folding.
    """
    cleaned = _LINE_BREAK.sub(" ", text).strip()
    if not cleaned:
        raise InstructionError(f"the {noun} is empty; say what is wanted")
    if len(cleaned) > max_chars:
        raise InstructionError(f"the {noun} has {len(cleaned)} characters; at most {max_chars} are allowed")
    for position, char in enumerate(cleaned):
        if unicodedata.category(char) in _REFUSED_CATEGORIES and char not in _JOINERS:
            raise InstructionError(f"control character U+{ord(char):04X} at position {position}; remove it")
    _refuse_tokens(cleaned, noun)
    return cleaned


def require_unicode(text: str, noun: str) -> None:
    """Raise InstructionError for a text with bytes that are not UTF-8, as a command line may have."""
    try:
        text.encode()
    except UnicodeEncodeError as err:
        wrong = f"character {err.start} of the {noun}, {text[err.start]!a},"
        raise InstructionError(f"{wrong} is no Unicode: write the {noun} in UTF-8") from err


def _refuse_tokens(text: str, noun: str) -> None:
    match = _TOKEN.search(text) or _TOKEN.search(unicodedata.normalize("NFKC", text))
    if match:
        raise InstructionError(f"the {noun} holds the token {match.group(0)!r}; use plain words")


def normalise(text: str) -> str:
    """Return the form in which NaVILA saw instructions in training.

    Line breaks become spaces, everything is lower case but the first letter of each sentence,
    and there is no space before a full stop (LazyVLNCEDataset of the official code).
    """
    line = re.sub("\r\n|\r|\n", " ", text).capitalize()
    sentences = [s[:1].upper() + s[1:] for s in line.split(". ")]
    return ". ".join(sentences).replace(" .", ".")
