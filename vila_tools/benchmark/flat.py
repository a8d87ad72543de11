"""`vila bench flat`: does a step cost more, and is more memory held, the longer the robot runs?

A navigator sees frame after frame and decides on each. Early and late steps are compared by the medians of windows; the
early window is run a second time behind the late one, so that a change of the machine's speed shows. Then one prompt
shows a whole video.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tqdm import tqdm

from vila_core.actions.grammar import SENTENCES
from vila_core.config import HistoryConfig, NavigatorConfig, from_mapping
from vila_core.engine.backend import EMBEDDED_CHECKPOINT, ModelInfo
from vila_core.engine.cached_decoder import CHUNK
from vila_core.engine.torch_backend import VISUAL_CACHE_FRAMES, TorchBackend, load_torch_backend
from vila_core.errors import BackendError, ConfigError
from vila_core.navigator import Navigator
from vila_core.prompts.navigation import navigation_prompt
from vila_core.testing import make_frame
from vila_core.types import Frame, Odometry, Pose, Visual
from vila_tools.benchmark.process import peak_resident_mb, resident_mb
from vila_tools.benchmark.target import INSTRUCTION
from vila_tools.options import add_precision_option, add_threads_option, tell_precision
from vila_tools.report import tell

EARLY, LATE, AROUND = 20, 1000, 10  # steps that are compared, and how many on each side of them count
_STEP_NS = 500_000_000
_STEP_M = 0.25
_MOST_MERGED = 64  # frames of a video that are averaged into one


@dataclass(frozen=True, slots=True)
class Run:
    """A run's steps in milliseconds, and megabytes resident behind some of them (by number, from 1)."""

    steps_ms: tuple[float, ...]
    resident_mb: dict[int, float]

    def around(self, step: int) -> float:
        """The median of the steps around one, numbered from 1; ValueError if the run has none of them."""
        return median(self._window(step))

    def mean_around(self, step: int) -> float:
        """The mean of the same window: rare dear steps count too."""
        window = self._window(step)
        return sum(window) / len(window)

    def _window(self, step: int) -> tuple[float, ...]:
        window = self.steps_ms[max(0, step - 1 - AROUND) : step + AROUND]
        if not window:
            raise ValueError(f"the run has {len(self.steps_ms)} steps, none around {step}")
        return window


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; the last line is one JSON object."""
    args = _parser().parse_args(argv)
    if args.frames < EARLY + AROUND or args.video < 0:
        raise ConfigError(f"--frames must be at least {EARLY + AROUND} and --video not negative")
    torch.set_num_threads(args.threads)
    backend = load_torch_backend(args.checkpoint, device="cpu", precision=args.precision)
    tell_precision(backend.info)
    figures = flat_run(backend, from_mapping(HistoryConfig, {"policy": args.policy}), args.frames)
    result = {
        "policy": args.policy,
        "model": backend.info.name,
        "precision": backend.info.precision,
        "threads": args.threads,
        **figures,
    }
    if args.video:
        result["video"] = video_prompt(backend, args.video)
    tell(result, (f"{name:24}{value}" for name, value in result.items()), args.json)
    return 0


def flat_run(backend: TorchBackend, history: HistoryConfig, frames: int) -> dict[str, Any]:
    """Run `frames` steps, then the early ones again; milliseconds, their ratio, and megabytes resident.

    Raises BackendError if a step holds.
    """
    late = min(LATE, frames - AROUND)
    long = run(backend, history, frames, marks=(EARLY, late, frames))
    again = run(backend, history, EARLY + AROUND)
    early_ms = median([long.around(EARLY), again.around(EARLY)])
    early_mean_ms = (long.mean_around(EARLY) + again.mean_around(EARLY)) / 2
    return {
        "frames": frames,
        "early_step": EARLY,
        "late_step": late,
        "early_ms": round(early_ms, 3),
        "late_ms": round(long.around(late), 3),
        "late_over_early": round(long.around(late) / early_ms, 3),
        "mean_late_over_early": round(long.mean_around(late) / early_mean_ms, 3),
        "worst_ms": round(max(long.steps_ms[EARLY:]), 3),
        "resident_mb": {str(step): round(size, 1) for step, size in long.resident_mb.items()},
    }


def run(backend: TorchBackend, history: HistoryConfig, frames: int, marks: Sequence[int] = ()) -> Run:
    """Decide on each of `frames` new frames, a quarter of a metre apart. marks: steps whose memory is noted."""
    navigator = Navigator(backend, NavigatorConfig(wording="verbatim"), history)
    navigator.start(INSTRUCTION)
    steps_ms, resident = [], {}
    for number in tqdm(range(1, frames + 1), desc="steps", disable=None):
        frame = make_frame(number * _STEP_NS, seed=number)
        pose = Pose(x_m=number * _STEP_M)
        navigator.observe(frame, Odometry(frame.stamp_ns, pose))
        steps_ms.append(_decide_ms(navigator, frame))
        if number in marks:
            resident[number] = resident_mb()
    return Run(tuple(steps_ms), resident)


def _decide_ms(navigator: Navigator, frame: Frame) -> float:
    began = time.perf_counter()
    decision = navigator.decide(frame.stamp_ns)
    milliseconds = (time.perf_counter() - began) * 1e3
    if decision.action is None:
        raise BackendError(f"the step at {frame.stamp_ns} ns holds: {decision.hold.name} {decision.detail}")
    return milliseconds


def video_prompt(backend: TorchBackend, frames: int) -> dict[str, Any]:
    """Show a whole video in one prompt and choose; the time, and what it may hold at most beside the model.

    bound_mb: the pictures themselves, the keys and values, the visual tokens of as many frames as are cached, and what
    one chunk of the prompt works in. grown_mb: what the process really grew by at its peak.
    """
    pictures = [make_frame(number, seed=number, camera="video") for number in range(frames)]
    before_mb = resident_mb()
    visuals = merged_visuals(pictures, backend.info, _room(backend))
    prompt = navigation_prompt(backend.info.prompt_style, backend.info.chat_template, INSTRUCTION, visuals, SENTENCES)
    began = time.perf_counter()
    backend.choose(prompt, SENTENCES)
    seconds = time.perf_counter() - began
    return {
        "frames": frames,
        "visuals": len(visuals),
        "merged": len(visuals[-1].merged) + 1,
        "seconds": round(seconds, 3),
        "ms_per_frame": round(seconds * 1e3 / frames, 3),
        "bound_mb": round(_bound_mb(backend, pictures), 1),
        "grown_mb": round(peak_resident_mb() - before_mb, 1),
    }


def merged_visuals(pictures: Sequence[Frame], info: ModelInfo, room: int) -> list[Visual]:
    """Average as few neighbouring frames as lets the video fit into `room` visual tokens.

    Space is averaged as the checkpoint has it, or to the tokens of an older frame. Raises ConfigError if even
    the most averaging does not make it fit.
    """
    tokens = info.history_tokens
    if info.pool is not None:
        tokens = info.visual_tokens // (info.pool[1] * info.pool[2])
    size = info.visual_tokens if tokens is None else tokens
    merged = info.pool[0] if info.pool is not None else 1
    while -(-len(pictures) // merged) * (size + 1) > room:  # one more for what stands around a frame
        merged *= 2
        if merged > _MOST_MERGED:
            raise ConfigError(f"{len(pictures)} frames of {size} visual tokens do not fit {room} positions")
    groups = (tuple(pictures[at : at + merged]) for at in range(0, len(pictures), merged))
    return [Visual(group[-1], tokens, group[:-1]) for group in groups]


def _room(backend: TorchBackend) -> int:
    """Positions for visual tokens: what the model has, less a quarter for words."""
    return backend.model.config.language.max_positions * 3 // 4


def _bound_mb(backend: TorchBackend, pictures: Sequence[Frame]) -> float:
    model, language = backend.model, backend.model.config.language
    visual = min(len(pictures), VISUAL_CACHE_FRAMES) * backend.info.visual_tokens * language.hidden_size
    scores = 3 * language.heads * backend.decoder.prefixes.rows  # scores, mask and softmax of a token, if written out
    work = CHUNK * (scores + 4 * language.intermediate_size + 8 * language.hidden_size)
    images = sum(picture.image.nbytes for picture in pictures)
    return (backend.decoder.kv_bytes + (visual + work) * model.dtype.itemsize + images) / 1e6


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila bench flat", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=EMBEDDED_CHECKPOINT, help="default: vila-nano")
    parser.add_argument("--policy", default="streaming", help="a history policy (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=2000, help="steps of the run (default: %(default)s)")
    parser.add_argument(
        "--video", type=int, default=1024, help="frames of the video, 0 for none (default: %(default)s)"
    )
    add_precision_option(parser)
    add_threads_option(parser)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    return parser
