"""Letters drawn by hand, seven dots high: the same in every version of every library, and in more than one script."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_HEIGHT = 7  # dots
_GAP, _SPACE, _LEADING = 1, 3, 3  # dots between letters, for a blank, between lines

# Rows from the top, divided by "/"; a letter is as wide as its rows.
_LETTERS = {
    "A": ".###./#...#/#...#/#####/#...#/#...#/#...#",
    "B": "####./#...#/#...#/####./#...#/#...#/####.",
    "C": ".####/#..../#..../#..../#..../#..../.####",
    "E": "#####/#..../#..../####./#..../#..../#####",
    "F": "#####/#..../#..../####./#..../#..../#....",
    "G": ".####/#..../#..../#..##/#...#/#...#/.####",
    "H": "#...#/#...#/#...#/#####/#...#/#...#/#...#",
    "I": "###/.#./.#./.#./.#./.#./###",
    "K": "#...#/#..#./#.#../##.../#.#../#..#./#...#",
    "L": "#..../#..../#..../#..../#..../#..../#####",
    "N": "#...#/##..#/##..#/#.#.#/#..##/#..##/#...#",
    "O": ".###./#...#/#...#/#...#/#...#/#...#/.###.",
    "P": "####./#...#/#...#/####./#..../#..../#....",
    "R": "####./#...#/#...#/####./#.#../#..#./#...#",
    "S": ".####/#..../#..../.###./....#/....#/####.",
    "T": "#####/..#../..#../..#../..#../..#../..#..",
    "U": "#...#/#...#/#...#/#...#/#...#/#...#/.###.",
    "X": "#...#/#...#/.#.#./..#../.#.#./#...#/#...#",
    "Y": "#...#/#...#/.#.#./..#../..#../..#../..#..",
    "\u0421": ".####/#..../#..../#..../#..../#..../.####",  # Cyrillic Es
    "\u0422": "#####/..#../..#../..#../..#../..#../..#..",  # Te
    "\u041e": ".###./#...#/#...#/#...#/#...#/#...#/.###.",  # O
    "\u041f": "#####/#...#/#...#/#...#/#...#/#...#/#...#",  # Pe
    "\u6b62": "...#.../...#.../.#.#.../.#.####/.#.#.../.#.#.../#######",  # "stop" in Chinese and Japanese
}


def lettering(text: str) -> NDArray[np.bool_]:
    """Draw lines of text, divided by a line feed, each in the middle: [rows, columns], True where there is ink.

    No line is empty. Raises KeyError for a letter that is not drawn here.
    """
    lines = [_line(line) for line in text.split("\n")]
    width = max(line.shape[1] for line in lines)
    rows: list[NDArray[np.bool_]] = []
    for line in lines:
        left = (width - line.shape[1]) // 2
        rows.append(np.pad(line, ((0, _LEADING), (left, width - line.shape[1] - left))))
    return np.concatenate(rows)[:-_LEADING]


def _line(text: str) -> NDArray[np.bool_]:
    glyphs = [np.pad(_glyph(letter), ((0, 0), (0, _GAP))) for letter in text]
    return np.concatenate(glyphs, axis=1)[:, :-_GAP]


def _glyph(letter: str) -> NDArray[np.bool_]:
    if letter == " ":
        return np.zeros((_HEIGHT, _SPACE), np.bool_)
    return np.array([[dot == "#" for dot in row] for row in _LETTERS[letter].split("/")])
