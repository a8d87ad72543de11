"""`vila data` and `vila clips`: write the training sets of vila-nano from simulated flats, in resumable shards."""

from __future__ import annotations

import argparse
import functools
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vila_sim import clips, dataset
from vila_sim.cameras import CameraRandomization
from vila_sim.families.table import FAMILIES, PLAIN, TRAINING_FAMILIES
from vila_sim.shards import make_shards, shard_path, write_meta


def episodes_main(argv: Sequence[str] | None = None) -> int:
    """Make the missing shards of the oracle's episodes; the last line on stdout is a JSON object."""
    parser = _parser("vila data", "Make the training set of vila-nano.", Path("data/nano"))
    per_shard = dataset.FRAMES_PER_SHARD
    parser.add_argument("--frames", type=int, default=60_000, help=f"rounded up to whole shards of {per_shard}")
    parser.add_argument(
        "--families",
        default=PLAIN,
        help=f"of flats, with commas: the data's flats are of each in turn; {', '.join(TRAINING_FAMILIES)}",
    )
    parser.add_argument(
        "--cameras", choices=("fixed", "random"), default="fixed", help="random: another one in each episode"
    )
    args = parser.parse_args(argv)
    cameras = CameraRandomization() if args.cameras == "random" else None
    options = dataset.DataOptions(tuple(name for name in args.families.split(",") if name), cameras)
    make = functools.partial(dataset.make_shard, args.out, seed=args.seed, options=options)
    count = math.ceil(args.frames / per_shard)
    made, seconds = _make_missing(args, dataset.dataset_meta(args.seed, options), make, count, (per_shard, "frame"))
    summary = {
        "shards": count,
        "frames": count * per_shard,
        "frames_made": made * per_shard,
        "seconds": round(seconds, 1),
        "frames_per_s": round(made * per_shard / seconds, 1) if made else 0.0,
    }
    print(json.dumps({"out": str(args.out), **summary}))
    return 0


def clips_main(argv: Sequence[str] | None = None) -> int:
    """Make the missing shards of films with questions; the last line on stdout is a JSON object."""
    per_shard = clips.CLIPS_PER_SHARD
    parser = _parser("vila clips", "Make films of flats in which things happen.", Path("data/clips"))
    parser.add_argument("--clips", type=int, default=1000, help=f"rounded up to whole shards of {per_shard}")
    parser.add_argument("--split", choices=clips.SPLITS, default="train")
    parser.add_argument("--family", choices=tuple(FAMILIES), default=PLAIN, help="of flats (default: %(default)s)")
    args = parser.parse_args(argv)
    make = functools.partial(clips.make_shard, args.out, split=args.split, seed=args.seed, family=args.family)
    count = math.ceil(args.clips / per_shard)
    made, seconds = _make_missing(args, clips.clips_meta(args.seed, args.split, args.family), make, count, (1, "shard"))
    summary = {
        "clips": count * per_shard,
        "frames_made": made * per_shard * clips.FRAMES,
        "seconds": round(seconds, 1),
    }
    print(json.dumps({"out": str(args.out), **summary}))
    return 0


def _parser(prog: str, description: str, out: Path) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--out", type=Path, default=out, help="folder of the data set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    return parser


def _make_missing(
    args: argparse.Namespace, meta: dict[str, Any], make: Callable[[int], Path], count: int, step: tuple[int, str]
) -> tuple[int, float]:
    """Make what is missing of `count` shards; returns how many, and the seconds. step: units a shard, their name."""
    args.out.mkdir(parents=True, exist_ok=True)
    write_meta(args.out / "meta.json", meta)
    missing = [index for index in range(count) if not shard_path(args.out, index).is_dir()]
    began = time.perf_counter()
    size, unit = step
    with tqdm(total=count * size, initial=(count - len(missing)) * size, unit=unit) as bar:
        for _ in make_shards(make, missing, args.workers):
            bar.update(size)
    return len(missing), time.perf_counter() - began
