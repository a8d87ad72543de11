"""NaVILA's public annotations: a JSON list, or JSON lines, of {"video_id", "q", "a", "frames"}.

q is the instruction, a the answer, frames the files of all that was seen up to then, below the folder of the frames.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

from vila_core.errors import ConfigError, InstructionError
from vila_core.files.json_object import JsonObject, parse_json
from vila_core.files.reading import is_file, is_folder, require_file
from vila_core.files.writing import write_text
from vila_core.prompts.instruction import sanitize

ANNOTATIONS = "annotations.json"
FRAMES = "train"  # the folder of the frames beside it, as NaVILA's data sets have it
_PLACES = (FRAMES, "frames", "images", "videos", ".")
_MOST_FRAMES, _MOST_CHARS = 100_000, 4000


@dataclass(frozen=True, slots=True)
class Annotation:
    """A record. frames: below the folder of the frames, oldest first."""

    video_id: str
    instruction: str
    answer: str
    frames: tuple[str, ...]

    @property
    def group(self) -> str:
        """What is held out together: all that begins with the same frame."""
        return self.frames[0]


def read_annotations(source: Path, images: Path | None = None) -> tuple[list[Annotation], Path]:
    """Read a file of annotations, or a folder with `annotations.json`, and find the folder of its frames.

    images: that folder, if it is not beside the file. Raises ConfigError naming the record and what is wrong with it,
    or that its frames are nowhere.
    """
    file = source / ANNOTATIONS if is_folder(source) else source
    rows = [_annotation(row) for row in _records(file)]
    if not rows:
        raise ConfigError(f"{file} holds no annotations")
    return rows, _frames_folder(file, rows[0].frames[0], images)


def _frames_folder(file: Path, first: str, images: Path | None) -> Path:
    places = [images] if images else [file.parent / place for place in _PLACES]
    for place in places:
        if is_file(place / first):
            return place
    looked = ", ".join(str(place) for place in places)
    raise ConfigError(f"{file}: its first frame {first!r} is not in {looked}; name the folder with --images")


def _records(file: Path) -> Iterator[JsonObject]:
    require_file(file, error=ConfigError)
    try:
        with file.open(encoding="utf-8-sig") as stream:
            text = stream.read(1)
            while text.isspace():
                text = stream.read(1)
            if text == "{":
                yield from _lines(file, text + stream.readline(), stream)
                return
            rows = parse_json(text + stream.read(), file, error=ConfigError)
    except UnicodeDecodeError as err:
        raise ConfigError(f"{file} is not UTF-8 text: {err.reason}") from err
    except OSError as err:
        raise ConfigError(f"{file} cannot be read: {err.strerror}") from err
    yield from JsonObject({"annotations": rows}, file, "", ConfigError).objects("annotations")


def _lines(file: Path, first: str, rest: Iterator[str]) -> Iterator[JsonObject]:
    for number, text in enumerate(chain((first,), rest), 1):
        if text.strip():
            value = parse_json(text, file, error=ConfigError, place=f"line {number}")
            if not isinstance(value, dict):
                raise ConfigError(f"{file}: line {number} is no object in braces")
            yield JsonObject(value, file, f"line {number}", ConfigError)


def _annotation(row: JsonObject) -> Annotation:
    frames = row.items("frames", most=_MOST_FRAMES)
    names = tuple(sys.intern(frames.text(each)) for each in frames.raw)  # records of an episode share most of them
    if not names:
        raise row.wrong("frames", "a list of at least one file")
    for each, name in zip(frames.raw, names, strict=True):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise frames.wrong(each, "a file below the folder of the frames")
    answer = row.text("a").strip()
    if not answer:
        raise row.wrong("a", "an answer")
    return Annotation(row.text("video_id", ""), _instruction(row), answer, names)


def _instruction(row: JsonObject) -> str:
    try:
        return sanitize(row.text("q"), _MOST_CHARS)
    except InstructionError as err:
        raise ConfigError(f"{row.file}: {row.path('q')}: {err}") from err


def write_annotations(folder: Path, rows: Sequence[Annotation]) -> None:
    """Write `annotations.json`, whole or not at all; raises OutputError where it cannot be written."""
    records = [
        {"video_id": row.video_id, "q": row.instruction, "a": row.answer, "frames": list(row.frames)} for row in rows
    ]
    write_text(folder / ANNOTATIONS, json.dumps(records, indent=1) + "\n")
