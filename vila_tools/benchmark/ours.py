"""Our engine as a benchmark target: three methods of making a step, and a fourth that streaming takes now and then.

cached: append-only prompt, one new frame a step. exact: NaVILA's own sampler over a growing history. naive: nothing
is kept between steps. rebuild: the window begins elsewhere, so that only words and visual tokens are there already.
machine: no step, but what the machine reaches at the moment.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from vila_core.actions.grammar import SENTENCES
from vila_core.engine.naive_backend import NaiveBackend
from vila_core.engine.reply_trie import make_grammar
from vila_core.engine.torch_backend import TorchBackend, load_model
from vila_core.history.navila_policy import select_frames
from vila_core.machine.speeds import measure_bandwidth_gbps, measure_tflops
from vila_core.models.vlm import VisionLanguageModel
from vila_core.prompts.navigation import navigation_prompt
from vila_core.types import Frame, Prompt, Visual
from vila_tools.benchmark.target import INSTRUCTION, StepJob, Timings, camera_frame

_EXACT_FRAMES = 40  # in the history when it is first asked about
_EXACT_STRIDE = 2  # frames kept between two steps: an action of two units
_EXACT_NUMBERS = 1_000_000  # the exact history's frames are numbered from here: no other method has seen them
_CPU = torch.device("cpu")
_BUFFER_BYTES = 512 << 20  # for the bandwidth: far more than any cache
_SIDE = 2048  # of the matrices multiplied: enough work a byte that memory does not count


class Ours:
    """The methods share one set of weights."""

    def __init__(self, job: StepJob) -> None:
        torch.set_num_threads(job.threads)
        model = load_model(Path(job.checkpoint), "cpu", job.precision)
        self._job = job
        self._model = model
        self._backend = TorchBackend(model, job.precision)
        self._naive = NaiveBackend(_without_end(model), job.precision)
        self._window = [camera_frame(number) for number in range(job.frames + 1)]
        self._fresh = (camera_frame(number) for number in itertools.count(job.frames + 1))
        self._kept = _EXACT_FRAMES - _EXACT_STRIDE  # length of the exact history
        self._prompt: Prompt | None = None  # of the step that is prepared
        self._steps: dict[str, tuple[Callable[[], Timings], Callable[[], Timings]]] = {
            "cached": (self._prepare_cached, self._choose),
            "exact": (self._prepare_exact, self._choose),
            "naive": (self._prepare_naive, self._generate),
            "rebuild": (self._prepare_rebuild, self._choose),
            "machine": (dict, self._measure),
        }
        self.facts: dict[str, Any] = self._count() | {"precision": job.precision, "torch": torch.__version__}

    def prepare(self, method: str) -> Timings:
        """Bring the engine where a robot's last step left it, and draw the step's new frame."""
        return self._steps[method][0]()

    def step(self, method: str) -> Timings:
        """Make the step that was prepared."""
        return self._steps[method][1]()

    def _prepare_cached(self) -> Timings:
        before = self._window[: self._job.frames]
        self._backend.choose(self._ask(before, "cached"), SENTENCES)
        self._prompt = self._ask([*before, next(self._fresh)], "cached")
        return {}

    def _prepare_rebuild(self) -> Timings:
        self._backend.encode(self._window[-1])
        self._backend.choose(self._ask(self._window[:-1], "rebuild"), SENTENCES)
        self._prompt = self._ask([*self._window[1:], next(self._fresh)], "rebuild")
        return {}

    def _prepare_exact(self) -> Timings:
        """Grow the history; encode the frame that no prompt showed yet while the robot drives."""
        self._backend.choose(self._ask(self._sampled(self._kept), "exact"), SENTENCES)
        skipped = range(self._kept, self._kept + _EXACT_STRIDE - 1)
        idle_ms = _clock_ms(lambda: [self._backend.encode(_exact_frame(number)) for number in skipped])
        self._kept += _EXACT_STRIDE
        frames = self._sampled(self._kept)
        for frame in frames[:-1]:
            self._backend.encode(frame)  # when it was new; only the frames that are used are made
        self._prompt = self._ask(frames, "exact")
        return {"idle_ms": idle_ms}

    def _prepare_naive(self) -> Timings:
        self._prompt = dataclasses.replace(self._ask([*self._window[:-1], next(self._fresh)], "naive"), stop=())
        return {}

    def _choose(self) -> Timings:
        assert self._prompt is not None
        prompt = self._prompt
        encode_ms = _clock_ms(lambda: self._backend.encode(prompt.visuals[-1].frame))
        return {
            "encode_ms": encode_ms,
            "prefill_and_choose_ms": _clock_ms(lambda: self._backend.choose(prompt, SENTENCES)),
        }

    def _generate(self) -> Timings:
        assert self._prompt is not None
        self._naive.generate(self._prompt, self._job.tokens)
        return {}

    def _measure(self) -> Timings:
        return {
            "bandwidth_gbps": measure_bandwidth_gbps(_BUFFER_BYTES, _CPU),
            "peak_tflops": measure_tflops(self._model.dtype, _SIDE, _CPU),
        }

    def _sampled(self, length: int) -> list[Frame]:
        return [_exact_frame(index) for index in select_frames(length, self._job.frames + 1)]

    def _ask(self, frames: Sequence[Frame], cache_slot: str) -> Prompt:
        info = self._backend.info
        visuals = [Visual(frame) for frame in frames]
        prompt = navigation_prompt(info.prompt_style, info.chat_template, INSTRUCTION, visuals, SENTENCES)
        return dataclasses.replace(prompt, cache_slot=cache_slot)

    def _count(self) -> dict[str, int]:
        """Tokens of the prompt, and of what a step of the streaming prompt adds to it."""
        model, frames = self._model, self._window
        per_frame = self._backend.info.visual_tokens
        rows = [prompt_rows(model, self._ask(seen, "count"), per_frame) for seen in (frames[:-1], frames)]
        shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*rows, strict=False)))
        return {
            "tokens_per_frame": per_frame,
            "prompt_tokens": len(rows[1]),
            "new_prompt_tokens": len(rows[1]) - shared,
            "reply_tree_tokens": make_grammar(model, SENTENCES).trie.read,
        }


def prompt_rows(model: VisionLanguageModel, prompt: Prompt, per_frame: int) -> list[object]:
    """What stands at each position of a prompt: a token id, or a frame's key and the number of its visual token."""
    rows: list[object] = []
    for run in model.segments(prompt.text):
        if run.visual is None:
            rows += run.ids
        else:
            key = prompt.visuals[run.visual].key
            rows += [(key, number) for number in range(per_frame)]
    return rows


def _without_end(model: VisionLanguageModel) -> VisionLanguageModel:
    """The same weights with no token that ends a reply: random ones may say it at any time."""
    endless = copy.copy(model)
    language = dataclasses.replace(model.config.language, eos_token_ids=())
    endless.config = dataclasses.replace(model.config, language=language)
    return endless


def _exact_frame(index: int) -> Frame:
    return camera_frame(_EXACT_NUMBERS + index)


def _clock_ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3
