"""Options that the programs share which load a checkpoint, and how they tell the precision that it became."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from vila_core.engine.backend import ModelInfo
from vila_core.machine.precision import AUTO, PRECISIONS
from vila_core.models.stored.config_reader import config_of
from vila_core.models.stored.layouts import open_layout
from vila_core.models.working_precision import working_precision

NAVIGATOR = "vila_ros.navigator.node"  # the module that programs run as navigator
_MOST_THREADS = 8  # more gain nothing on small models


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the checkpoint, the device and the precision."""
    parser.add_argument("checkpoint", type=Path, help="a checkpoint directory")
    parser.add_argument("--device", default="cpu", help="where to compute, as torch names it (default: %(default)s)")
    add_precision_option(parser)


def add_precision_option(
    parser: argparse.ArgumentParser, name: str = "--precision", about: str = "auto: what the device computes well"
) -> None:
    """Add the precision of what is not quantized, "auto" if it is not given."""
    parser.add_argument(name, choices=PRECISIONS, default=AUTO, help=f"{about} (default: %(default)s)")


def add_threads_option(parser: argparse._ActionsContainer) -> None:
    """Add how many threads torch takes: by itself as many as OMP_NUM_THREADS says, else as there are cores, up to 8."""
    count = usual_threads()
    parser.add_argument(
        "--threads", type=_count, default=count, metavar="N", help=f"to compute with (default here: {count})"
    )


def usual_threads() -> int:
    """Return how many threads a program takes that is told nothing."""
    return min(torch.get_num_threads(), _MOST_THREADS)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def model_parameters(checkpoint: Path | None) -> dict[str, object]:
    """Return the parameters with which a node loads a checkpoint; none for the embedded one."""
    return {} if checkpoint is None else {"checkpoint": str(checkpoint.absolute())}


def require_checkpoint(checkpoint: Path | None, navigator: str) -> None:
    """Raise CheckpointError, before any node is started, for a directory that the package's navigator cannot load.

    navigator: the module that runs; what another one loads is its own business.
    """
    if checkpoint is not None and navigator == NAVIGATOR:
        config_of(open_layout(checkpoint))


def told_precision(checkpoint: Path, asked: str, device: str = "cpu") -> str:
    """Return the name of the precision that was asked for, told with its reason on stderr; see working_precision."""
    chosen = working_precision(checkpoint, asked, device)
    _tell(chosen.name, chosen.reason)
    return chosen.name


def tell_precision(info: ModelInfo) -> None:
    """Tell on stderr the precision of a model that was loaded, if there is something to say about it."""
    _tell(info.precision, info.precision_reason)


def _tell(precision: str, reason: str) -> None:
    if reason:
        print(f"precision {precision}: {reason}", file=sys.stderr)
