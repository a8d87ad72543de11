"""Read what `vila clips` wrote: short films with questions, and when their answers are true."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import ConfigError
from vila_core.files.json_object import JsonObject, parse_json, read_object
from vila_core.files.reading import read_text
from vila_tools.training.shards import load_array

_MOST_FRAMES = 1_000_000
Thing = tuple[str, str]  # (colour, kind); a door has no colour
Happened = tuple[str, Thing]  # a verb, and what it happened to


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A question about a clip. active: [T] bool, the frames in which what it names goes on."""

    clip: int
    verb: str
    colour: str
    kind: str
    text: str
    active: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """All clips of a data directory. templates: by verb, the sentences that training may use."""

    images: tuple[NDArray[np.uint8], ...]  # of each shard [C, T, S, S, 3], mapped from its file
    seg: NDArray[np.uint8]  # [clips, T, 48, 48] index into the clip's things, 255 elsewhere
    things: tuple[tuple[Thing, ...], ...]  # of each clip
    happened: tuple[frozenset[Happened], ...]  # in each clip, in view or not
    questions: tuple[Question, ...]
    templates: dict[str, tuple[str, ...]]
    period_s: float
    frames: int

    def __len__(self) -> int:
        return len(self.things)

    def film(self, clip: int) -> NDArray[np.uint8]:
        """A clip's images [T, S, S, 3], mapped from their file."""
        for shard in self.images:
            if clip < len(shard):
                return shard[clip]  # type: ignore[no-any-return]
            clip -= len(shard)
        raise IndexError(f"clip {clip} behind the last")

    def covered(self, clip: int, thing: Thing, frames: slice) -> NDArray[np.bool_]:
        """Where a thing of the name is seen: [T, 48, 48]."""
        named = np.zeros(256, bool)
        named[: len(self.things[clip])] = [one == thing for one in self.things[clip]]
        return named[self.seg[clip, frames]]


def read_clips(folder: Path) -> Clips:
    """Join the shards of a data directory; ConfigError if there are none or meta.json is missing."""
    meta_file = folder / "meta.json"
    shards = sorted(path for path in folder.glob("shard_*") if path.is_dir())
    if not meta_file.is_file() or not shards:
        raise ConfigError(f"{folder} holds no clips; make them with: vila clips --out {folder}")
    meta = read_object(meta_file, error=ConfigError)
    period_s, frames = meta.number("period_s", above=1e-6, most=1e6), meta.integer("frames", most=_MOST_FRAMES)
    templates = meta.object("train_templates")
    things: list[tuple[Thing, ...]] = []
    happened: list[frozenset[Happened]] = []
    questions: list[Question] = []
    for shard in shards:
        for row in _rows(shard / "clips.json"):
            for asked in row.objects("queries"):
                active = active_frames(_intervals(asked), period_s, frames)
                named = (asked.text("verb"), asked.text("colour"), asked.text("kind"), asked.text("text"))
                questions.append(Question(len(things), *named, active))
            things.append(_things(row))
            happened.append(
                frozenset((one.text("verb"), _subject(one, things[-1])) for one in row.objects("scripted_events"))
            )
    return Clips(
        tuple(load_array(shard / "images.npy", mapped=True) for shard in shards),
        np.concatenate([load_array(shard / "seg.npy") for shard in shards]),
        tuple(things),
        tuple(happened),
        tuple(questions),
        {verb: templates.texts(verb) for verb in templates.raw},
        period_s,
        frames,
    )


def _rows(file: Path) -> Iterator[JsonObject]:
    rows = parse_json(read_text(file, error=ConfigError), file, error=ConfigError)
    yield from JsonObject({"clips": rows}, file, "", ConfigError).objects("clips")


def _intervals(asked: JsonObject) -> list[tuple[float, float]]:
    rows = asked.items("intervals_s")
    pairs = (rows.numbers(each, 2, least=0.0) for each in rows.raw)
    return [(start_s, end_s) for start_s, end_s in pairs]


def _things(row: JsonObject) -> tuple[Thing, ...]:
    rows, things = row.items("things", most=255), []
    for each in rows.raw:
        names = rows.texts(each)
        if len(names) != 2:
            raise rows.wrong(each, "a colour and a kind")
        things.append((names[0], names[1]))
    return tuple(things)


def _subject(scripted: JsonObject, things: tuple[Thing, ...]) -> Thing:
    """What a script calls red_chair_7 or door_3."""
    what, _, number = scripted.text("subject").rpartition("_")
    if what == "door":
        return ("", what)
    if not number.isdecimal() or len(number) > 4 or int(number) >= len(things):
        raise scripted.wrong("subject", f"the name of one of {len(things)} things")
    return things[int(number)]


def active_frames(intervals_s: Sequence[Sequence[float]], period_s: float, frames: int) -> NDArray[np.bool_]:
    """Return which frames lie in an interval [first frame's time, last frame's time]: [frames] bool."""
    active = np.zeros(frames, dtype=bool)
    for start_s, end_s in intervals_s:
        active[round(start_s / period_s) : round(end_s / period_s) + 1] = True
    return active
