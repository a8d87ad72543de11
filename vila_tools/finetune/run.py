"""`vila finetune CHECKPOINT --data DIR`: teach a checkpoint from a robot's own recordings, or from any such data set.

What is learned is kept as an adapter (LoRA, in peft's layout), or as a whole checkpoint where decoder or tower were
trained in full. A run that was stopped goes on where its last state was saved. Several processes, started by torchrun,
share each batch.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vila_core.engine.memory import available_on
from vila_core.errors import ConfigError
from vila_core.files.writing import require_unused
from vila_core.machine.precision import Precision
from vila_core.models.stored.adapter_writer import save_adapter
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.stored.config_reader import config_of
from vila_core.models.stored.layouts import Layout, open_layout
from vila_core.models.stored.merging import digest_of, write_merged
from vila_core.models.stored.quantized_weights import require_plain
from vila_core.models.vlm import VisionLanguageModel
from vila_core.models.working_precision import stored_dtype
from vila_tools.finetune.options import finetune_parser, plan_of, recipe_of
from vila_tools.finetune.plan import Plan, apply_plan, trained_tensors
from vila_tools.finetune.precision import FLOAT8, loaded_precision, training_precision
from vila_tools.finetune.prune import pruned, require_models
from vila_tools.finetune.samples import Sample, read_samples, require_pictures, samples_digest, split_samples
from vila_tools.finetune.settings import require_same_settings
from vila_tools.finetune.stage import FinetuneStage, held_out_figures
from vila_tools.fit.training import training_memory, usual_batch
from vila_tools.training.curves import draw_curves, read_log, tensorboard
from vila_tools.training.loop import train_stage, untold
from vila_tools.training.ranks import Ranks, torchrun_ranks
from vila_tools.training.recipe import StageRecipe

NAME = "finetune"
_CHECKED = 64  # samples that are held out, at most
_LOG_EVERY = 10


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Task:
    """All that a run is about, opened and checked."""

    layout: Layout
    plan: Plan
    recipe: StageRecipe
    device: torch.device
    precision: str
    train: list[Sample]
    held_out: list[Sample]


def main(argv: Sequence[str] | None = None) -> int:
    """Finetune; the last line on stdout is one JSON object."""
    args = finetune_parser(__doc__).parse_args(argv)
    began = time.monotonic()
    torch.set_num_threads(args.threads)
    with torchrun_ranks(_device(args.device)) as (ranks, device):
        # 1. What is asked for, and of what: nothing is loaded before it is known to make sense.
        precision = training_precision(args.precision, device)
        if (agreed := ranks.agreed(precision.name)) != precision.name:
            precision = training_precision(agreed, device)
        with ranks.in_turn():
            task = _task(args, device, precision, is_first=ranks.is_first)
        # 2. The model, what of it is trained, and the training.
        torch.manual_seed(args.seed)
        model, figures = _train(args, task, ranks)
    if not ranks.is_first:
        return 0
    # 3. What was learned.
    kept = _keep(args, task, model)
    print(json.dumps({**kept, **figures, "seconds": round(time.monotonic() - began, 1)}))
    return 0


def _task(args: argparse.Namespace, device: torch.device, precision: Precision, *, is_first: bool) -> Task:
    plan, recipe = plan_of(args), recipe_of(args)
    layout = open_layout(args.checkpoint)
    if layout.adapter is not None:
        raise ConfigError(f"{args.checkpoint} is an adapter; merge it first: vila merge {args.checkpoint} --out DIR")
    require_plain(layout)
    if args.merge is not None:
        require_unused(args.merge)
    if precision.name == FLOAT8 and plan.decoder != "lora":
        raise ConfigError("precision 'float8' multiplies by weights that stay as they are; take --decoder lora")
    require_models(args)
    samples = [sample for source in args.data for sample in read_samples(source, args.images, args.seed)]
    require_pictures(samples)
    train, held_out = split_samples(samples, args.validation, args.seed)
    settings = _settings(args, layout, samples, plan, recipe, precision.name)
    require_same_settings(args.out, settings)
    train = pruned(args, train, device, precision.name)
    if not is_first:
        return Task(layout, plan, recipe, device, precision.name, train, held_out)
    for told in (
        f"training in {precision}",
        plan.warning,
        _memory_warning(layout, plan, precision.name, args.batch, device),
    ):
        if told:
            print(told, file=sys.stderr)
    print(f"{len(train)} samples, {len(held_out)} more are held out", file=sys.stderr)
    return Task(layout, plan, recipe, device, precision.name, train, held_out)


def _memory_warning(layout: Layout, plan: Plan, precision: str, samples: int, device: torch.device) -> str:
    """What is said if there seems to be too little memory; a prediction, so it forbids nothing."""
    config, left = config_of(layout), available_on(device)
    batch, stored = usual_batch(config, samples), stored_dtype(layout).itemsize
    needed = training_memory(config, plan, precision, batch, stored_bytes=stored, libraries_mb=0.0).total
    if left is None or needed < left / 1e6:
        return ""
    return (
        f"about {needed:.0f} MB will be needed and {left / 1e6:.0f} MB are there; `vila fit --train` shows other ways"
    )


def _settings(
    args: argparse.Namespace,
    layout: Layout,
    samples: Sequence[Sample],
    plan: Plan,
    recipe: StageRecipe,
    precision: str,
) -> dict[str, Any]:
    chosen = {name: getattr(args, name) for name in ("seed", "batch", "validation", "balance", "augment", "keep", "by")}
    models = {name: None if getattr(args, name) is None else str(getattr(args, name)) for name in ("larger", "smaller")}
    return {
        "checkpoint": digest_of(layout),
        "data": samples_digest(samples),
        **dataclasses.asdict(plan),
        **{name: getattr(recipe, name) for name in ("steps", "warmup_steps", "weight_decay", "batches_per_step")},
        **chosen,
        **models,
        "precision": precision,
    }


def _train(args: argparse.Namespace, task: Task, ranks: Ranks) -> tuple[VisionLanguageModel, dict[str, Any]]:
    precision = loaded_precision(task.layout, task.precision)
    model = load_checkpoint(args.checkpoint, device=task.device, precision=precision)
    trained = apply_plan(model, task.plan)
    if task.precision == FLOAT8:
        from vila_tools.finetune.float8 import use_float8

        use_float8(model.language_model.layers)
    stage = FinetuneStage(
        model,
        task.train,
        trained,
        task.plan.rates,
        batch=args.batch,
        precision=task.precision,
        balances=args.balance,
        augments=args.augment,
        ranks=ranks,
    )
    rng = np.random.default_rng([args.seed, 2])
    checked = [task.held_out[index] for index in np.sort(rng.permutation(len(task.held_out))[:_CHECKED])]
    counts = {part: sum(weight.numel() for weight in weights) for part, weights in trained.items()}
    told = ", ".join(f"{part} {count / 1e6:.3g} M at {task.plan.rates[part]:.3g}" for part, count in counts.items())
    if ranks.is_first:
        print(f"weights that are trained: {told}", file=sys.stderr)
    train_stage(
        NAME,
        stage,
        task.recipe,
        seed=args.seed,
        folder=args.out,
        validate=lambda: held_out_figures(stage, checked),
        save_every=args.save_every,
        log_every=math.gcd(args.save_every, _LOG_EVERY),
        tell=tensorboard(args.out / "tensorboard") if ranks.is_first else untold,
        ranks=ranks,
    )
    if not ranks.is_first:
        return model, {}
    lines = read_log(args.out / "log.jsonl", NAME)
    draw_curves(lines, ("loss", "val_loss", "accuracy", "val_accuracy"), args.out / "curves.png")
    last = {name: value for name, value in lines[-1].items() if name not in ("stage", "seconds")} if lines else {}
    return model, {"samples": len(task.train), "held_out": len(task.held_out), "trained": counts, **last}


def _keep(args: argparse.Namespace, task: Task, model: VisionLanguageModel) -> dict[str, str]:
    """Write an adapter, or a checkpoint; and a merged one if that is asked for."""
    trained, kept = trained_tensors(model, task.plan), dict[str, str]()
    merged = dataclasses.replace(task.layout, adapter=trained.adapter(args.out, task.layout.root))
    if task.plan.is_adapter:
        folder = args.out / "adapter"
        about = {"samples": len(task.train), "steps": task.recipe.steps, **dataclasses.asdict(task.plan)}
        save_adapter(
            folder,
            args.checkpoint,
            trained,
            digest=digest_of(task.layout),
            dropout=task.plan.dropout,
            about={"finetuned": about},
        )
        kept["adapter"] = str(folder)
    else:
        kept["checkpoint"] = str(args.out / "checkpoint")
        write_merged(merged, args.out / "checkpoint")
    if args.merge is not None:
        write_merged(merged, args.merge)
        kept["merged"] = str(args.merge)
    return kept


def _device(name: str) -> torch.device:
    """The named device; "auto" is a GPU if there is one. Raises ConfigError for one that is not there."""
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
    except RuntimeError as err:
        raise ConfigError(f"--device {name!r} is not known to torch; take cpu or cuda") from err
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {name!r}: torch {torch.__version__} finds no CUDA device; take cpu")
    return device
