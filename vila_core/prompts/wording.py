"""An instruction in the words of a model that knows some alone: its steps, each about one thing, or why not.

"Please take me to the couch, then to the crimson chair" is "go to the sofa" and "go to the red chair" for a model that
was trained on that sentence, those kinds and colours. What such a model does not know must not be driven after: it
would go somewhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vila_core.errors import InstructionError
from vila_core.types import Thing, Vocabulary

MAX_STEPS = 8
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
_ARTICLES = frozenset(("a", "an", "the"))
_NEXT = frozenset(("and", "then", "afterwards", "next", "finally"))  # between two things: first the one
# What turns a sentence about a thing into one about something else; it is refused, as the model would not notice.
_BEYOND = frozenset((
    "not", "no", "never", "don't", "dont", "doesn't", "can't", "cannot", "without", "except", "unless", "avoid",
    "away", "from", "until", "if", "or", "either", "neither", "nor", "left", "right", "behind", "between", "opposite",
    "under", "above", "inside", "around", "past", "other", "another", "second", "third", "every", "all", "each",
    "both",
))  # fmt: skip
_COLOURS = frozenset((
    "red", "green", "blue", "yellow", "orange", "purple", "violet", "pink", "magenta", "white", "black", "grey",
    "gray", "brown", "beige", "cyan", "turquoise", "teal", "golden", "gold", "silver", "transparent", "colourful",
    "colorful",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Named:
    """A kind that a sentence names. start, end: places of its words."""

    kind: str
    start: int
    end: int


def in_words_of(vocabulary: Vocabulary, text: str) -> tuple[str, ...]:
    """Return the steps of an instruction, one sentence for each thing that it names, in the model's own words.

    Raises InstructionError as things_in does.
    """
    return sentences(vocabulary, things_in(vocabulary, text))


def sentences(vocabulary: Vocabulary, things: Sequence[Thing]) -> tuple[str, ...]:
    """Return the model's own sentence for each thing."""
    return tuple(vocabulary.form.format(thing=thing.text) for thing in things)


def things_in(vocabulary: Vocabulary, text: str) -> tuple[Thing, ...]:
    """Return the things that a text names, in order.

    Raises InstructionError, naming what the model knows, for a text that names nothing known or too many things, says a
    thing's colour twice, or holds a word such as "not" or "behind", which would make it mean another place.
    """
    words = [match.group().lower().replace("\u2019", "'") for match in _WORD.finditer(text)]
    named = list(_named(vocabulary, words))
    if not named:
        raise InstructionError(f"{text!r} names nothing that the model knows; {_known(vocabulary)}")
    colours = dict(_spellings(vocabulary.colours))
    for word in words:
        if word in _BEYOND or (word in _COLOURS and (word,) not in colours):
            raise InstructionError(f"{text!r}: the model does not know what {word!r} means; {_known(vocabulary)}")
    if len(named) > MAX_STEPS:
        raise InstructionError(f"{text!r} names {len(named)} things; at most {MAX_STEPS} are visited")
    for before, after in zip(named, named[1:], strict=False):
        if not _NEXT.intersection(words[before.end : after.start]):
            names = f"{before.kind!r} and {after.kind!r}"
            raise InstructionError(f"{text!r} names {names} at once; say which is first: go to ..., then to ...")
    said = [[colours[(word,)] for word in _beside(words, one) if (word,) in colours] for one in named]
    if sum(map(len, said)) < sum((word,) in colours for word in words):
        raise InstructionError(f"{text!r} holds a colour without a thing; say the things one by one")
    return tuple(_thing(text, one, set(its)) for one, its in zip(named, said, strict=True))


def _named(vocabulary: Vocabulary, words: list[str]) -> Iterator[_Named]:
    """Yield the kinds that are named, in order; of names that begin at the same word the longest counts."""
    spelt = sorted(_spellings(vocabulary.kinds), key=lambda row: -len(row[0]))
    place = 0
    while place < len(words):
        found = next((row for row in spelt if _is_at(words, place, row[0])), None)
        if found is not None:
            yield _Named(found[1], place, place + len(found[0]))
        place += 1 if found is None else len(found[0])


def _spellings(names: tuple[tuple[str, tuple[str, ...]], ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, others in names:
        for spelling in (name, *others):
            yield tuple(spelling.lower().replace("_", " ").split()), name


def _is_at(words: list[str], place: int, spelling: tuple[str, ...]) -> bool:
    here = tuple(words[place : place + len(spelling)])
    return here == spelling or (here[:-1], here[-1:]) == (spelling[:-1], (f"{spelling[-1]}s",))


def _thing(text: str, thing: _Named, colours: set[str]) -> Thing:
    if len(colours) > 1:
        raise InstructionError(f"{text!r} gives {thing.kind!r} the colours {' and '.join(sorted(colours))}; say one")
    return Thing("".join(colours), thing.kind)


def _beside(words: list[str], thing: _Named) -> Iterator[str]:
    """Yield the words that tell what the thing is like: those before it, and the one behind "that is"."""
    for word in reversed(words[: thing.start]):
        if word in _ARTICLES or word in _NEXT:
            break
        yield word
    if words[thing.end : thing.end + 2] in (["that", "is"], ["which", "is"]):
        yield from words[thing.end + 2 : thing.end + 3]


def _known(vocabulary: Vocabulary) -> str:
    kinds = ", ".join(name.replace("_", " ") for name, _ in vocabulary.kinds)
    return (
        f"it knows {len(vocabulary.kinds)} kinds of things ({kinds}) in {', '.join(c for c, _ in vocabulary.colours)}"
    )
