"""`vila train-events`: teach a checkpoint when things happen: adds a relevance head, changes nothing else.

With --keep-eyes the head that it has goes on learning, all but its eyes: after `vila train-names`.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.errors import ConfigError
from vila_core.files.writing import naming_output
from vila_core.models.relevance import RelevanceConfig, RelevanceHead
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.stored.relevance_files import save_relevance
from vila_core.models.vision_tower import VisionTower
from vila_core.models.vlm import VisionLanguageModel
from vila_tools.training.autocast import autocast_precision
from vila_tools.training.clip_features import clip_features
from vila_tools.training.clips import Clips, read_clips
from vila_tools.training.event_lessons import Lessons
from vila_tools.training.event_stage import Course, EventStage, NameStage
from vila_tools.training.loop import Stage
from vila_tools.training.ranks import ALONE, Ranks, torchrun_ranks
from vila_tools.training.recipe import EventRecipe, StageRecipe
from vila_tools.training.stage_run import add_stage_options, held_out, run_stage
from vila_tools.training.train import pick_device, shorter

ENLARGED = 2  # the head's picture beside the model's: what is far away is small


def main(argv: Sequence[str] | None = None) -> int:
    """Train, resuming what is in --out, and write the head into the checkpoint; the last line is one JSON object."""
    args = _parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    began = time.monotonic()
    with torchrun_ranks(pick_device(args.device)) as (ranks, device):
        model = load_checkpoint(args.checkpoint, device=device, precision="float32")
        chosen = autocast_precision(args.precision, device)
        if ranks.is_first:
            print(f"autocast in {chosen}", file=sys.stderr)
        recipe = scaled(EventRecipe(seed=args.seed, precision=chosen.name), args.scale)
        if args.keep_eyes and model.relevance_head is None:
            raise ConfigError(f"{args.checkpoint} has no relevance head whose eyes could be kept")
        clips = read_clips(args.data)
        with naming_output(args.out):
            args.out.mkdir(parents=True, exist_ok=True)
        head, figures = train_events(model, clips, recipe, args.out, ranks, keeps_eyes=args.keep_eyes)
    if ranks.is_first:
        save_relevance(head, args.checkpoint)
        print(json.dumps({"checkpoint": str(args.checkpoint), "seconds": round(time.monotonic() - began)} | figures))
    return 0


def train_events(
    model: VisionLanguageModel,
    clips: Clips,
    recipe: EventRecipe,
    folder: Path,
    ranks: Ranks = ALONE,
    *,
    keeps_eyes: bool = False,
) -> tuple[RelevanceHead, dict[str, float]]:
    """Train a new head on the clips, or all but the eyes of the model's own; with its validation figures.

    ranks: processes that share each batch; the first one's precision counts, and it alone writes.
    """
    chosen = autocast_precision(recipe.precision, model.device).name
    recipe = dataclasses.replace(recipe, precision=ranks.agreed(chosen))
    torch.manual_seed(recipe.seed)
    old = model.relevance_head if keeps_eyes else None
    head = new_head(model, clips.period_s).to(model.device) if old is None else _as_in_lessons(old, recipe)
    trained, checked = (
        Course(model, head, clips, Lessons(clips, rows, recipe, head.config.grid), recipe, own)
        for rows, own in zip(held_out(len(clips)), (ranks, ALONE), strict=True)
    )

    def run(name: str, stages: tuple[Stage, Stage], steps: StageRecipe) -> dict[str, float]:
        return run_stage(name, *stages, steps, seed=recipe.seed, folder=folder, ranks=ranks)

    figures = {} if old is not None else run("names", (NameStage(trained), NameStage(checked)), recipe.names)
    with ranks.in_turn():
        features = clip_features(model, head, clips, folder, recipe)
    figures |= run("events", (EventStage(trained, features), EventStage(checked, features)), recipe.events)
    with torch.no_grad():
        head.score.bias.sub_(math.log(recipe.rarer))
    return head, figures


def _as_in_lessons(old: RelevanceHead, recipe: EventRecipe) -> RelevanceHead:
    """A copy of a head that learns on: what is asked for goes on as often as it does there."""
    head = copy.deepcopy(old).requires_grad_(True)
    with torch.no_grad():
        head.score.bias.add_(math.log(recipe.rarer))
    return head


def new_head(model: VisionLanguageModel, period_s: float) -> RelevanceHead:
    """Return an untrained head that fits the model; its eyes begin as the model's tower."""
    vision, width = model.config.vision, model.config.language.hidden_size
    sizes = RelevanceConfig(
        visual_tokens=(vision.grid // model.projector.rate) ** 2,
        visual_width=width,
        text_width=width,
        picture_px=ENLARGED * vision.image_size,
        patch_px=vision.patch_size,
        eyes_width=vision.hidden_size,
        eyes_intermediate=vision.intermediate_size,
        eyes_layers=vision.layers,
        eyes_heads=vision.heads,
        period_s=period_s,
    )
    head = RelevanceHead(sizes)
    head.eyes.load_state_dict(enlarged(model.vision_tower))
    return head


def enlarged(tower: VisionTower) -> dict[str, Tensor]:
    """The weights of a tower for a picture ENLARGED times as large: each part of it begins as the picture did."""
    weights = {name: weight.float() for name, weight in tower.state_dict().items()}
    name, side = "embeddings.position_embedding.weight", tower.config.grid
    positions = weights[name].unflatten(0, (side, side)).repeat(ENLARGED, ENLARGED, 1)
    return weights | {name: positions.flatten(0, 1)}


def scaled(recipe: EventRecipe, scale: float) -> EventRecipe:
    """The recipe with its step count multiplied, for quick trials."""
    return dataclasses.replace(recipe, names=shorter(recipe.names, scale), events=shorter(recipe.events, scale))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila train-events", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/clips"), help="directory that `vila clips` wrote")
    parser.add_argument(
        "--checkpoint", type=Path, default=EMBEDDED_CHECKPOINT, help="gets the head (default: the embedded one)"
    )
    parser.add_argument("--out", type=Path, default=Path("out/events"), help="states and log; resumed if there")
    parser.add_argument("--keep-eyes", action="store_true", help="go on with the head that is there, all but its eyes")
    add_stage_options(parser)
    return parser
