"""The command line of `vila finetune`."""

from __future__ import annotations

import argparse
from pathlib import Path

from vila_core.errors import ConfigError
from vila_tools.finetune.plan import DECODER_WAYS, PROJECTOR_WAYS, TOWER_WAYS, Plan
from vila_tools.finetune.precision import PRECISIONS
from vila_tools.finetune.pruning import DELTALOSS, WAYS
from vila_tools.options import add_threads_option
from vila_tools.training.recipe import StageRecipe


def finetune_parser(description: str | None) -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(prog="vila finetune", description=description)
    usual = Plan()
    parser.add_argument("checkpoint", type=Path, help="a checkpoint directory that is not quantized")
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        type=Path,
        action="append",
        required=True,
        help="what `vila label` or `vila data` wrote, or annotations in NaVILA's form; once for each",
    )
    data.add_argument("--images", type=Path, help="the folder of the annotations' frames, if it is not beside them")
    data.add_argument("--validation", type=float, default=0.05, help="share of the episodes held out (%(default)s)")
    data.add_argument(
        "--no-balance", dest="balance", action="store_false", help="draw rare answers as rarely as they are"
    )
    data.add_argument("--augment", action="store_true", help="vary brightness, contrast, tint and noise")
    data.add_argument("--keep", type=float, default=1.0, help="share of the samples to train on (%(default)s)")
    data.add_argument("--by", choices=WAYS, default=DELTALOSS, help="which those are (%(default)s)")
    data.add_argument("--larger", type=Path, help="a larger checkpoint of the same task, for deltaloss")
    data.add_argument("--smaller", type=Path, help="the smaller one, if not the one that is finetuned")
    parts = parser.add_argument_group("what is trained")
    parts.add_argument("--decoder", choices=DECODER_WAYS, default=usual.decoder, help="default: %(default)s")
    parts.add_argument("--projector", choices=PROJECTOR_WAYS, default=usual.projector, help="default: %(default)s")
    parts.add_argument(
        "--tower", choices=TOWER_WAYS, default=usual.tower, help="norm: its layer norms alone (default: %(default)s)"
    )
    parts.add_argument("--rank", type=int, default=usual.rank, help="of LoRA (%(default)s)")
    parts.add_argument("--alpha", type=float, default=usual.alpha, help="of LoRA (%(default)s)")
    parts.add_argument("--dropout", type=float, default=usual.dropout, help="of LoRA (%(default)s)")
    rates = parser.add_argument_group("learning rates, at their peaks")
    rates.add_argument("--decoder-rate", type=float, default=usual.decoder_rate, help="default: %(default)s")
    rates.add_argument("--projector-rate", type=float, help="default: the decoder's")
    rates.add_argument("--tower-rate", type=float, help="default: a tenth of the decoder's; 5 to 50 times less is best")
    run = parser.add_argument_group("the run")
    run.add_argument("--out", type=Path, default=Path("out/finetune"), help="state, log, result; resumed if there")
    run.add_argument("--merge", type=Path, metavar="DIR", help="also write the merged checkpoint there")
    run.add_argument("--steps", type=int, default=1000, help="default: %(default)s")
    run.add_argument("--batch", type=int, default=4, help="samples at a time (%(default)s)")
    run.add_argument("--batches", type=int, default=1, help="of a step, whose gradients are averaged (%(default)s)")
    run.add_argument("--warmup", type=int, help="steps until the peak; default: a thirtieth of all")
    run.add_argument("--weight-decay", type=float, default=0.0, help="default: %(default)s")
    run.add_argument("--save-every", type=int, default=100, help="steps between two states (%(default)s)")
    run.add_argument("--save-memory", action="store_true", help="gradient checkpointing: slower, far less memory")
    run.add_argument("--precision", choices=PRECISIONS, default="auto", help="default: %(default)s")
    run.add_argument("--device", default="auto", help="auto, cpu, cuda")
    add_threads_option(run)
    run.add_argument("--seed", type=int, default=0)
    return parser


def plan_of(args: argparse.Namespace) -> Plan:
    """Return what is trained; ConfigError for what cannot be."""
    return Plan(
        decoder=args.decoder,
        projector=args.projector,
        tower=args.tower,
        rank=args.rank,
        alpha=args.alpha,
        dropout=args.dropout,
        decoder_rate=args.decoder_rate,
        projector_rate=args.projector_rate,
        tower_rate=args.tower_rate,
        saves_memory=args.save_memory,
    )


def recipe_of(args: argparse.Namespace) -> StageRecipe:
    """Return the steps; ConfigError for impossible numbers."""
    for name in ("steps", "batch", "batches", "save_every", "threads"):
        if getattr(args, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} {getattr(args, name)}: must be at least 1")
    if not 0 <= args.validation < 1:
        raise ConfigError(f"--validation {args.validation:g}: must be at least 0 and below 1")
    if not 0 < args.keep <= 1:
        raise ConfigError(f"--keep {args.keep:g}: must be above 0 and at most 1")
    if not 0 <= args.weight_decay < 1:
        raise ConfigError(f"--weight-decay {args.weight_decay:g}: must be at least 0 and below 1")
    if args.seed < 0:
        raise ConfigError(f"--seed {args.seed}: must be at least 0")
    warmup = max(1, args.steps // 30) if args.warmup is None else args.warmup
    if not 0 <= warmup <= args.steps:
        raise ConfigError(f"--warmup {warmup}: must be from 0 to --steps {args.steps}")
    return StageRecipe(
        args.steps,
        args.batch,
        args.decoder_rate,
        weight_decay=args.weight_decay,
        warmup_steps=warmup,
        batches_per_step=args.batches,
    )
