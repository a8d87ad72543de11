"""Instructions from outside: refused if they could break the prompt, then put in the trained form."""

from __future__ import annotations

import re
import unicodedata

from vila_core.errors import InstructionError
from vila_core.prompts.chat_marks import chat_mark

_LINE_BREAK = re.compile("\r\n|[\r\n\t\u2028\u2029]")
MAX_SOURCE_CHARS = 64
_REFUSED_CATEGORIES = {"Cc", "Cf", "Cs", "Co"}  # control, invisible format, surrogate, private use
_JOINERS = {"\u200c", "\u200d"}  # spelling needs them in Persian and in Indian scripts


def sanitize(text: str, max_chars: int, noun: str = "instruction") -> str:
    """Return the instruction, or another text for a prompt, with line breaks and tabs as spaces, and stripped.

    noun: what the text is called in messages. Raises InstructionError if it is empty, longer than max_chars, or holds
    a control character, the text of a media or chat token, which would change the number of images or end the turn, or
    what begins the turn of a speaker: see prompts.chat_marks.
    """
    cleaned = _LINE_BREAK.sub(" ", text).strip()
    if not cleaned:
        raise InstructionError(f"the {noun} is empty; say what is wanted")
    if len(cleaned) > max_chars:
        raise InstructionError(f"the {noun} has {len(cleaned)} characters; at most {max_chars} are allowed")
    for position, char in enumerate(cleaned):
        if unicodedata.category(char) in _REFUSED_CATEGORIES and char not in _JOINERS:
            raise InstructionError(f"control character U+{ord(char):04X} at position {position}; remove it")
    if mark := chat_mark(text.strip()):  # with its line breaks, behind which a turn may begin
        raise InstructionError(f"the {noun} holds {mark!r}, which is a token or a turn of a chat; use plain words")
    return cleaned


def source_of(door: str, told: str) -> str:
    """Return where an instruction came from: the door, and who says to be behind it, on one line of 64 characters."""
    seen = "".join(char if char.isprintable() else " " for char in told)
    name = " ".join(seen.split())
    return f"{door}: {name}"[:MAX_SOURCE_CHARS] if name else door


def require_unicode(text: str, noun: str) -> None:
    """Raise InstructionError for a text with bytes that are not UTF-8, as a command line may have."""
    try:
        text.encode()
    except UnicodeEncodeError as err:
        wrong = f"character {err.start} of the {noun}, {text[err.start]!a},"
        raise InstructionError(f"{wrong} is no Unicode: write the {noun} in UTF-8") from err


def normalise(text: str) -> str:
    """Return the form in which NaVILA saw instructions in training.

    Line breaks become spaces, everything is lower case but the first letter of each sentence,
    and there is no space before a full stop (LazyVLNCEDataset of the official code).
    """
    line = re.sub("\r\n|\r|\n", " ", text).capitalize()
    sentences = [s[:1].upper() + s[1:] for s in line.split(". ")]
    return ". ".join(sentences).replace(" .", ".")
