"""The samples of a data set that a run is to keep, by the losses of models; these are kept in files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from vila_core.errors import ConfigError
from vila_core.files.writing import written_whole
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.stored.config_reader import config_of
from vila_core.models.stored.layouts import open_layout
from vila_core.models.stored.merging import digest_of
from vila_tools.finetune.precision import loaded_precision
from vila_tools.finetune.pruning import DELTALOSS, RANDOM, kept_samples
from vila_tools.finetune.replies import Examiner
from vila_tools.finetune.samples import Sample, samples_digest
from vila_tools.finetune.stage import sample_scores
from vila_tools.training.shards import load_array


def require_models(args: argparse.Namespace) -> None:
    """Raise ConfigError for deltaloss without a larger model, CheckpointError for models that cannot be read."""
    if args.keep < 1.0 and args.by == DELTALOSS and args.larger is None:
        raise ConfigError("--by deltaloss compares two models: name the larger one with --larger")
    for checkpoint in (args.larger, args.smaller):
        if checkpoint is not None:
            config_of(open_layout(checkpoint))


def pruned(args: argparse.Namespace, samples: list[Sample], device: torch.device, precision: str) -> list[Sample]:
    """Return the samples that --keep and --by choose; all for a share of 1."""
    if args.keep == 1.0:
        return samples
    losses: dict[str, NDArray[np.float64]] = {}
    if args.by != RANDOM:
        losses["smaller"] = _losses(args, args.smaller or args.checkpoint, samples, device, precision)
    if args.by == DELTALOSS:
        losses["larger"] = _losses(args, args.larger, samples, device, precision)
    kept = kept_samples(args.by, args.keep, len(samples), rng=np.random.default_rng([args.seed, 3]), **losses)
    print(f"{len(kept)} of {len(samples)} samples are kept, by {args.by}", file=sys.stderr)
    return [samples[index] for index in kept]


def _losses(
    args: argparse.Namespace, checkpoint: Path, samples: Sequence[Sample], device: torch.device, precision: str
) -> NDArray[np.float64]:
    """Each sample's loss, from the file of a run before if there is one."""
    layout = open_layout(checkpoint)
    file: Path = args.out / f"losses_{digest_of(layout)}_{samples_digest(samples)}.npy"
    if file.is_file():
        return load_array(file)
    model = load_checkpoint(checkpoint, device=device, precision=loaded_precision(layout, precision))
    progress = partial(tqdm, desc=f"losses of {checkpoint.name}", unit="batch", disable=None)
    found, _ = sample_scores(Examiner(model), samples, batch=args.batch, precision=precision, progress=progress)
    with written_whole(file) as made, made.open("wb") as stream:
        np.save(stream, found.astype(np.float64))
    return found.astype(np.float64)
