"""`vila bench recall`: where was it last seen? Drives through unseen flats, questions about them, and names given."""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vila_core.engine.backend import EMBEDDED_CHECKPOINT, Backend, load_backend
from vila_core.engine.names import QUESTION
from vila_core.errors import ConfigError
from vila_core.recall.config import MemoryConfig
from vila_core.recall.sightings import MOST, Sighting
from vila_core.recall.store import View
from vila_core.scene_memory import Recalled, SceneMemory
from vila_core.types import Pose, Thing
from vila_sim.environment import bearing_rad
from vila_sim.episodes.splits import layout_seed, split_flat
from vila_sim.flats.furniture import COLOURS, KINDS
from vila_sim.flats.scene import Flat
from vila_sim.robot import CameraConfig
from vila_sim.tour import Sight, tour
from vila_sim.truth import GLIMPSED_PIXELS, PLAIN_PIXELS
from vila_tools.evaluation.metrics import wilson_interval
from vila_tools.options import add_precision_option, add_threads_option, tell_precision
from vila_tools.report import tell

SPLIT = "val_unseen_layout"
_FIRST_FLAT = 20_000  # not those of other benchmarks
NEAR_M = 1.0
TAGS = 10
_SAME_PLACE = 0.12  # of the picture's width
_GAP_NS = 10**13  # between the stamps of two flats
_AHEAD_M = 2.0  # where a baseline takes a thing to be that it does not measure
_SECOND_NS = 10**9

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Drive:
    """What a drive through a flat showed of each of its things: pixels [T, N]."""

    flat: Flat
    sights: list[Sight]

    def pixels(self, pair: Pair) -> np.ndarray[Any, np.dtype[np.int64]]:
        """At each step the most that was seen of one such thing: [T]."""
        own = [at for at, thing in enumerate(self.flat.objects) if (thing.colour, thing.kind) == pair]
        seen = np.array([sight.pixels for sight in self.sights])
        return seen[:, own].max(axis=1) if own else np.zeros(len(self.sights), np.int64)

    def spot(self, pair: Pair) -> tuple[float, float]:
        """Where such a thing stands that was seen."""
        spots = [(thing.x_m, thing.y_m) for thing in self.flat.objects if (thing.colour, thing.kind) == pair]
        return min(spots, key=lambda spot: self.distance_m(pair, *spot))

    def distance_m(self, pair: Pair, x_m: float, y_m: float) -> float:
        """From a point to the nearest such thing that was seen."""
        seen = np.array([sight.pixels for sight in self.sights]).max(axis=0)
        return min(
            (
                math.dist((x_m, y_m), (thing.x_m, thing.y_m))
                for thing, pixels in zip(self.flat.objects, seen, strict=True)
                if (thing.colour, thing.kind) == pair and pixels >= GLIMPSED_PIXELS
            ),
            default=math.inf,
        )


@dataclass(slots=True)
class Score:
    """Answers about what was seen, and about what was not."""

    asked: int = 0
    found: int = 0
    picture: int = 0  # shows it
    near: int = 0  # the place is right, see NEAR_M
    absent: int = 0
    not_seen: int = 0

    def row(self) -> dict[str, Any]:
        """As it stands in the result."""
        return {
            "recall_at_1": _share(self.near, self.asked),
            "recall_at_1_95": _interval(self.near, self.asked),
            "picture_right": _share(self.picture, self.asked),
            "found": _share(self.found, self.asked),
            "not_seen": _share(self.not_seen, self.absent),
            "not_seen_95": _interval(self.not_seen, self.absent),
        }


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table, then the result as one JSON object; --json writes that to a file too."""
    args = _parser().parse_args(argv)
    if min(args.flats, args.steps, args.entries) < 1:
        raise ConfigError(f"--flats {args.flats}, --steps {args.steps}, --entries {args.entries}: must be above 0")
    import torch  # only where a model is asked for

    torch.set_num_threads(args.threads)
    backend = load_backend("torch", args.checkpoint, precision=args.precision)
    tell_precision(backend.info)
    ours, baselines, tags = Score(), {name: Score() for name in ("last frame", "random frame", "oracle")}, [0, 0, 0]
    with tempfile.TemporaryDirectory() as folder:
        for number in tqdm(range(args.flats), desc="flats", unit="flat", disable=None):
            rng = np.random.default_rng([args.seed, number])
            flat = split_flat(layout_seed(SPLIT, _FIRST_FLAT + number, args.seed))
            memory = _memory(backend, Path(folder) / f"{number}.sqlite", first_ns=(number + 1) * _GAP_NS)
            try:
                drive = _drive(memory, flat, rng, args.steps, first_ns=(number + 1) * _GAP_NS)
                _ask(memory, drive, rng, ours, baselines)
                _name(memory, drive, rng, tags)
            finally:
                memory.close()
        speed = measure_speed(backend, Path(folder) / "large.sqlite", args.entries, args.seed)
    named, told_apart, found_again = tags
    result = {
        "checkpoint": backend.info.name,
        "flats": args.flats,
        "questions": ours.asked,
        "absent": ours.absent,
        **ours.row(),
        "baselines": {name: score.row() for name, score in baselines.items()},
        "tags": named,
        "tag_top_1_of_10": _share(told_apart, named),
        "tag_top_1_of_10_95": _interval(told_apart, named),
        "tag_recall_at_1": _share(found_again, named),
        **speed,
    }
    tell(result, table(result), args.json)
    return 0


def _memory(backend: Backend, file: Path, first_ns: int) -> SceneMemory:
    camera = CameraConfig()
    config = MemoryConfig(
        file=str(file),
        camera_hfov_deg=camera.hfov_deg,
        camera_height_m=camera.height_m,
        camera_pitch_deg=camera.pitch_deg,
    )
    return SceneMemory(backend, config, now_ns=first_ns)


def _drive(memory: SceneMemory, flat: Flat, rng: np.random.Generator, steps: int, first_ns: int) -> Drive:
    sights = []
    for sight in tour(flat, rng, steps, first_ns=first_ns):
        if memory.is_due(sight.frame.stamp_ns, sight.odometry.pose):
            memory.remember(sight.frame, sight.odometry.pose)
            sights.append(sight)
    return Drive(flat, sights)


# --- where was it last seen? ---------------------------------------------------------------------


def _ask(memory: SceneMemory, drive: Drive, rng: np.random.Generator, ours: Score, baselines: dict[str, Score]) -> None:
    """Ask about all that was plainly seen once, and about as many that were not there at all."""
    pairs = [(colour, kind) for kind in KINDS for colour in COLOURS]
    most = {pair: int(drive.pixels(pair).max()) for pair in pairs}
    seen = [pair for pair in pairs if most[pair] >= PLAIN_PIXELS]
    for pair in seen:
        told = memory.recall(f"where did you last see the {Thing(*pair).text}")
        _count(ours, drive, pair, told)
        last, drawn = len(drive.sights) - 1, int(rng.integers(len(drive.sights)))
        for name, at in (("last frame", last), ("random frame", drawn)):
            ahead = drive.sights[at].odometry.pose.advanced(_AHEAD_M)
            _count_answer(baselines[name], drive, pair, at, ahead.x_m, ahead.y_m)
        _count_answer(baselines["oracle"], drive, pair, int(drive.pixels(pair).argmax()), *drive.spot(pair))
    for pair in _absent(pairs, most, seen, rng):
        ours.absent += 1
        ours.not_seen += memory.recall(f"where is the {Thing(*pair).text}").view is None
        baselines["oracle"].absent += 1
        baselines["oracle"].not_seen += 1
        for name in ("last frame", "random frame"):
            baselines[name].absent += 1


def _absent(pairs: list[Pair], most: dict[Pair, int], seen: list[Pair], rng: np.random.Generator) -> list[Pair]:
    """As many pairs as were seen, none of which showed a pixel: every second one is like one that was seen."""
    free = [pair for pair in pairs if most[pair] == 0]
    like = [pair for pair in free if any((pair[0] == s[0]) != (pair[1] == s[1]) for s in seen)]
    drawn = [free[at] for at in rng.permutation(len(free))[: (len(seen) + 1) // 2]]
    return drawn + [like[at] for at in rng.permutation(len(like))[: len(seen) // 2]]


def _count(score: Score, drive: Drive, pair: Pair, told: Recalled) -> None:
    if told.view is None:
        score.asked += 1
        return
    stamps = [sight.frame.stamp_ns for sight in drive.sights]
    _count_answer(score, drive, pair, stamps.index(told.view.stamp_ns), told.x_m, told.y_m)


def _count_answer(score: Score, drive: Drive, pair: Pair, at: int, x_m: float, y_m: float) -> None:
    score.asked += 1
    score.found += 1
    score.picture += bool(drive.pixels(pair)[at] >= GLIMPSED_PIXELS)
    score.near += drive.distance_m(pair, x_m, y_m) <= NEAR_M


# --- "this is my mug" ----------------------------------------------------------------------------


def _name(memory: SceneMemory, drive: Drive, rng: np.random.Generator, counts: list[int]) -> None:
    """Give ten things names by one picture of each; tell them apart in another picture, and find their places again.

    counts: how many were named, told apart, and found again.
    """
    views = {
        pair: np.flatnonzero(drive.pixels(pair) >= PLAIN_PIXELS)
        for pair in {(thing.colour, thing.kind) for thing in drive.flat.objects}
        if sum((thing.colour, thing.kind) == pair for thing in drive.flat.objects) == 1
    }
    several = sorted(pair for pair, at in views.items() if len(at) > 1)
    if len(several) < TAGS:
        return
    chosen = [several[at] for at in rng.permutation(len(several))[:TAGS]]
    others: dict[Pair, Sighting] = {}
    names: dict[Pair, str] = {}
    for pair in chosen:
        example, other = rng.permutation(views[pair])[:2]
        shown = _shown(memory, drive, pair, int(example)), _shown(memory, drive, pair, int(other))
        if shown[0] is None or shown[1] is None:
            continue
        names[pair], others[pair] = f"thing {len(names)}", shown[1]
        memory.tag(names[pair], drive.sights[int(example)].frame, across=shown[0].across, down=shown[0].down)
    for pair, name in names.items():
        counts[0] += 1
        counts[1] += memory.likest_tag(others[pair])[0] == name
        told = memory.recall(f"where is {name}")
        counts[2] += told.view is not None and drive.distance_m(pair, told.x_m, told.y_m) <= NEAR_M


def _shown(memory: SceneMemory, drive: Drive, pair: Pair, at: int) -> Sighting | None:
    """The sighting of the thing in a picture, by where it really is in it; None if nothing was made of it."""
    sight = drive.sights[at]
    thing = next(thing for thing in drive.flat.objects if (thing.colour, thing.kind) == pair)
    camera = CameraConfig()
    across = 0.5 - math.tan(bearing_rad(sight.odometry.pose, thing)) * camera.focal_px / camera.width_px
    seen = [one for one in memory.look(sight.frame) if abs(one.middle - across) < _SAME_PLACE]
    return min(seen, key=lambda one: abs(one.middle - across), default=None)


# --- how quick, how large ------------------------------------------------------------------------


def measure_speed(backend: Backend, file: Path, entries: int, seed: int) -> dict[str, Any]:
    """Fill a file with so many sightings of nothing in particular; time what adds to it and what searches it."""
    memory = _memory(backend, file, first_ns=_GAP_NS)
    rng = np.random.default_rng(seed)
    width = memory.vector_width
    picture = bytes(rng.integers(0, 256, 12_000, dtype=np.uint8))
    adding: list[float] = []
    try:
        for number in range(-(-entries // MOST)):
            seen = [_nothing(rng, width) for _ in range(MOST)]
            x_m, y_m, yaw_rad = rng.uniform(-3, 3, 3).tolist()
            pose = Pose(x_m, y_m, yaw_rad)
            view = View(_GAP_NS + number * _SECOND_NS, "camera", pose, (480, 640), picture)
            began = time.perf_counter()
            memory.add(view, seen)
            adding.append(time.perf_counter() - began)
        asking = []
        for kind in KINDS:
            for colour in COLOURS:
                began = time.perf_counter()
                memory.recall(QUESTION.format(thing=Thing(colour, kind).text))
                asking.append(time.perf_counter() - began)
    finally:
        memory.close()
    return {
        "entries": entries,
        "file_mb": round(file.stat().st_size / 1e6, 1),
        "insert_ms_p50": round(float(np.median(adding)) * 1e3, 3),
        "insert_ms_p99": round(float(np.percentile(adding, 99)) * 1e3, 3),
        "query_ms_p50": round(float(np.median(asking)) * 1e3, 2),
        "query_ms_p99": round(float(np.percentile(asking, 99)) * 1e3, 2),
    }


def _nothing(rng: np.random.Generator, width: int) -> Sighting:
    across, down, middle, foot = rng.uniform(0, 1, 4).tolist()
    vector = rng.standard_normal(width).astype(np.float32)
    return Sighting(across, down, middle, foot, Thing("red", "chair"), 0.0, vector)


def table(result: dict[str, Any]) -> Iterator[str]:
    """Lines for people."""
    yield f"{'':16}{'within 1 m':>12}{'picture':>10}{'not seen':>10}"
    for name, row in ((result["checkpoint"], result), *result["baselines"].items()):
        yield f"{name:16}{row['recall_at_1']:12.3f}{row['picture_right']:10.3f}{row['not_seen']:10.3f}"
    yield (
        f"{result['tags']} names given by one picture: told apart from nine others {result['tag_top_1_of_10']:.3f}, "
        f"found again within 1 m {result['tag_recall_at_1']:.3f}"
    )
    yield (
        f"{result['entries']} sightings, {result['file_mb']} MB: adding a view {result['insert_ms_p50']} ms "
        f"(p99 {result['insert_ms_p99']}), a question {result['query_ms_p50']} ms (p99 {result['query_ms_p99']})"
    )


def _share(count: int, of: int) -> float:
    return round(count / of, 4) if of else 0.0


def _interval(count: int, of: int) -> tuple[float, float]:
    low, high = wilson_interval(count, of)
    return round(low, 3), round(high, 3)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila bench recall", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=EMBEDDED_CHECKPOINT, help="default: the embedded one")
    add_precision_option(parser)
    parser.add_argument("--flats", type=int, default=30, help="unseen ones (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=150, help="of a drive, 25 cm or 15 degrees (default: %(default)s)")
    parser.add_argument("--entries", type=int, default=100_000, help="sightings in the file that is timed")
    parser.add_argument("--seed", type=int, default=0)
    add_threads_option(parser)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    return parser
