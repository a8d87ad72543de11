"""Text as it looks to a reader: letters of any width, case, font or alphabet as the plain ones that they resemble."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

# Unicode's confusables, those of the letters that roles and tokens are written with; the rest NFKD resolves.
_CAPITALS = str.maketrans(
    "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ" "АВЕЅІЈКМНОРСТУХԌ" "ᎪᏴᏟᎠᎬᎻᎥᎫᏦᏞᎷᏢᎡᏚᎢᏙᎳᏃ" "ՍՏՕ" "ꓮꓐꓚꓓꓰꓧꓲꓙꓗꓡꓟꓠꓳꓑꓣꓢꓔꓴꓦꓪꓫꓬ",
    "abezhikmnoptyx" "abesijkmhopctyxg" "abcdehijklmprstvwz" "uso" "abcdehijklmnoprstuvwxy",
)  # fmt: skip
_SMALL = str.maketrans(
    "αβεικνορστυχωγη" "авеѕіјкмнорстухһԁԛԝг" "սօհոց" "ıɑɡƽʋøđħłŧɩ" "ᴀʙᴄᴅᴇɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ",
    "abeikvopstuxwyn" "abesijkmhopctyxhdqwr" "uohng" "iagsuodhlti" "abcdeghijklmnoprstuvwyz",
)  # fmt: skip
_MARKS = str.maketrans(
    "꞉∶ː˸։׃᛬⁚፡" "∣ǀ│❘⏐￨¦❙" "˂ᐸ❮⟨" "˃ᐳ❯⟩" "⁄∕⧸",
    ":::::::::" "||||||||" "<<<<" ">>>>" "///",
)  # fmt: skip
_ROWS = ((0x1F150, 26), (0x1F170, 26), (0x1F1E6, 26))  # white letters on black, and those of flags: A to Z
_DROPPED = ("Mn", "Me", "Cf")  # accents, variation selectors, joiners


@dataclass(frozen=True, slots=True)
class Folded:
    """A text as it looks, and for each of its characters which one of the original that was."""

    text: str
    origins: tuple[int, ...]

    def original(self, source: str, start: int, end: int) -> str:
        """Return what stands in the source where this text has [start, end)."""
        return source[self.origins[start] : self.origins[end - 1] + 1]


def fold(text: str) -> Folded:
    """Return the text in small plain letters, without accents and what is not seen."""
    pairs = [(shown, number) for number, char in enumerate(text) for shown in _fold_char(char)]
    return Folded("".join(shown for shown, _ in pairs), tuple(number for _, number in pairs))


@lru_cache(maxsize=4096)
def _fold_char(char: str) -> str:
    return "".join(_plain(part) for part in unicodedata.normalize("NFKD", char))


def _plain(char: str) -> str:
    if unicodedata.category(char) in _DROPPED:
        return ""
    for first, count in _ROWS:
        if first <= ord(char) < first + count:
            return chr(ord("a") + ord(char) - first)
    return char.translate(_CAPITALS).casefold().translate(_SMALL).translate(_MARKS)


def folds(word: str) -> Iterator[str]:
    """Return how the word looks in small letters and in capitals, which resemble other ones."""
    yield from dict.fromkeys(fold(form).text for form in (word, word.upper()))
