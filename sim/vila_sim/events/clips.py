"""`vila clips`: short films of flats in which things happen, with questions and when their answers are true.

A shard is a folder with 25 clips (C) of 64 frames (T):

    images.npy  [C, T, 192, 192, 3] uint8   0.25 s apart, rendered at 224 x 224, resized with an antialiased bicubic
    seg.npy     [C, T, 48, 48]      uint8   index into the clip's things, 255 elsewhere
    clips.json  for each clip: its flat, its things (colour and kind; a door leaf has no colour), whether the camera
                stood still or drove, what happened, and its queries

An interval of a query is [first, last]: the times, in seconds from the clip's first frame, of the first and the last
frame in which what it names goes on. A query without intervals names what does not go on.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import ConfigError
from vila_sim.episodes.route import Route
from vila_sim.episodes.splits import layout_seed, split_flat
from vila_sim.events.director import Director, draw_verbs
from vila_sim.events.event_queries import HELD_OUT_TEMPLATES, TRAIN_TEMPLATES, draw_queries
from vila_sim.events.patrol import Watch
from vila_sim.events.scripted_events import Script, Times, things
from vila_sim.events.stage import Stage
from vila_sim.families.clutter import TABLEWARE
from vila_sim.families.table import PLAIN, TRAINING_FAMILIES
from vila_sim.flats.doors import with_leaves
from vila_sim.flats.grid import OccupancyGrid
from vila_sim.flats.scene import Flat, Room
from vila_sim.rollout_recorder import small_image, small_segmentation
from vila_sim.shards import shard_path, write_shard
from vila_sim.truth import GLIMPSED_PIXELS, PLAIN_PIXELS, Truth

FORMAT_VERSION = 4
IMAGE_PX = 192
FRAMES, PERIOD_S = 64, 0.25
CLIPS_PER_SHARD, CLIPS_PER_FLAT = 25, 5
SPLITS = ("train", "val_unseen_layout")
HELD_OUT_SHARE = {"train": 0.0, "val_unseen_layout": 0.5}  # of sentences that training never uses
SCRIPTED_EVENTS = (0.07, 0.10, 0.18, 0.25, 0.25, 0.15)  # the probabilities of none, one, two, ... to be tried in a clip
PATROL_REST_S = 20.0  # of a long patrol, for each scripted event that is tried
TIMES_S = np.arange(FRAMES) * PERIOD_S


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """What a camera saw of a script: images [T, 192, 192, 3] uint8 and the truth about it. seg: see `vila clips`."""

    camera: str  # "fixed" or "patrol"
    images: NDArray[np.uint8]
    seg: NDArray[np.uint8]
    truth: Truth


def make_shard(
    out: Path, index: int, *, split: str, seed: int, clips: int = CLIPS_PER_SHARD, family: str = PLAIN
) -> Path:
    """Make one shard and move it into place in one step, so that a shard that exists is complete.

    The same arguments give the same shard. Raises ConfigError for a family that must not be trained on.
    """
    if split == "train" and family not in TRAINING_FAMILIES:
        raise ConfigError(f"family = {family!r}: choose from {', '.join(TRAINING_FAMILIES)}; others are for testing")
    images, segs, rows = list[NDArray[np.uint8]](), list[NDArray[np.uint8]](), list[dict[str, Any]]()
    for flat_number in range(math.ceil(clips / CLIPS_PER_FLAT)):
        layout = layout_seed(split, index * (CLIPS_PER_SHARD // CLIPS_PER_FLAT) + flat_number, seed)
        rng = np.random.default_rng([seed, SPLITS.index(split), index, flat_number])
        for clip in clips_in(layout, rng, min(CLIPS_PER_FLAT, clips - len(rows)), family):
            images.append(clip.images)
            segs.append(clip.seg)
            rows.append(_row(clip, len(rows), rng, HELD_OUT_SHARE[split]))

    def write(folder: Path) -> None:
        np.save(folder / "images.npy", np.stack(images))
        np.save(folder / "seg.npy", np.stack(segs))
        (folder / "clips.json").write_text(json.dumps(rows))

    return write_shard(shard_path(out, index), write)


def clips_in(layout: int, rng: np.random.Generator, count: int, family: str = PLAIN) -> Iterator[Clip]:
    """Yield clips of one flat, in its rooms in turn, from standing and from driving cameras in turn."""
    flat = _with_bare_tables(with_leaves(split_flat(layout, family=family), rng))
    grid = OccupancyGrid(flat)
    rooms = furnished_rooms(flat)
    order = rng.permutation(len(rooms))
    first = int(rng.integers(2))
    stage = Stage(flat)
    try:
        for number in range(count):
            room = rooms[order[number % len(rooms)]]
            yield _clip(stage, grid, room, ("fixed", "patrol")[(first + number) % 2], rng)
    finally:
        stage.close()


def patrol_in(layout: int, rng: np.random.Generator, duration_s: float) -> Clip:
    """Return what a robot sees that patrols one room of the flat for so long, while something happens now and then."""
    flat = with_leaves(split_flat(layout), rng)
    rooms = furnished_rooms(flat)
    room, grid = rooms[rng.integers(len(rooms))], OccupancyGrid(flat)
    times_s = np.arange(round(duration_s / PERIOD_S)) * PERIOD_S
    verbs = draw_verbs(round(duration_s / PATROL_REST_S), rng)
    route = Watch(grid, room, rng).patrol(duration_s, door_wanted=any(verb.startswith("door") for verb in verbs))
    stage = Stage(flat)
    try:
        script = Director(stage, grid, room, route, times_s=times_s).direct(verbs, rng)
        return _film(stage, script, route, times_s, "patrol")
    finally:
        stage.close()


def _with_bare_tables(flat: Flat) -> Flat:
    """Clear the tables: what stands on one would stay in the air when it is taken away."""
    return dataclasses.replace(flat, decor=tuple(piece for piece in flat.decor if piece.kind not in TABLEWARE))


def furnished_rooms(flat: Flat) -> list[Room]:
    """The rooms in which there is something to be seen."""
    return [room for room in flat.rooms if sum(thing.room == room.name for thing in flat.objects) >= 3]


def _clip(stage: Stage, grid: OccupancyGrid, room: Room, camera: str, rng: np.random.Generator) -> Clip:
    verbs = draw_verbs(int(rng.choice(len(SCRIPTED_EVENTS), p=SCRIPTED_EVENTS)), rng)
    door_wanted = any(verb.startswith("door") for verb in verbs) or bool(rng.random() < 0.2)
    route = _route(Watch(grid, room, rng), camera, door_wanted, rng)
    script = Director(stage, grid, room, route, times_s=TIMES_S).direct(verbs, rng)
    return _film(stage, script, route, TIMES_S, camera)


def _route(watch: Watch, camera: str, door_wanted: bool, rng: np.random.Generator) -> Route:
    """Stand still, or join a patrol at some time after its start."""
    if camera == "fixed":
        return Route(watch.view(door_wanted))
    skipped = float(rng.uniform(0.0, 8.0))
    return watch.patrol(skipped + float(TIMES_S[-1]), door_wanted).later(skipped)


def _film(stage: Stage, script: Script, route: Route, times_s: Times, camera: str) -> Clip:
    """Film the script from the route; an image in which nothing has changed is not rendered again."""
    images, segs, pixels = list[NDArray[np.uint8]](), list[NDArray[np.uint8]](), list[NDArray[np.int64]]()
    for is_new in stage.play(script, route, times_s):
        if is_new:
            image = small_image(stage.image(), IMAGE_PX)
            segmentation, shown = stage.segmentation()
            seg = small_segmentation(segmentation)
        images.append(image)
        segs.append(seg)
        pixels.append(shown)
    return Clip(camera, np.stack(images), np.stack(segs), Truth(stage.flat, script, times_s, np.stack(pixels)))


def _row(clip: Clip, number: int, rng: np.random.Generator, held_out: float) -> dict[str, Any]:
    """The clip as it stands in clips.json."""
    return {
        "clip": number,
        "flat_seed": clip.truth.flat.seed,
        "family": clip.truth.flat.family,
        "things": [[thing.colour, thing.kind] for thing in things(clip.truth.flat)],
        "camera": clip.camera,
        "scripted_events": [
            {"verb": one.verb, "subject": one.subject, "start_s": one.start_s, "end_s": one.end_s}
            for one in clip.truth.script
        ],
        "queries": [dataclasses.asdict(query) for query in draw_queries(clip.truth, rng, held_out=held_out)],
    }


def clips_meta(seed: int, split: str, family: str = PLAIN) -> dict[str, Any]:
    """What another data set of the same folder must have been made with."""
    return {
        "format": FORMAT_VERSION,
        "seed": seed,
        "split": split,
        "family": family,
        "period_s": PERIOD_S,
        "frames": FRAMES,
        "image_px": IMAGE_PX,
        "clips_per_shard": CLIPS_PER_SHARD,
        "plain_pixels": PLAIN_PIXELS,
        "glimpsed_pixels": GLIMPSED_PIXELS,
        "verbs": list(TRAIN_TEMPLATES),
        "train_templates": TRAIN_TEMPLATES,
        "held_out_templates": HELD_OUT_TEMPLATES,
    }
