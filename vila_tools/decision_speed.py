"""Decisions a second without ROS: `observe` and `decide` on frames that are all new.

A program of its own, so that OMP_NUM_THREADS says how many threads the model gets; `vila bench ros` runs it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vila_core.config import HistoryConfig, NavigatorConfig
from vila_core.engine.backend import EMBEDDED_CHECKPOINT, Backend, load_backend
from vila_core.errors import BackendError
from vila_core.navigator import Navigator
from vila_core.testing import make_frame
from vila_core.types import Decision, Frame, Instruction, Odometry, Pose
from vila_tools.options import tell_precision
from vila_tools.report import with_kernels

STEP_M = 0.25  # between two decisions: each frame joins the history, as in a rollout
_TEXTURES = 32
_PERIOD_NS = 100_000_000
_WARM_UP = 16  # until the prompt has all its frames and caches are filled


@dataclass(frozen=True, slots=True)
class DecideFigures:
    """decide_ms: median and 90th percentile of `observe` and `decide` together."""

    decisions_per_s: float
    decide_ms: float
    decide_p90_ms: float


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures as one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m vila_tools.decision_speed", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=EMBEDDED_CHECKPOINT)
    parser.add_argument("--decisions", type=int, default=200)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    args = parser.parse_args(argv)
    backend = load_backend("torch", args.checkpoint)
    tell_precision(backend.info)
    try:
        figures = measure_decide(backend, decisions=args.decisions, width=args.width, height=args.height)
    finally:
        backend.close()
    print(json.dumps(with_kernels(asdict(figures))))
    return 0


def measure_decide(
    backend: Backend, *, decisions: int, width: int, height: int, config: NavigatorConfig | None = None
) -> DecideFigures:
    """Take decisions one after the other, each on a new frame, 25 cm further on.

    Raises BackendError for a decision to hold: it would not have asked the model.
    """
    navigator = Navigator(backend, config or NavigatorConfig(), HistoryConfig())
    navigator.start(Instruction("go to the red chair"))
    textures = [make_frame(height=height, width=width, seed=seed).image for seed in range(_TEXTURES)]
    times_ms = []
    for number in range(_WARM_UP + decisions):
        image = np.roll(textures[number % _TEXTURES], 7 * number, axis=1)  # a camera that repeats itself is held for
        frame = Frame(image, (number + 1) * _PERIOD_NS)
        odometry = Odometry(frame.stamp_ns, Pose(x_m=number * STEP_M))
        begun_ns = time.perf_counter_ns()
        navigator.observe(frame, odometry)
        decision = navigator.decide(frame.stamp_ns)
        times_ms.append((time.perf_counter_ns() - begun_ns) / 1e6)
        _require_reply(decision)
    return _figures(times_ms[_WARM_UP:])


def _figures(times_ms: Sequence[float]) -> DecideFigures:
    ordered = sorted(times_ms)
    return DecideFigures(
        decisions_per_s=round(len(ordered) / sum(ordered) * 1e3, 1),
        decide_ms=round(statistics.median(ordered), 2),
        decide_p90_ms=round(ordered[int(0.9 * (len(ordered) - 1))], 2),
    )


def _require_reply(decision: Decision) -> None:
    if decision.action is None:
        raise BackendError(f"no action to time: {decision.hold.name}: {decision.detail}")


if __name__ == "__main__":
    sys.exit(main())
