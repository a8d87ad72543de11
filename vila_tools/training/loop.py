"""One stage's training loop: seeded step by step, resumable, logged."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from vila_core.errors import ConfigError
from vila_core.files.writing import naming_output, written_whole
from vila_core.quantization.search_file import load_pickle
from vila_tools.training.ranks import ALONE, Ranks
from vila_tools.training.recipe import StageRecipe

SAVE_EVERY, LOG_EVERY = 200, 20
Line = dict[str, Any]  # of the log: stage, step, seconds, and the figures' means since the line before


def untold(line: Line) -> None:
    """Tell a line to nobody."""


class Stage(Protocol):
    """What the loop trains: a module that knows its parameter groups and the loss of a random batch."""

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Return parameters and their peak learning rates."""
        ...

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch drawn with rng, and figures to log; of each of several ranks its part of them."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all weights."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> object:
        """Take all weights."""
        ...


def train_stage(
    name: str,
    stage: Stage,
    recipe: StageRecipe,
    *,
    seed: int,
    folder: Path,
    validate: Callable[[], dict[str, float]],
    save_every: int = SAVE_EVERY,
    log_every: int = LOG_EVERY,
    tell: Callable[[Line], None] = untold,
    ranks: Ranks = ALONE,
) -> None:
    """Train the stage to its last step; a run that was cut off goes on where its state was saved.

    Writes folder/<name>.pt (state) and lines to folder/log.jsonl; tell gets each line too. save_every, a multiple of
    log_every: steps between two states. Each step has its own random generator, seeded by (seed, stage, step), so a
    resumed run draws the same batches. ranks: processes that share each batch, of which the first one validates and
    writes; the others must see the folder, to go on from its state, with any number of them.
    """
    groups = stage.groups()
    optimizer = torch.optim.AdamW(
        [{"params": params, "lr": rate, "peak": rate} for params, rate in groups],
        betas=(0.9, 0.98),
        weight_decay=recipe.weight_decay,
    )
    state_file = folder / f"{name}.pt"
    weights = [weight for params, _ in groups for weight in params]
    start = _resume(state_file, stage, optimizer)
    ranks.require_same(start, state_file)
    ranks.share_weights(weights)
    began, sums, count = time.monotonic(), dict[str, float](), 0
    steps = range(start, recipe.steps)
    bar = tqdm(steps, desc=name, unit="step", initial=start, total=recipe.steps, disable=not ranks.is_first)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * schedule(step, recipe)
        rng = np.random.default_rng([seed, sum(map(ord, name)), step])
        optimizer.zero_grad(set_to_none=True)
        for _ in range(recipe.batches_per_step):
            loss, figures = stage.loss(rng)
            (loss / recipe.batches_per_step).backward()
            for key, value in {"loss": loss.item(), **figures}.items():
                sums[key] = sums.get(key, 0.0) + value
            count += 1
        ranks.add_gradients(weights)
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        done = step + 1
        if done % log_every and done != recipe.steps:
            continue
        line: Line = {"stage": name, "step": done, "seconds": round(time.monotonic() - began, 1)}
        line |= {key: round(value / count, 4) for key, value in ranks.totals(sums).items()}
        sums, count = {}, 0
        if not ranks.is_first:
            continue
        if done % save_every == 0 or done == recipe.steps:
            line |= {f"val_{key}": round(value, 4) for key, value in validate().items()}
            _save(state_file, stage, optimizer, done)
        log_file = folder / "log.jsonl"
        with naming_output(log_file), log_file.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        tell(line)


def schedule(step: int, recipe: StageRecipe) -> float:
    """Share of the peak learning rate: linear warm-up, then a cosine down to a tenth."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * progress))


def _resume(file: Path, stage: Stage, optimizer: torch.optim.Optimizer) -> int:
    if not file.is_file():
        return 0
    state = load_pickle(file)
    try:
        stage.load_state_dict(state["stage"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])
    except (KeyError, TypeError, ValueError, RuntimeError) as err:
        raise ConfigError(f"{file} is no state of this training: {err}; delete it to begin again") from err


def _save(file: Path, stage: Stage, optimizer: torch.optim.Optimizer, step: int) -> None:
    with written_whole(file) as made:
        torch.save({"stage": stage.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, made)
