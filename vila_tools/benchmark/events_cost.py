"""`vila bench events-cost`: what ten standing queries cost beside one, on a stream of frames that are new.

Both see a window of the same length; their evaluations alternate. The frames that fill the window are not encoded: all
have the visual tokens of the first, as time does not depend on the values. A timed evaluation has frames of its own:
one, that is appended, or for a relevance head two, with which its window moves on, as many as come between two of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from vila_core.config import EventsConfig
from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.engine.torch_backend import TorchBackend, load_model
from vila_core.errors import BackendError, ConfigError
from vila_core.models.vlm import VisionLanguageModel
from vila_core.testing import make_frame
from vila_core.types import Choice, Frame, LocalizationMethod, Prompt
from vila_core.watcher import EventWatcher
from vila_tools.benchmark.rounds import medians, minima, ratio, rotated
from vila_tools.benchmark.target import HEIGHT, WIDTH
from vila_tools.options import add_precision_option, add_threads_option, told_precision
from vila_tools.report import tell

QUERIES = (
    "a person opens the door",
    "the red ball is in view",
    "someone picks up the blue box",
    "the light goes on",
    "a chair falls over",
    "the robot stands in front of the green table",
    "a dog walks past",
    "the window is open",
    "two people shake hands",
    "the yellow cone is taken away",
)
SIDES = {"one": 1, "ten": len(QUERIES)}
_ANYTHING = 1e-12  # a probability that every interval has
_STEP_NS = 1_000_000_000  # between two frames: as far apart as any method of telling time wants them


class Side:
    """A watcher with some of the queries, on an engine of its own that shares the weights."""

    def __init__(
        self, model: VisionLanguageModel, precision: str, queries: Sequence[str], config: EventsConfig
    ) -> None:
        self._engine = _Resting(model, precision)
        self.watcher = EventWatcher(self._engine, config)
        for text in queries:
            self.watcher.watch(text)
        self._new_frames = 2 if self.watcher.method is LocalizationMethod.RELEVANCE else 1
        self._number = 0

    @property
    def method(self) -> LocalizationMethod:
        """How it tells time."""
        return self.watcher.method

    def fill(self, frames: int) -> None:
        """Bring the window to so many frames without asking the model, then ask it once; not timed."""
        self._engine.rests = True
        first = self._next()
        self._engine.encode(first)
        encoded = self._engine.visual_cache.get(first.key)
        assert encoded is not None
        self._evaluate(first)
        for _ in range(frames - 2):
            frame = self._next()
            self._engine.visual_cache.put(frame.key, encoded)
            self._evaluate(frame)
        self._engine.rests = False
        self._evaluate(self._next())

    def step_ms(self) -> float:
        """Evaluate all queries with what is new; milliseconds."""
        *before, newest = (self._next() for _ in range(self._new_frames))
        began = time.perf_counter()
        for frame in before:
            self.watcher.observe(frame)
        self._evaluate(newest)
        return (time.perf_counter() - began) * 1e3

    def _evaluate(self, frame: Frame) -> None:
        self.watcher.observe(frame)
        if not self.watcher.has_work() and self._number > 2:
            raise BackendError(f"frame {self._number} gives the watcher nothing to evaluate")
        self.watcher.evaluate()

    def _next(self) -> Frame:
        self._number += 1
        return make_frame(self._number * _STEP_NS, height=HEIGHT, width=WIDTH, seed=self._number)


class _Resting(TorchBackend):
    """Does not run the model while it rests: whatever is asked, nothing is seen."""

    rests = False

    def choose_each(self, prompts: Sequence[Prompt], replies: Sequence[Sequence[str]]) -> tuple[Choice, ...]:
        """Score the replies, or say that nothing is seen: the last one."""
        if not self.rests:
            return super().choose_each(prompts, replies)
        lasts = [len(each) - 1 for each in replies]
        return tuple(Choice(last, (*(0.0,) * last, 1.0)) for last in lasts)

    def relevance(self, question: str, frames: Sequence[Frame]) -> tuple[float, ...]:
        """Score each frame, or say that nothing is seen."""
        return (0.0,) * len(frames) if self.rests else super().relevance(question, frames)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; the last line is one JSON object."""
    args = _parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    precision = told_precision(args.checkpoint, args.precision)
    model = load_model(args.checkpoint, "cpu", precision)
    result = events_cost(model, precision, args.frames, args.rounds, all_seen=args.all_seen)
    result |= {"threads": args.threads, "precision": precision}
    tell(result, (f"{name:16}{value}" for name, value in result.items()), args.json)
    return 0


def events_cost(
    model: VisionLanguageModel, precision: str, frames: int, rounds: int, *, all_seen: bool = False
) -> dict[str, Any]:
    """Time `rounds` evaluations of each side around a window of `frames`; milliseconds and their ratio.

    all_seen: believe anything, so that all ends behind all starts are asked for: more than any real answer needs.
    Raises ConfigError for less than one round, or for more rounds than the window has room for.
    """
    if rounds < 1 or frames - rounds // 2 < 2:
        raise ConfigError(f"{rounds} rounds: at least 1, and a window of {frames} frames has room for {2 * frames - 4}")
    config = dataclasses.replace(
        EventsConfig(), max_frames=frames + rounds + 1, min_probability=_ANYTHING if all_seen else 0.5
    )
    moves = model.relevance_head is not None
    config = dataclasses.replace(config, window_s=float(frames - 1 if moves else config.max_frames))
    sides = {name: Side(model, precision, QUERIES[:count], config) for name, count in SIDES.items()}
    for side in sides.values():
        side.fill(frames if moves else frames - rounds // 2)
    taken: list[dict[str, float]] = []
    for number in tqdm(range(rounds), desc="rounds", disable=None):
        taken.append({name: sides[name].step_ms() for name in rotated(tuple(sides), number)})
    return {
        "model": model.config.name,
        "method": sides["one"].method.name,
        "frames": frames,
        "all_seen": all_seen,
        "rounds": rounds,
        **{f"{name}_ms": round(value, 3) for name, value in medians(taken).items()},
        **{f"{name}_least_ms": round(value, 3) for name, value in minima(taken).items()},
        "ratio": round(ratio(taken, "ten", "one") or 0.0, 3),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila bench events-cost", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=EMBEDDED_CHECKPOINT, help="default: vila-nano")
    parser.add_argument("--frames", type=int, default=24, help="of the window on average (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="evaluations of each side (default: %(default)s)")
    parser.add_argument("--all-seen", action="store_true", help="the dearest case: every query may have been seen")
    add_precision_option(parser)
    add_threads_option(parser)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    return parser
