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
from vila_core.training.event_stage import EventStage, clip_tokens, drive_tokens
from vila_core.training.loop import train_stage
from vila_core.training.recipe import EventRecipe
from vila_core.training.shards import Drives, read_drives
from vila_core.training.sightings import Sightings
from vila_core.training.train import VALIDATION_BATCHES, pick_device

VALIDATION_SHARE = 0.05  # of the clips, the last ones: flats that are not trained on


def main(argv: Sequence[str] | None = None) -> int:
    """Train, resuming what is in --out, and write the head into the checkpoint; the last line is one JSON object."""
    args = _parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    stage = dataclasses.replace(EventRecipe().events, steps=round(EventRecipe().events.steps * args.scale))
    recipe = EventRecipe(events=stage, seed=args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    model = load_checkpoint(args.checkpoint, device=pick_device(args.device))
    clips = read_clips(args.data)
    sightings = None if args.drives is None else _sightings(model, read_drives(args.drives), clips, args.out)
    head, figures = train_events(model, clips, recipe, args.out, sightings)
    save_relevance(head, args.checkpoint)
    print(json.dumps({"checkpoint": str(args.checkpoint), "seconds": round(time.monotonic() - began)} | figures))
    return 0


def train_events(
    model: VisionLanguageModel, clips: Clips, recipe: EventRecipe, folder: Path, sightings: Sightings | None = None
) -> tuple[RelevanceHead, dict[str, float]]:
    """Train a new head on the clips; returns it with its validation figures. sightings: more to learn from."""
    tokens = _kept(folder / "clip_tokens.npy", lambda: clip_tokens(model, clips, recipe.seed))
    torch.manual_seed(recipe.seed)
    sizes = RelevanceConfig(
        visual_tokens=tokens.shape[2],
        visual_width=tokens.shape[3],
        text_width=model.config.language.hidden_size,
        period_s=clips.period_s,
    )
    head = RelevanceHead(sizes).to(model.device)
    cut = round(len(clips) * (1 - VALIDATION_SHARE))
    trained = EventStage(model, head, clips, tokens, asked=range(cut), recipe=recipe, sightings=sightings)
    checked = EventStage(model, head, clips, tokens, asked=range(cut, len(clips)), recipe=recipe)

    def validate() -> dict[str, float]:
        with torch.inference_mode():
            rounds = [checked.loss(np.random.default_rng([recipe.seed, 99, i])) for i in range(VALIDATION_BATCHES)]
        return {key: float(np.mean([figures[key] for _, figures in rounds])) for key in rounds[0][1]}

    train_stage("events", trained, recipe.events, seed=recipe.seed, folder=folder, validate=validate)
    return head, {key: round(value, 4) for key, value in validate().items()}


def _sightings(model: VisionLanguageModel, drives: Drives, clips: Clips, folder: Path) -> Sightings:
    tokens = _kept(folder / "drive_tokens.npy", lambda: drive_tokens(model, drives))
    return Sightings(drives, tokens, clips.templates["in_view"])


def _kept(file: Path, make: Callable[[], Tensor]) -> Tensor:
    """Visual tokens in float16, made once: a resumed run need not see again."""
    if not file.is_file():
        np.save(file, make().to("cpu", torch.float16).numpy())
    return torch.from_numpy(np.load(file))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila train-events", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/clips"), help="directory that `vila clips` wrote")
    parser.add_argument("--drives", type=Path, help="directory that `vila data` wrote: more to learn from")
    parser.add_argument(
        "--checkpoint", type=Path, default=EMBEDDED_CHECKPOINT, help="gets the head (default: the embedded one)"
    )
    parser.add_argument("--out", type=Path, default=Path("out/events"), help="states and log; resumed if there")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the number of steps, for a quick trial")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument("--threads", type=int, default=2)
    return parser
