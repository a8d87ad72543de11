"""`vila bench load CHECKPOINT`: time and peak resident memory of loading, measured in a process of its own."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from vila_core.errors import BackendError, VilaError
from vila_tools.benchmark.process import peak_resident_mb, resident_mb
from vila_tools.options import add_precision_option, told_precision
from vila_tools.report import with_kernels

_CHILD = "import sys; from vila_tools.benchmark.load import child; sys.exit(child(sys.argv[1:]))"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures as one JSON object; 1 if --limit is given and the peak is above it."""
    parser = argparse.ArgumentParser(prog="vila bench load", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    add_precision_option(parser)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--limit", type=float, help="the most that peak / weights may be")
    args = parser.parse_args(argv)
    precision = told_precision(args.checkpoint, args.precision, args.device)
    figures = measure_load(args.checkpoint, precision=precision, device=args.device)
    print(json.dumps(with_kernels({"precision": precision, **figures})))
    return int(args.limit is not None and figures["peak_over_weights"] > args.limit)


def measure_load(checkpoint: Path, *, precision: str = "auto", device: str = "cpu") -> dict[str, float]:
    """Load the checkpoint in a new process and return its figures; every weight has been touched when it ends.

    weights_mb: of the model. start_mb: resident before loading, the libraries. peak_mb: the most that was ever
    resident, mapped files and libraries included. Raises BackendError with the child's last line if it fails.
    """
    command = [sys.executable, "-c", _CHILD, str(checkpoint), precision, device]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise BackendError(f"loading {checkpoint} failed: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def child(arguments: Sequence[str]) -> int:
    """Load the checkpoint, given with precision and device, in this process and print its figures."""
    from vila_core.models.stored.checkpoint import load_checkpoint

    checkpoint, precision, device = arguments
    start_mb, began = resident_mb(), time.monotonic()
    try:
        model = load_checkpoint(Path(checkpoint), device=device, precision=precision)
    except VilaError as err:
        print(err, file=sys.stderr)
        return 1
    seconds = time.monotonic() - began
    weights = list(model.state_dict().values())  # quantized ones are no parameters
    checksum = sum(float(weight.flatten()[:: 4096 // weight.element_size()].float().sum()) for weight in weights)
    weights_mb = sum(weight.numel() * weight.element_size() for weight in weights) / 1e6
    figures = {
        "weights_mb": weights_mb,
        "start_mb": start_mb,
        "peak_mb": peak_resident_mb(),
        "peak_over_weights": peak_resident_mb() / weights_mb,
        "peak_over_weights_without_start": (peak_resident_mb() - start_mb) / weights_mb,
        "seconds": seconds,
        "checksum": checksum,
    }
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))
    return 0
