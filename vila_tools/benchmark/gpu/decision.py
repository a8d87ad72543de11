"""Time to decision on a device: a new frame encoded, the streaming prompt read on, ten sentences scored."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Sequence

import torch

from vila_core.actions.grammar import SENTENCES
from vila_core.engine.torch_backend import TorchBackend
from vila_core.models.vlm import VisionLanguageModel
from vila_core.prompts.navigation import navigation_prompt
from vila_core.types import Frame, Prompt, Visual
from vila_tools.benchmark.rounds import medians
from vila_tools.benchmark.target import INSTRUCTION, camera_frame


def measure_decisions(model: VisionLanguageModel, precision: str, rounds: int, frames: int) -> dict[str, float]:
    """Milliseconds of a choice with one new frame, and of its two parts, the medians; frames: in the history."""
    backend = TorchBackend(model, precision)
    numbers = itertools.count()
    rows = []
    for number in range(rounds + 2):  # the first two warm up: they record graphs
        window = [camera_frame(next(numbers)) for _ in range(frames)]
        backend.choose(_ask(backend, window), SENTENCES)
        row = _timed(backend, _ask(backend, [*window, camera_frame(next(numbers))]))
        if number >= 2:
            rows.append(row)
    return medians(rows)


def _timed(backend: TorchBackend, prompt: Prompt) -> dict[str, float]:
    began = _now(backend)
    backend.encode(prompt.visuals[-1].frame)
    encoded = _now(backend)
    backend.choose(prompt, SENTENCES)
    ended = _now(backend)
    return {
        "decision_ms": (ended - began) * 1e3,
        "encode_ms": (encoded - began) * 1e3,
        "read_and_choose_ms": (ended - encoded) * 1e3,
    }


def _ask(backend: TorchBackend, frames: Sequence[Frame]) -> Prompt:
    info = backend.info
    visuals = [Visual(frame) for frame in frames]
    prompt = navigation_prompt(info.prompt_style, info.chat_template, INSTRUCTION, visuals, SENTENCES)
    return dataclasses.replace(prompt, cache_slot="bench")


def _now(backend: TorchBackend) -> float:
    if backend.model.device.type == "cuda":
        torch.cuda.synchronize(backend.model.device)
    return time.perf_counter()
