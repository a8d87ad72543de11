"""`vila train-distances`: teach a relevance head how far off what it sees is; changes nothing else of it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.errors import ConfigError
from vila_core.files.writing import naming_output
from vila_core.models.relevance import RelevanceHead
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.stored.relevance_files import save_relevance
from vila_tools.training.autocast import autocast_precision
from vila_tools.training.distance_stage import DistanceStage
from vila_tools.training.ranks import ALONE, Ranks, torchrun_ranks
from vila_tools.training.recipe import StageRecipe
from vila_tools.training.shards import Rollouts, joined, read_rollouts
from vila_tools.training.stage_run import add_stage_options, held_out, run_stage
from vila_tools.training.train import pick_device, shorter

RECIPE = StageRecipe(1600, 64, 1e-3, weight_decay=0.01, warmup_steps=100)
WIDTH = 128


def main(argv: Sequence[str] | None = None) -> int:
    """Train, resuming what is in --out, and write the head into the checkpoint; the last line is one JSON object."""
    args = _parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    began = time.monotonic()
    with torchrun_ranks(pick_device(args.device)) as (ranks, device):
        head = load_checkpoint(args.checkpoint, device=device, precision="float32").relevance_head
        if head is None:
            raise ConfigError(f"{args.checkpoint} has no relevance head; teach it one with: vila train-events")
        rollouts = read_rollouts(args.data)
        if (args.data / "views").is_dir():
            rollouts = joined(read_rollouts(args.data / "views"), rollouts)
        with naming_output(args.out):
            args.out.mkdir(parents=True, exist_ok=True)
        chosen = ranks.agreed(autocast_precision(args.precision, device).name)
        if ranks.is_first:
            print(f"autocast in {chosen}", file=sys.stderr)
        steps = shorter(RECIPE, args.scale)
        head, figures = train_distances(head, rollouts, steps, args.out, seed=args.seed, precision=chosen, ranks=ranks)
    if ranks.is_first:
        save_relevance(head, args.checkpoint)
        print(json.dumps({"checkpoint": str(args.checkpoint), "seconds": round(time.monotonic() - began)} | figures))
    return 0


def train_distances(
    head: RelevanceHead,
    rollouts: Rollouts,
    recipe: StageRecipe,
    folder: Path,
    *,
    seed: int = 0,
    precision: str = "float32",
    ranks: Ranks = ALONE,
) -> tuple[RelevanceHead, dict[str, float]]:
    """Return the head with a reader of distances, anew; and its figures on frames that were held out.

    ranks: processes that share each batch; the first one alone writes.
    """
    torch.manual_seed(seed)
    taught = RelevanceHead(dataclasses.replace(head.config, distance_width=WIDTH)).to(head.score.weight.device)
    others = {name: weight for name, weight in head.state_dict().items() if not name.startswith("distance.")}
    taught.load_state_dict(taught.state_dict() | others)
    trained, checked = (
        DistanceStage(taught, rollouts, rows, recipe, precision, own)
        for rows, own in zip(held_out(len(rollouts)), (ranks, ALONE), strict=True)
    )
    return taught, run_stage("distances", trained, checked, recipe, seed=seed, folder=folder, ranks=ranks)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila train-distances", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/nano"), help="folder of the data set, see `vila data`")
    parser.add_argument(
        "--checkpoint", type=Path, default=EMBEDDED_CHECKPOINT, help="gets it (default: the embedded one)"
    )
    parser.add_argument("--out", type=Path, default=Path("out/distances"), help="states and log; resumed if there")
    add_stage_options(parser)
    return parser
