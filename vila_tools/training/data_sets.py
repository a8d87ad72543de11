"""`vila data` and `vila clips`: write the training sets of vila-nano from simulated flats, in resumable shards."""

from __future__ import annotations

import argparse
import functools
import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vila_core.config import HistoryConfig, NavigatorConfig
from vila_core.engine.backend import load_backend
from vila_core.errors import ConfigError
from vila_sim import dataset
from vila_sim.cameras import CameraRandomization
from vila_sim.episodes.policy import Policy
from vila_sim.events import clips
from vila_sim.families.table import FAMILIES, PLAIN, TRAINING_FAMILIES
from vila_sim.shards import shard_path, write_meta, write_shard
from vila_tools.evaluation.policies import ModelPolicy
from vila_tools.training.recipe import DataRecipe
from vila_tools.workers.pool import InThisProcess, WorkerPool, add_pool_options, cost_lines, cost_rows, pool_of
from vila_tools.workers.processes import ProcessPool

_SHARDS_PER_WORKER = 8  # then another takes its place, with an EGL context of its own
MakeShard = Callable[[Path, int], Path]  # of a folder and the shard's index; the same index gives the same files

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
    pool = pool_of(args)
    made, count, seconds = _make_episodes(args.out, recipe, pool)
    summary = {
        "shards": count,
        "frames": count * per_shard,
        "frames_made": made * per_shard,
        "seconds": round(seconds, 1),
        "frames_per_s": round(made * per_shard / seconds, 1) if made else 0.0,
    }
    _tell(args.out, summary, pool)
    return 0


def make_episodes(out: Path, recipe: DataRecipe, workers: int, driver: Path | None = None) -> tuple[int, int, float]:
    """Make the shards that are missing in so many processes; return how many, how many there now are, and the seconds.

    driver: a checkpoint, which drives where it thinks right; None: the oracle drives. Raises WorldError for a folder of
    other data, ConfigError for unknown families or cameras.
    """
    return _make_episodes(out, recipe, InThisProcess() if workers <= 1 else ProcessPool(workers), driver)


def _make_episodes(
    out: Path, recipe: DataRecipe, pool: WorkerPool, driver: Path | None = None
) -> tuple[int, int, float]:
    if recipe.cameras not in CAMERAS:
        raise ConfigError(f"cameras {recipe.cameras!r}: choose from {', '.join(CAMERAS)}")
    families = tuple(name for name in recipe.families.split(",") if name)
    options = dataset.DataOptions(families, CAMERAS[recipe.cameras], recipe.views)
    make = functools.partial(_make_shard, seed=recipe.seed, options=options, driver=driver)
    count = math.ceil(recipe.frames / dataset.FRAMES_PER_SHARD)
    meta = dataset.dataset_meta(recipe.seed, options, "oracle" if driver is None else "model")
    made, seconds = _make_missing(out, meta, make, count, pool, (dataset.FRAMES_PER_SHARD, "frame"))
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
    make = functools.partial(clips.make_shard, split=args.split, seed=args.seed, family=args.family)
    pool = pool_of(args)
    count = math.ceil(args.clips / per_shard)
    made, seconds = _make_missing(
        args.out, clips.clips_meta(args.seed, args.split, args.family), make, count, pool, (1, "shard")
    )
    summary = {
        "clips": count * per_shard,
        "frames_made": made * per_shard * clips.FRAMES,
        "seconds": round(seconds, 1),
    }
    _tell(args.out, summary, pool)
    return 0


def _parser(prog: str, description: str, out: Path) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--out", type=Path, default=out, help="folder of the data set")
    parser.add_argument("--seed", type=int, default=0)
    add_pool_options(parser)
    return parser


def _tell(out: Path, summary: dict[str, Any], pool: WorkerPool) -> None:
    for line in cost_lines(pool, "shards"):
        print(line)
    print(json.dumps({"out": str(out), **summary, "workers": cost_rows(pool, "shards")}))


def _make_missing(
    out: Path, meta: dict[str, Any], make: MakeShard, count: int, pool: WorkerPool, step: tuple[int, str]
) -> tuple[int, float]:
    """Make what is missing of `count` shards; returns how many, and the seconds. step: units a shard, their name."""
    out.mkdir(parents=True, exist_ok=True)
    write_meta(out / "meta.json", meta)
    missing = [index for index in range(count) if not shard_path(out, index).is_dir()]
    began = time.perf_counter()
    size, unit = step
    start = functools.partial(_start_worker, make, out if pool.is_here else None)
    with tqdm(total=count * size, initial=(count - len(missing)) * size, unit=unit) as bar:
        for number, files in pool.run(start, missing, most_jobs=_SHARDS_PER_WORKER):
            if files:
                write_shard(shard_path(out, missing[number]), functools.partial(_write_files, files))
            bar.update(size)
    return len(missing), time.perf_counter() - began


def _start_worker(
    make: MakeShard, out: Path | None, _at: Callable[[Path], Path]
) -> Callable[[int], dict[str, NDArray[np.uint8]]]:
    """What makes a shard in the folder, or, on another machine, returns its files to be written here."""

    def make_here(index: int) -> dict[str, NDArray[np.uint8]]:
        if out is not None:
            make(out, index)
            return {}
        with tempfile.TemporaryDirectory(prefix="vila-shard-") as folder:
            return {file.name: np.fromfile(file, np.uint8) for file in sorted(make(Path(folder), index).iterdir())}

    return make_here


def _write_files(files: dict[str, NDArray[np.uint8]], folder: Path) -> None:
    for name, content in files.items():
        content.tofile(folder / name)
