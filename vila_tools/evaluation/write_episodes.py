"""`vila episodes`: write the benchmark's episode files from their seeds, or --check that they are what seeds give.

To be run again where flats, furniture or tasks are made otherwise than before; figures measured on the old files are
then not to be compared with new ones, and `VERSION` in vila_sim/episodes/episode_sets.py goes up.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from vila_core.errors import ConfigError
from vila_sim.episodes.episode_files import write_episodes
from vila_sim.episodes.episode_sets import FOLDER, SET_EPISODES, SET_SEEDS, SET_SPLITS, VERSION, holds_set, set_path
from vila_sim.episodes.splits import CLEAN_SPLIT, SPOILED_SPLITS, Episode, generate_episodes, spoiled_episodes

_Job = tuple[str, int, int]  # split, seed, how many


def main(argv: Sequence[str] | None = None) -> int:
    """Write or compare the files; the last line on stdout is one JSON object. The status is 1 if some differ."""
    args = _parser().parse_args(argv)
    splits = tuple(dict.fromkeys(args.splits.split(",")))
    if not set(splits) <= set(SET_SPLITS):
        raise ConfigError(f"--splits {args.splits!r}: choose from {', '.join(SET_SPLITS)}")
    if args.episodes < 1:
        raise ConfigError(f"--episodes {args.episodes}: must be at least 1")
    made = _made(splits, args.episodes, args.workers)
    differing, size = [], 0
    for split in splits:
        file = set_path(split, args.out)
        if not args.check:
            write_episodes(file, made[split])
        elif not holds_set(file, made[split]):
            differing.append(split)
        size += file.stat().st_size if file.is_file() else 0
    for split in differing:
        print(f"{set_path(split, args.out)} is not what its seeds give now: run `vila episodes`", file=sys.stderr)
    count = sum(len(made[split]) for split in splits)
    told = {"folder": str(args.out / VERSION), "splits": len(splits), "episodes": count, "bytes": size}
    print(json.dumps({**told, "differ": differing}))
    return 1 if differing else 0


def _made(splits: Sequence[str], count: int, workers: int) -> dict[str, list[Episode]]:
    """Make so many episodes of each seed, by split; what is spoiled is made of clean episodes that are made once."""
    whole = list(dict.fromkeys(CLEAN_SPLIT if split in SPOILED_SPLITS else split for split in splits))
    jobs = [(split, seed, count) for split in whole for seed in SET_SEEDS]
    episodes = dict(zip(jobs, tqdm(_run(jobs, workers), total=len(jobs), unit="seed"), strict=True))
    for split in SPOILED_SPLITS:
        for seed in SET_SEEDS if split in splits else ():
            clean = episodes[CLEAN_SPLIT, seed, count]
            episodes[split, seed, count] = list(spoiled_episodes(split, clean, seed))
    return {split: [e for seed in SET_SEEDS for e in episodes[split, seed, count]] for split in splits}


def _run(jobs: Sequence[_Job], workers: int) -> Iterator[list[Episode]]:
    if workers <= 1:
        yield from map(_make, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(_make, jobs)


def _make(job: _Job) -> list[Episode]:
    split, seed, count = job
    return generate_episodes(split, count, seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila episodes", description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="FOLDER", help="default: the package's own")
    parser.add_argument("--splits", default=",".join(SET_SPLITS), help="comma-separated (default: all)")
    parser.add_argument("--episodes", type=int, default=SET_EPISODES, help="of each of two seeds (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="write nothing; tell which files differ")
    return parser


if __name__ == "__main__":
    sys.exit(main())
