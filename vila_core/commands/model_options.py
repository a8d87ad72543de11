"""Options that the programs share which load a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

from vila_core.models.checkpoint import DTYPES


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the checkpoint, the device and the precision."""
    parser.add_argument("checkpoint", type=Path, help="a checkpoint directory")
    parser.add_argument("--device", default="cpu", help="where to compute, as torch names it (default: %(default)s)")
    parser.add_argument("--precision", choices=sorted(DTYPES), default="float32", help="default: %(default)s")
