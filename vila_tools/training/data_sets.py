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

from vila_core.config import HistoryConfig, NavigatorConfig
from vila_core.engine.backend import load_backend
from vila_core.errors import ConfigError
from vila_sim import clips, dataset
from vila_sim.cameras import CameraRandomization
from vila_sim.families.table import FAMILIES, PLAIN, TRAINING_FAMILIES
from vila_sim.policy import Policy
from vila_sim.shards import make_shards, shard_path, write_meta
from vila_tools.evaluation.policies import ModelPolicy
from vila_tools.training.recipe import DataRecipe

CAMERAS = {"fixed": None, "random": CameraRandomization(), "mixed": CameraRandomization(own=0.5)}


def episodes_main(argv: Sequence[str] | None = None) -> int:
    """Make the missing shards of the oracle's episodes; the last line on stdout is a JSON object."""
    parser = _parser("vila data", "Make the training set of vila-nano.", Path("data/nano"))
    per_shard, default = dataset.FRAMES_PER_SHARD, DataRecipe()
    parser.add_argument("--frames", type=int, default=default.frames, help=f"rounded up to whole shards of {per_shard}")
    parser.add_argument(
        "--families",
        default=default.families,
        help=f"of flats, with commas: the data's flats are of each in turn; {', '.join(TRAINING_FAMILIES)}",
    )
    parser.add_argument(
        "--cameras",
        choices=tuple(CAMERAS),
        default=default.cameras,
        help="random: another one in each episode; mixed: in each second episode, by chance",
    )
    parser.add_argument("--views", action="store_true", help="single frames from anywhere, of more flats; no drives")
    args = parser.parse_args(argv)
    recipe = DataRecipe(args.frames, args.families, args.cameras, args.seed, args.views)
    made, count, seconds = make_episodes(args.out, recipe, args.workers)
    summary = {
        "shards": count,
        "frames": count * per_shard,
        "frames_made": made * per_shard,
        "seconds": round(seconds, 1),
        "frames_per_s": round(made * per_shard / seconds, 1) if made else 0.0,
    }
    print(json.dumps({"out": str(args.out), **summary}))
    return 0


def make_episodes(out: Path, recipe: DataRecipe, workers: int, driver: Path | None = None) -> tuple[int, int, float]:
    """Make the shards that are missing; return how many, how many there now are, and the seconds.

    driver: a checkpoint, which drives where it thinks right; None: the oracle drives. Raises WorldError for a folder of
    other data, ConfigError for unknown families or cameras.
    """
    if recipe.cameras not in CAMERAS:
        raise ConfigError(f"cameras {recipe.cameras!r}: choose from {', '.join(CAMERAS)}")
    families = tuple(name for name in recipe.families.split(",") if name)
    options = dataset.DataOptions(families, CAMERAS[recipe.cameras], recipe.views)
    make = functools.partial(_make_shard, out, seed=recipe.seed, options=options, driver=driver)
    count = math.ceil(recipe.frames / dataset.FRAMES_PER_SHARD)
    meta = dataset.dataset_meta(recipe.seed, options, "oracle" if driver is None else "model")
    made, seconds = _make_missing(out, meta, make, count, workers, (dataset.FRAMES_PER_SHARD, "frame"))
    return made, count, seconds


def _make_shard(out: Path, index: int, *, seed: int, options: dataset.DataOptions, driver: Path | None) -> Path:
    policy = None if driver is None else _model_policy(driver)
    return dataset.make_shard(out, index, seed, options=options, driver=policy)


@functools.cache
def _model_policy(checkpoint: Path) -> Policy:
    """The navigator with the checkpoint, once a process."""
    backend = load_backend("torch", checkpoint, precision="float32")
    return ModelPolicy(backend, NavigatorConfig(watch_camera=False), HistoryConfig())


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
    made, seconds = _make_missing(
        args.out, clips.clips_meta(args.seed, args.split, args.family), make, count, args.workers, (1, "shard")
    )
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
    out: Path, meta: dict[str, Any], make: Callable[[int], Path], count: int, workers: int, step: tuple[int, str]
) -> tuple[int, float]:
    """Make what is missing of `count` shards; returns how many, and the seconds. step: units a shard, their name."""
    out.mkdir(parents=True, exist_ok=True)
    write_meta(out / "meta.json", meta)
    missing = [index for index in range(count) if not shard_path(out, index).is_dir()]
    began = time.perf_counter()
    size, unit = step
    with tqdm(total=count * size, initial=(count - len(missing)) * size, unit=unit) as bar:
        for _ in make_shards(make, missing, workers):
            bar.update(size)
    return len(missing), time.perf_counter() - began
