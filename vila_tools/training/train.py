"""`vila train`: from nothing to a vila-nano checkpoint, by a recipe; by several processes if torchrun starts it."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from vila_core.actions.grammar import SENTENCES
from vila_core.files.writing import write_text, written_whole
from vila_core.models.stored.checkpoint import save_weights
from vila_core.models.vlm import VisionLanguageModel
from vila_core.prompts.navigation import nano_text
from vila_tools.options import add_threads_option
from vila_tools.training.autocast import autocast_precision
from vila_tools.training.create import create_model
from vila_tools.training.data_sets import make_episodes
from vila_tools.training.policy_stage import PolicyStage, frozen_features
from vila_tools.training.ranks import ALONE, Ranks, torchrun_ranks
from vila_tools.training.recipe import Recipe, StageRecipe, read_recipe
from vila_tools.training.shards import Rollouts, joined, read_rollouts
from vila_tools.training.stage_run import run_stage
from vila_tools.training.vision_stage import VisionStage
from vila_tools.training.vocabulary import vocabulary

NANO = Path("nano")  # for --recipe: vila-nano's own
VALIDATION_SHARE = 0.03  # of the frames, the last ones: flats that are not trained on


def main(argv: Sequence[str] | None = None) -> int:
    """Train, resuming what is in --out; the last line on stdout is one JSON object."""
    args = _parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    recipe = Recipe() if args.recipe in (None, NANO) else read_recipe(args.recipe)
    recipe = scaled(recipe if args.seed is None else dataclasses.replace(recipe, seed=args.seed), args.scale)
    began, checkpoint = time.monotonic(), args.out / "checkpoint"
    with torchrun_ranks(pick_device(args.device)) as (ranks, device):
        if args.recipe is not None and ranks.is_first:
            make_episodes(args.data, recipe.data, args.workers)
            if recipe.views.frames:
                make_episodes(args.data / "views", recipe.views, args.workers)
        ranks.wait()
        views = read_rollouts(args.data / "views") if (args.data / "views").is_dir() else None
        rollouts = read_rollouts(args.data)
        if ranks.is_first:
            write_text(args.out / "recipe.json", json.dumps(dataclasses.asdict(recipe), indent=2) + "\n")
        figures = train(rollouts, recipe, args.out, checkpoint, device, workers=args.workers, views=views, ranks=ranks)
    if not ranks.is_first:
        return 0
    files = sorted(file for file in checkpoint.rglob("*") if file.is_file())
    size = sum(file.stat().st_size for file in files)
    summary = {"checkpoint": str(checkpoint), "mb": round(size / 1e6, 2), "seconds": round(time.monotonic() - began)}
    summary |= {"threads": args.threads}  # sums are rounded by how they are shared
    weights = [file for file in files if file.suffix == ".safetensors"]
    summary |= {"sha256": {file.parent.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in weights}}
    print(json.dumps(summary | figures))
    return 0


@dataclass(frozen=True, slots=True)
class Lessons:
    """Rollouts, and which of their rows are learned from; the others are held out."""

    rollouts: Rollouts
    rows: range
    held_out: range

    @classmethod
    def of(cls, rollouts: Rollouts) -> Lessons:
        """Hold out the last ones."""
        cut = int(len(rollouts) * (1 - VALIDATION_SHARE))
        return cls(rollouts, range(cut), range(cut, len(rollouts)))

    def behind(self, more: Rollouts) -> Lessons:
        """Put more, to be learned from, before these."""
        shift, end = len(more), len(more) + len(self.rollouts)
        cut = shift + self.rows.stop
        return Lessons(joined(more, self.rollouts), range(cut), range(cut, end))


def train(
    rollouts: Rollouts,
    recipe: Recipe,
    folder: Path,
    checkpoint: Path,
    device: torch.device,
    *,
    workers: int = 2,
    views: Rollouts | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """Run the stages and write the checkpoint after each but the first; returns validation figures.

    workers: processes that drive the model for the last one. views: of more flats, learned from besides. ranks:
    processes that share each batch, of which the first one writes.
    """
    recipe = dataclasses.replace(recipe, precision=ranks.agreed(autocast_precision(recipe.precision, device).name))
    words = vocabulary(rollouts.kind_names, rollouts.colour_names)
    lessons = Lessons.of(rollouts) if views is None else Lessons.of(rollouts).behind(views)
    with _description(folder, ranks) as described:  # the checkpoint without its weights
        model = create_model(described, recipe.sizes, corpus(rollouts), recipe.seed, vocabulary=words).to(device)
        return _stages(model, lessons, recipe, folder, (described, checkpoint), workers, ranks)


@contextmanager
def _description(folder: Path, ranks: Ranks) -> Iterator[Path]:
    if ranks.is_first:
        yield folder / ".description"
        return
    with tempfile.TemporaryDirectory(prefix="vila-description-") as own:
        yield Path(own)


def _stages(
    model: VisionLanguageModel,
    lessons: Lessons,
    recipe: Recipe,
    folder: Path,
    written: tuple[Path, Path],
    workers: int,
    ranks: Ranks,
) -> dict[str, float]:
    """Run the stages. written: the checkpoint without its weights, and where it is to be."""
    device, checkpoint = model.device, written[1]

    torch.manual_seed(recipe.seed)
    whole = dataclasses.replace(recipe, zoomed_share=0.0)
    trained = VisionStage(model, lessons.rollouts, recipe, lessons.rows, ranks=ranks).to(device)
    checked = VisionStage(model, lessons.rollouts, whole, lessons.held_out).to(device)

    def run(name: str, trained: _Stage, checked: _Stage, steps: StageRecipe) -> dict[str, float]:
        _share_heads(trained, checked)
        return run_stage(name, trained, checked, steps, seed=recipe.seed, folder=folder, ranks=ranks)

    run("vision", trained, checked, recipe.vision)

    def policy(stage: StageRecipe, features: Callable[[], torch.Tensor] | None) -> tuple[PolicyStage, PolicyStage]:
        torch.manual_seed(recipe.seed)
        trained, checked = (
            PolicyStage(model, lessons.rollouts, recipe, part, stage=stage, features=features, ranks=own).to(device)
            for part, own in ((lessons.rows, ranks), (lessons.held_out, ALONE))
        )
        return trained, checked

    seen = functools.cache(functools.partial(frozen_features, model, lessons.rollouts, recipe.precision))
    frozen_eyed = policy(recipe.policy, seen)
    figures = run("policy", *frozen_eyed, recipe.policy)
    seen.cache_clear()
    _keep(model, written, ranks)
    for name, stage in (("joint", recipe.joint), ("joint_again", recipe.joint_again)):
        if not stage.steps:
            continue
        if name == "joint_again" and recipe.driven.frames:
            if ranks.is_first:
                make_episodes(folder / "driven", recipe.driven, workers, driver=checkpoint)
            ranks.wait()
            lessons = lessons.behind(read_rollouts(folder / "driven"))
        open_eyed = policy(stage, None)
        _share_heads(frozen_eyed[0], open_eyed[0])
        figures = run(name, *open_eyed, stage)
        _keep(model, written, ranks)
    return figures


def _keep(model: VisionLanguageModel, written: tuple[Path, Path], ranks: Ranks) -> None:
    """Have the first process write the checkpoint; nothing of it takes its place until all is written."""
    if not ranks.is_first:
        return
    described, checkpoint = written
    with written_whole(checkpoint) as made:
        shutil.copytree(described, made)
        save_weights(model, made, torch.float16)


def pick_device(name: str) -> torch.device:
    """The named torch device; "auto" is a GPU if there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def corpus(rollouts: Rollouts) -> list[str]:
    """The texts that the tokenizer is trained on: every training instruction, the prompt's words, the replies."""
    named = [
        template.format(colour=colour, kind=kind.replace("_", " "))
        for template in rollouts.templates
        for colour in rollouts.colour_names
        for kind in rollouts.kind_names
    ]
    return [nano_text(text, 1) for text in named] + [f"Act: {sentence}" for sentence in SENTENCES] * 20


def scaled(recipe: Recipe, scale: float) -> Recipe:
    """The recipe with all step counts multiplied, for quick trials."""
    return dataclasses.replace(
        recipe,
        vision=shorter(recipe.vision, scale),
        policy=shorter(recipe.policy, scale),
        joint=shorter(recipe.joint, scale),
        joint_again=shorter(recipe.joint_again, scale),
    )


def shorter(stage: StageRecipe, scale: float) -> StageRecipe:
    """The stage with its number of steps multiplied."""
    steps = round(stage.steps * scale)
    return dataclasses.replace(stage, steps=steps, warmup_steps=max(1, min(stage.warmup_steps, steps // 5)))


_Stage = VisionStage | PolicyStage


def _share_heads(stage: torch.nn.Module, checked: torch.nn.Module) -> None:
    for name, module in stage.named_children():
        setattr(checked, name, module)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila train", description=__doc__)
    parser.add_argument(
        "--recipe",
        type=Path,
        metavar="FILE.yaml",
        help="from nothing: what is missing of the data is made; nano: vila-nano's own recipe",
    )
    parser.add_argument("--data", type=Path, default=Path("data/nano"), help="folder of the data set, see `vila data`")
    parser.add_argument(
        "--out", type=Path, default=Path("out/nano"), help="states, log and checkpoint; resumed if there"
    )
    parser.add_argument("--seed", type=int, help="instead of the recipe's")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply all step counts, for a quick trial")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    add_threads_option(parser)
    cores = os.cpu_count() or 1
    parser.add_argument(
        "--workers", type=int, default=cores, help="processes that make the recipe's data (default here: %(default)s)"
    )
    return parser
