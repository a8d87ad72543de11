"""`vila train-events`: teach a checkpoint when things happen: adds a relevance head, changes nothing else."""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.models.checkpoint import load_checkpoint
from vila_core.models.relevance import RelevanceConfig, RelevanceHead
from vila_core.models.relevance_files import save_relevance
from vila_core.models.vlm import VisionLanguageModel
from vila_core.training.clips import Clips, read_clips
from vila_core.training.event_stage import EventStage, SightingStage, clip_pictures, clip_tokens, drive_tokens
from vila_core.training.loop import Stage, train_stage
from vila_core.training.recipe import EventRecipe, StageRecipe
from vila_core.training.shards import Drives, read_drives
from vila_core.training.sightings import Sightings, objects_in_view
from vila_core.training.train import VALIDATION_BATCHES, pick_device, shorter

VALIDATION_SHARE = 0.05  # of drives and clips, the last ones: flats that are not trained on


def main(argv: Sequence[str] | None = None) -> int:
    """Train, resuming what is in --out, and write the head into the checkpoint; the last line is one JSON object."""
    args = _parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    model = load_checkpoint(args.checkpoint, device=pick_device(args.device))
    recipe = scaled(EventRecipe(seed=args.seed), args.scale)
    head, figures = train_events(model, read_drives(args.drives), read_clips(args.data), recipe, args.out)
    save_relevance(head, args.checkpoint)
    print(json.dumps({"checkpoint": str(args.checkpoint), "seconds": round(time.monotonic() - began)} | figures))
    return 0


def train_events(
    model: VisionLanguageModel, drives: Drives, clips: Clips, recipe: EventRecipe, folder: Path
) -> tuple[RelevanceHead, dict[str, float]]:
    """Train a new head, first on single sightings in the drives, then on the clips; with its validation figures."""
    seen = _kept(folder / "drive_tokens.npy", lambda: drive_tokens(model, drives))
    tokens = _kept(folder / "clip_tokens.npy", lambda: clip_tokens(model, clips, recipe.seed))
    in_view, pictures = objects_in_view(drives.seg, drives.kinds.shape[1]), clip_pictures(clips)
    torch.manual_seed(recipe.seed)
    head = new_head(model, clips.period_s).to(model.device)

    def sightings(rows: range) -> Sightings:
        return Sightings(drives, seen, in_view, clips.templates["in_view"], rows)

    learnt, held_out = (sightings(rows) for rows in _split(len(drives)))
    looks = tuple(SightingStage(model, head, part, recipe.sightings) for part in (learnt, held_out))
    figures = _run("sightings", looks, recipe.sightings, recipe.seed, folder)
    films = tuple(
        EventStage(model, head, clips, tokens=tokens, pictures=pictures, asked=rows, recipe=recipe, sightings=part)
        for rows, part in zip(_split(len(clips)), (learnt, held_out), strict=True)
    )
    return head, figures | _run("events", films, recipe.events, recipe.seed, folder)


def new_head(model: VisionLanguageModel, period_s: float) -> RelevanceHead:
    """Return an untrained head that fits the model."""
    width = model.config.language.hidden_size
    grid = model.config.vision.grid // model.projector.rate
    return RelevanceHead(
        RelevanceConfig(visual_tokens=grid**2, visual_width=width, text_width=width, period_s=period_s)
    )


def scaled(recipe: EventRecipe, scale: float) -> EventRecipe:
    """The recipe with its step counts multiplied, for quick trials."""
    return dataclasses.replace(recipe, sightings=shorter(recipe.sightings, scale), events=shorter(recipe.events, scale))


def _split(count: int) -> tuple[range, range]:
    cut = round(count * (1 - VALIDATION_SHARE))
    return range(cut), range(cut, count)


def _run(name: str, stages: tuple[Stage, ...], steps: StageRecipe, seed: int, folder: Path) -> dict[str, float]:
    """Train the first of the stages, whose weights the second has too; returns the second's figures."""
    trained, checked = stages

    def validate() -> dict[str, float]:
        with torch.inference_mode():
            rounds = [checked.loss(np.random.default_rng([seed, 99, i])) for i in range(VALIDATION_BATCHES)]
        return {key: float(np.mean([figures[key] for _, figures in rounds])) for key in rounds[0][1]}

    train_stage(name, trained, steps, seed=seed, folder=folder, validate=validate)
    return {f"{name}_{key}": round(value, 4) for key, value in validate().items()}


def _kept(file: Path, make: Callable[[], Tensor]) -> Tensor:
    """Visual tokens in float16, made once: a resumed run need not see again."""
    if not file.is_file():
        np.save(file, make().to("cpu", torch.float16).numpy())
    return torch.from_numpy(np.load(file))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila train-events", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/clips"), help="directory that `vila clips` wrote")
    parser.add_argument("--drives", type=Path, default=Path("data/nano"), help="directory that `vila data` wrote")
    parser.add_argument(
        "--checkpoint", type=Path, default=EMBEDDED_CHECKPOINT, help="gets the head (default: the embedded one)"
    )
    parser.add_argument("--out", type=Path, default=Path("out/events"), help="states and log; resumed if there")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the number of steps, for a quick trial")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument("--threads", type=int, default=2)
    return parser
