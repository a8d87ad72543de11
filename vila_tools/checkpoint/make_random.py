"""`vila make-random`: a checkpoint of a released model's shape with random weights, to measure and to test with."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from vila_core.random_checkpoints.make import LAYOUTS, make_random
from vila_core.random_checkpoints.shapes import SHAPES, model_shape, tiny, with_time_tokens


def main(argv: Sequence[str] | None = None) -> int:
    """Write the checkpoint; the last line on stdout is one JSON object."""
    args = _parser().parse_args(argv)
    shape = with_time_tokens(model_shape(args.like), args.time_tokens)
    out = args.out or Path(f"{args.like}-random")
    make_random(
        out,
        tiny(shape) if args.tiny else shape,
        name=args.like,
        layout=args.layout,
        seed=args.seed,
        shard_mb=args.shard_mb,
        progress=partial(tqdm, desc="parts", disable=None),
    )
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(json.dumps({"checkpoint": str(out), "like": args.like, "layout": args.layout, "mb": round(size / 1e6, 2)}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila make-random", description=__doc__)
    parser.add_argument("--like", required=True, metavar="NAME", help=f"one of {', '.join(SHAPES)}")
    parser.add_argument("--out", type=Path, help="the directory to write; default NAME-random")
    parser.add_argument("--layout", choices=LAYOUTS, default="classic")
    parser.add_argument("--tiny", action="store_true", help="the same kind of model, small enough for tests")
    parser.add_argument("--shard-mb", type=float, default=5000.0, help="megabytes a file at most; 0 for one file")
    parser.add_argument("--time-tokens", type=int, metavar="N", help="so many, at least 2, whatever the model has")
    parser.add_argument("--seed", type=int, default=0)
    return parser
