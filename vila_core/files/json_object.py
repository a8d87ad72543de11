"""JSON files that people edit: every value is asked for by key and kind, and one that does not fit is named."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vila_core.errors import CheckpointError, VilaError
from vila_core.files.reading import read_text

Json = dict[str, Any]

_MOST_DIGITS = 300  # a longer number is beyond any float, and reads as infinity
_COUNT, _FAR = 2**53, 1e15
_shown = reprlib.Repr()
_shown.maxstring = _shown.maxother = _shown.maxlong = 80


@dataclass(frozen=True, slots=True)
class JsonObject:
    """An object of a JSON file.

    where: its keys from the file's beginning on, joined by dots; "" for the whole file. error: what is raised, with the
    file, the key, its value and what is expected. A value of null is one that is not there.
    """

    raw: Json
    file: Path
    where: str = ""
    error: type[VilaError] = CheckpointError

    def has(self, key: str) -> bool:
        """Whether there is a value."""
        return self.raw.get(key) is not None

    def need(self, key: str) -> Any:
        """Return the value, whatever it is; the error if it is missing."""
        if self.raw.get(key) is None:
            raise self.error(f"{self.file} lacks the key {self.path(key)!r}")
        return self.raw[key]

    def integer(self, key: str, default: int | None = None, *, least: int = 1, most: int = _COUNT) -> int:
        """Return a whole number of [least, most]; 3.0 is none."""
        value = self._get(key, default)
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(key, f"a whole number {_range(least, most)}")
        return value

    def number(
        self,
        key: str,
        default: float | None = None,
        *,
        least: float = 0.0,
        above: float = -math.inf,
        most: float = math.inf,
    ) -> float:
        """Return a finite number that is at least `least`, greater than `above` and at most `most`."""
        value = self._get(key, default)
        fits = type(value) in (int, float) and math.isfinite(value) and least <= value <= most and value > above
        if not fits:
            low = f"above {above:g}" if above >= least else f"of at least {least:g}"
            raise self.wrong(key, f"a finite number {low}" + (f", at most {most:g}" if most < math.inf else ""))
        return float(value)

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text that UTF-8 can hold."""
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a text in quotes")
        if not _is_unicode(value):
            raise self.wrong(key, "a text without halves of surrogate pairs")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        """Return true or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def choice(self, key: str, known: Sequence[str], default: str | None = None) -> str:
        """Return one of the texts that are known."""
        value = self._get(key, default)
        if not isinstance(value, str) or value not in known:
            raise self.error(
                f"{self.file}: {self.path(key)} {show(value)} is not supported; supported: {', '.join(known)}"
            )
        return value

    def object(self, key: str, default: Json | None = None) -> JsonObject:
        """Return the object of the key."""
        value = self._get(key, default)
        if not isinstance(value, dict):
            raise self.wrong(key, "an object in braces")
        return JsonObject(value, self.file, self.path(key), self.error)

    def items(self, key: str, *, most: int = _COUNT) -> JsonObject:
        """Return a list's items as an object with the keys "0", "1" and so on, so that each is read as any value is."""
        value = self.need(key)
        if not isinstance(value, list) or len(value) > most:
            raise self.wrong(key, "a list in brackets" + ("" if most == _COUNT else f" of at most {most} items"))
        return JsonObject({str(n): item for n, item in enumerate(value)}, self.file, self.path(key), self.error)

    def integers(self, key: str, *, least: int = 0, most: int = _COUNT) -> tuple[int, ...]:
        """Return a list of whole numbers, of which a single one may stand alone; () if it is missing."""
        if not self.has(key):
            return ()
        if not isinstance(self.raw[key], list):
            return (self.integer(key, least=least, most=most),)
        items = self.items(key)
        return tuple(items.integer(each, least=least, most=most) for each in items.raw)

    def numbers(self, key: str, count: int, *, least: float = -_FAR) -> tuple[float, ...]:
        """Return a list of so many finite numbers."""
        items = self.items(key)
        if len(items.raw) != count:
            raise self.wrong(key, f"a list of {count} numbers")
        return tuple(items.number(each, least=least, most=_FAR) for each in items.raw)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts."""
        items = self.items(key)
        return tuple(items.text(each) for each in items.raw)

    def objects(self, key: str) -> Iterator[JsonObject]:
        """Yield the objects of a list."""
        items = self.items(key)
        yield from (items.object(each) for each in items.raw)

    def path(self, key: str) -> str:
        """Return the key as a message names it: behind those that lead to it."""
        name = key if key.isprintable() and len(key) < 100 else show(key)
        return f"{self.where}.{name}" if self.where else name

    def wrong(self, key: str, expected: str) -> VilaError:
        """Return the error of a value that does not fit."""
        return self.error(f"{self.file}: {self.path(key)} {show(self.raw.get(key))} is not {expected}")

    def _get(self, key: str, default: Any) -> Any:
        return self.need(key) if default is None or self.has(key) else default


def read_object(file: Path, *, error: type[VilaError] = CheckpointError, remedy: str = "") -> JsonObject:
    """Read a file that holds a JSON object.

    remedy: what to do about a file that cannot be read. Raises the error, naming the file, as files.read_text does,
    and for what is no JSON, no object, or says two things of one key.
    """
    return JsonObject(parse_object(read_text(file, error=error, remedy=remedy), file, error=error), file, "", error)


def parse_object(text: str | bytes, file: Path, *, error: type[VilaError] = CheckpointError, place: str = "") -> Json:
    """Return the object that is written in a text. place: where in the file the text stands, "" for all of it."""
    value = parse_json(text, file, error=error, place=place)
    if not isinstance(value, dict):
        raise error(f"{file}{place and f': {place}'}: expected an object, got {type(value).__name__}")
    return value


def parse_json(text: str | bytes, file: Path, *, error: type[VilaError] = CheckpointError, place: str = "") -> Any:
    """Return what is written in a text; see parse_object."""
    where = f"{file}: {place} {show(text)}" if place else str(file)
    try:
        return json.loads(text, object_pairs_hook=_once, parse_int=_integer)
    except _TwiceError as err:
        raise error(f"{where}: the key {err.args[0]!r} is there twice, with different values") from err
    except RecursionError as err:
        raise error(f"{where} is not JSON that can be read: it is nested too deeply") from err
    except json.JSONDecodeError as err:
        raise error(f"{where} is not JSON: {err}{_hint(err)}") from err
    except ValueError as err:
        raise error(f"{where} is not JSON: {err}") from err


def show(value: Any) -> str:
    """Return a value for a message, cut if it is long."""
    return _shown.repr(value)


class _TwiceError(Exception):
    """A key that stands twice in an object."""


def _once(pairs: list[tuple[str, Any]]) -> Json:
    made: Json = {}
    for key, value in pairs:
        if key in made and made[key] != value:
            raise _TwiceError(key)
        made[key] = value
    return made


def _integer(digits: str) -> int | float:
    if len(digits) > _MOST_DIGITS:
        return -math.inf if digits.startswith("-") else math.inf
    return int(digits)


def _hint(err: json.JSONDecodeError) -> str:
    line = err.doc.splitlines()[err.lineno - 1 : err.lineno]
    is_comment = bool(line) and line[0][err.colno - 1 :].lstrip().startswith(("//", "/*", "#"))
    return "; JSON has no comments, take it out" if is_comment else ""


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _range(least: int, most: int) -> str:
    return f"of at least {least}" if most == _COUNT else f"from {least} to {most}"
