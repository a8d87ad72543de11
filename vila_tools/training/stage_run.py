"""One stage from beginning to end: its options; trained, checked on what is held out, its curves drawn."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from vila_tools.options import add_threads_option
from vila_tools.training.autocast import AUTOCAST_PRECISIONS
from vila_tools.training.curves import draw_stage, read_log, tensorboard
from vila_tools.training.loop import Stage, train_stage, untold
from vila_tools.training.ranks import ALONE, Ranks
from vila_tools.training.recipe import StageRecipe

VALIDATION_BATCHES = 4
_VALIDATION_SHARE = 0.05  # of the data, its last: flats that are not trained on


def run_stage(
    name: str, trained: Stage, checked: Stage, steps: StageRecipe, *, seed: int, folder: Path, ranks: Ranks = ALONE
) -> dict[str, float]:
    """Train a stage to its end; returns, to the first process, its figures on what is held out, as the log has them.

    checked: has the same weights, and rows of its own.
    """

    def validate() -> dict[str, float]:
        with torch.inference_mode():
            rounds = [checked.loss(np.random.default_rng([seed, 99, i])) for i in range(VALIDATION_BATCHES)]
        return {key: float(np.mean([figures[key] for _, figures in rounds])) for key in rounds[0][1]}

    told = tensorboard(folder / "tensorboard") if ranks.is_first else untold
    train_stage(name, trained, steps, seed=seed, folder=folder, validate=validate, tell=told, ranks=ranks)
    if not ranks.is_first:
        return {}
    draw_stage(folder, name)
    last = (read_log(folder / "log.jsonl", name) or [{}])[-1]
    figures = {key.removeprefix("val_"): value for key, value in last.items() if key.startswith("val_")}
    if last.get("step") != steps.steps or not figures:  # it was cut off between its last state and this line
        figures = {key: round(value, 4) for key, value in validate().items()}
    return {f"{name}_{key}": value for key, value in figures.items()}


def held_out(count: int) -> tuple[range, range]:
    """Return which rows of a relevance head's lessons are trained on, and which it is checked on."""
    cut = round(count * (1 - _VALIDATION_SHARE))
    return range(cut), range(cut, count)


def add_stage_options(parser: argparse.ArgumentParser) -> None:
    """Add what the programs that train a relevance head can be told of how: seed, steps, device, precision, threads."""
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the number of steps, for a quick trial")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument("--precision", choices=AUTOCAST_PRECISIONS, default="auto", help="default: %(default)s")
    add_threads_option(parser)
