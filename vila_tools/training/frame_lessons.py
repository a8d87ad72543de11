"""What the programs share that teach a relevance head from single frames, as `vila data` makes them."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.errors import ConfigError
from vila_core.files.writing import naming_output
from vila_core.models.relevance import RelevanceHead
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.stored.relevance_files import save_relevance
from vila_core.models.vlm import VisionLanguageModel
from vila_tools.training.autocast import autocast_precision
from vila_tools.training.loop import Stage
from vila_tools.training.ranks import ALONE, Ranks, Share, torchrun_ranks
from vila_tools.training.recipe import StageRecipe
from vila_tools.training.shards import Rollouts, joined, read_rollouts
from vila_tools.training.stage_run import add_stage_options, held_out, run_stage
from vila_tools.training.train import pick_device, shorter


@dataclass(frozen=True, slots=True)
class LessonRun:
    """How a head is taught: steps, where states and log are kept, randomness, precision of autocast, processes."""

    steps: StageRecipe
    folder: Path
    seed: int = 0
    precision: str = "float32"
    ranks: Ranks = ALONE


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """What a stage of a lesson draws its batches from, and how it learns of them.

    rows: of the rollouts. precision: of autocast. ranks: processes that share each batch. folder: for what is too large
    for memory; None: where the system keeps such.
    """

    rollouts: Rollouts
    rows: range
    recipe: StageRecipe
    precision: str = "float32"
    ranks: Ranks = ALONE
    folder: Path | None = None

    def draw(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], Share]:
        """Draw a batch: this rank's rows of it, and which share of it they are."""
        rows = self.rows.start + rng.integers(len(self.rows), size=self.recipe.batch_size)
        share = self.ranks.share(len(rows))
        return rows[share.rows], share


def learn(name: str, stage_of: Callable[[Frames], Stage], rollouts: Rollouts, run: LessonRun) -> dict[str, float]:
    """Train a stage on the frames that are not held out; returns its figures on those that are."""
    trained, checked = (
        stage_of(Frames(rollouts, rows, run.steps, run.precision, ranks, run.folder))
        for rows, ranks in zip(held_out(len(rollouts)), (run.ranks, ALONE), strict=True)
    )
    return run_stage(name, trained, checked, run.steps, seed=run.seed, folder=run.folder, ranks=run.ranks)


class Lesson(Protocol):
    """Teaches a model's relevance head."""

    def __call__(
        self, model: VisionLanguageModel, rollouts: Rollouts, run: LessonRun
    ) -> tuple[RelevanceHead, dict[str, float]]:
        """Return the head that it became, and its figures on frames that were held out."""
        ...


def teach(
    lesson: Lesson, steps: StageRecipe, argv: Sequence[str] | None, *, program: str, description: str | None
) -> int:
    """Teach the head of --checkpoint, resuming what is in --out, and write it there; the last line is one JSON object.

    Raises ConfigError for a checkpoint without a head, and for data that is none.
    """
    args = _parser(program, description).parse_args(argv)
    torch.set_num_threads(args.threads)
    began = time.monotonic()
    with torchrun_ranks(pick_device(args.device)) as (ranks, device):
        model = load_checkpoint(args.checkpoint, device=device, precision="float32")
        if model.relevance_head is None:
            raise ConfigError(f"{args.checkpoint} has no relevance head; teach it one with: vila train-events")
        rollouts = read_rollouts(args.data)
        if (args.data / "views").is_dir():
            rollouts = joined(read_rollouts(args.data / "views"), rollouts)
        with naming_output(args.out):
            args.out.mkdir(parents=True, exist_ok=True)
        chosen = ranks.agreed(autocast_precision(args.precision, device).name)
        if ranks.is_first:
            print(f"autocast in {chosen}", file=sys.stderr)
        run = LessonRun(shorter(steps, args.scale), args.out, args.seed, chosen, ranks)
        head, figures = lesson(model, rollouts, run)
    if ranks.is_first:
        save_relevance(head, args.checkpoint)
        print(json.dumps({"checkpoint": str(args.checkpoint), "seconds": round(time.monotonic() - began)} | figures))
    return 0


def _parser(program: str, description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"vila train-{program}", description=description)
    parser.add_argument("--data", type=Path, default=Path("data/nano"), help="folder of the data set, see `vila data`")
    parser.add_argument(
        "--checkpoint", type=Path, default=EMBEDDED_CHECKPOINT, help="gets it (default: the embedded one)"
    )
    parser.add_argument("--out", type=Path, default=Path("out") / program, help="states and log; resumed if there")
    add_stage_options(parser)
    return parser
