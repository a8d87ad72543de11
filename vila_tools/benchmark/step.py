"""`vila bench step`: a navigation step, or with --parts the parts of a quantized model, beside the peers.

A step: ours beside our naive one, the peers run naively in the same precision, and the machine's floor. The parts:
decoding, passes of a few tokens, prefill and a picture, each peer in the quantized form that it is quickest in.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vila_core.errors import ConfigError
from vila_core.models.stored.config_reader import read_checkpoint_config
from vila_core.random_checkpoints.make import make_random
from vila_core.random_checkpoints.shapes import SHAPES, model_shape
from vila_tools.benchmark.part_targets import HALVES, PARTS
from vila_tools.benchmark.parts import PROMPT_TOKENS, measure_parts, parts_result, parts_table
from vila_tools.benchmark.peers.table import STEP, chosen_names, chosen_peers, peers_for
from vila_tools.benchmark.target import StepJob
from vila_tools.benchmark.whole_step import bench_step, require_one_scale, table
from vila_tools.options import add_precision_option, add_threads_option, told_precision
from vila_tools.report import tell

QUICK = "nvila-lite-small"


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table, then the result as one JSON object; --json writes that to a file too."""
    args = _parser().parse_args(argv)
    peers = chosen_peers(args.peers, peers_for(STEP) if args.parts is None else peers_for(*HALVES))
    parts = chosen_names(args.parts or "", ("all",), PARTS, "part")
    _check(args)
    if args.parts is not None and not parts:
        raise ConfigError(f"--parts names none; known: all, {', '.join(PARTS)}")
    with contextlib.ExitStack() as stack:
        folder = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vila-bench-")))
        job = _job(args, folder)
        result = _parts(job, peers, parts, args) if parts else bench_step(job, peers, args.rounds, warm_up=args.warm_up)
    result["shape"]["name"] = args.checkpoint.name if args.checkpoint else _like(args)
    tell(result, parts_table(result) if parts else table(result), args.json)
    return 0


def _parts(job: StepJob, peers: Sequence[str], parts: Sequence[str], args: argparse.Namespace) -> dict[str, Any]:
    config = read_checkpoint_config(Path(job.checkpoint))
    require_one_scale(config)
    job = dataclasses.replace(job, prompt_tokens=PROMPT_TOKENS)
    return parts_result(measure_parts(job, peers, args.rounds, wanted=parts, warm_up=args.warm_up), job, config)


def _check(args: argparse.Namespace) -> None:
    if args.checkpoint is not None and (args.like or args.quick):
        raise ConfigError("give either --checkpoint or a shape (--like, --quick)")
    if args.keep and args.parts is None:
        raise ConfigError("--keep is for --parts: whole steps convert anew")
    if min(args.rounds, args.frames, args.tokens, args.threads) < 1:
        raise ConfigError("--rounds, --frames, --tokens and --threads must be at least 1")


def _job(args: argparse.Namespace, folder: Path) -> StepJob:
    checkpoint, folder = args.checkpoint, folder / (args.checkpoint.name if args.checkpoint else _like(args))
    folder.mkdir(parents=True, exist_ok=True)
    if checkpoint is None:
        checkpoint = folder / "checkpoint"
        if not checkpoint.exists():
            unfinished = folder / "checkpoint.part"
            shutil.rmtree(unfinished, ignore_errors=True)
            progress = partial(tqdm, desc="parts", disable=None)
            make_random(unfinished, model_shape(_like(args)), name=_like(args), progress=progress)
            unfinished.rename(checkpoint)
    precision = told_precision(checkpoint, args.precision)
    return StepJob(str(checkpoint), args.frames, args.tokens, args.threads, precision, folder=str(folder))


def _like(args: argparse.Namespace) -> str:
    return args.like or (QUICK if args.quick else "nvila-lite-2b")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila bench step", description=__doc__)
    parser.add_argument("--like", choices=SHAPES, metavar="NAME", help=f"a shape: {', '.join(SHAPES)}")
    parser.add_argument("--quick", action="store_true", help=f"the shape {QUICK}: a minute in all")
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint directory, instead of random weights")
    parser.add_argument(
        "--parts",
        nargs="?",
        const="all",
        metavar="NAMES",
        help=f"measure the parts of a quantized model: all, or some of {','.join(PARTS)} (default: all)",
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="where --parts keeps what it converts, and finds it the next time"
    )
    known = f"{','.join(peers_for(STEP))}; with --parts of {','.join(peers_for(*HALVES))}"
    parser.add_argument("--peers", default="all", help=f"all, none, or some of {known} (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=8, help="in the history (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=12, help="of an answer that is decoded (default: %(default)s)")
    add_threads_option(parser)
    add_precision_option(parser)
    parser.add_argument("--no-warm-up", dest="warm_up", action="store_false", help="skip the round that does not count")
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    return parser
