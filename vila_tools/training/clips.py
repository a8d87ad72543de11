"""Read what `vila clips` wrote: short films with questions, and when their answers are true."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import ConfigError

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
    meta = json.loads(meta_file.read_text(encoding="utf-8"))
    period_s, frames = float(meta["period_s"]), int(meta["frames"])
    things: list[tuple[Thing, ...]] = []
    happened: list[frozenset[Happened]] = []
    questions: list[Question] = []
    for shard in shards:
        for row in json.loads((shard / "clips.json").read_text(encoding="utf-8")):
            for asked in row["queries"]:
                active = active_frames(asked["intervals_s"], period_s, frames)
                named = (asked["verb"], asked["colour"], asked["kind"], asked["text"])
                questions.append(Question(len(things), *named, active))
            things.append(tuple((colour, kind) for colour, kind in row["things"]))
            happened.append(
                frozenset((one["verb"], _subject(one["subject"], things[-1])) for one in row["scripted_events"])
            )
    return Clips(
        tuple(np.load(shard / "images.npy", mmap_mode="r") for shard in shards),
        np.concatenate([np.load(shard / "seg.npy") for shard in shards]),
        tuple(things),
        tuple(happened),
        tuple(questions),
        {verb: tuple(texts) for verb, texts in meta["train_templates"].items()},
        period_s,
        frames,
    )


def _subject(name: str, things: tuple[Thing, ...]) -> Thing:
    """What a script calls red_chair_7 or door_3."""
    what, _, number = name.rpartition("_")
    return ("", what) if what == "door" else things[int(number)]


def active_frames(intervals_s: list[list[float]], period_s: float, frames: int) -> NDArray[np.bool_]:
    """Return which frames lie in an interval [first frame's time, last frame's time]: [frames] bool."""
    active = np.zeros(frames, dtype=bool)
    for start_s, end_s in intervals_s:
        active[round(start_s / period_s) : round(end_s / period_s) + 1] = True
    return active
