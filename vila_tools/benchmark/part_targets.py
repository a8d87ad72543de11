"""The parts of a quantized model that are measured, and how a target takes its turn: the same for everyone."""

from __future__ import annotations

import abc
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vila_core.models.config import CheckpointConfig
from vila_core.models.preprocess import normalise_pixels, resize_image
from vila_core.models.stored.config_reader import read_checkpoint_config
from vila_tools.benchmark.target import StepJob, Timings, camera_frame


@dataclass(frozen=True, slots=True)
class Part:
    """What is timed: a pass over `tokens` new tokens, or, of none, a picture.

    behind_prompt: the pass reads behind a prompt in the cache. In a turn it is run `untimed` times, then `repeats`: a
    target comes from idling, its weights out of every cache, and is to be measured at work.
    """

    tokens: int
    behind_prompt: bool
    untimed: int
    repeats: int
    about: str


PARTS: dict[str, Part] = {
    "decode": Part(1, True, 5, 10, "one token behind the prompt, head and all"),
    "pass8": Part(8, True, 2, 3, "8 tokens behind the prompt, the head for the last"),
    "pass12": Part(12, True, 2, 3, "12 tokens behind the prompt, the head for the last"),
    "prefill256": Part(256, False, 1, 1, "256 tokens from nothing, the head for the last"),
    "image": Part(0, False, 1, 1, "one picture, resized already, through tower and projector"),
}
HALVES: dict[str, tuple[str, ...]] = {
    "decoder": tuple(name for name, part in PARTS.items() if part.tokens),
    "tower": tuple(name for name, part in PARTS.items() if not part.tokens),
}


class DecoderTarget(abc.ABC):
    """Decoding, and passes of a few tokens, behind a prompt that is read already; and reading one from nothing.

    Subclasses load a decoder with weights of any values. Of every pass the logits of its last token are computed, and
    no other token's.
    """

    facts: dict[str, Any]

    def __init__(self, job: StepJob) -> None:
        torch.set_num_threads(job.threads)
        self.job = job
        self.config: CheckpointConfig = read_checkpoint_config(Path(job.checkpoint))
        vocabulary = self.config.language.vocab_size
        self.ids: NDArray[np.int64] = np.random.default_rng(0).integers(0, vocabulary, rows_needed(job))
        self.read_tokens = 0  # behind which the next pass reads
        self._filled = False

    def prepare(self, method: str) -> Timings:
        """Have the prompt read and nothing behind it, if the part wants that."""
        if PARTS[method].behind_prompt:
            if not self._filled:
                self._pass(self.job.prompt_tokens)
                self._filled = True
            self.rewind()
            self.read_tokens = self.job.prompt_tokens
        return {}

    def step(self, method: str) -> Timings:
        """Run the part as often as it is repeated: {"ms": the median}. A pass reads behind the one before it."""
        part = PARTS[method]
        work = self._pass if part.behind_prompt else self.prefill
        return {"ms": typical_ms(part, lambda: work(part.tokens))}

    def _pass(self, count: int) -> None:
        self.read(count)
        self.read_tokens += count

    @abc.abstractmethod
    def rewind(self) -> None:
        """Forget what was read behind the prompt's job.prompt_tokens."""

    @abc.abstractmethod
    def read(self, count: int) -> NDArray[np.float32]:
        """Read ids[read_tokens:][:count] behind what is read; returns the last one's logits [V]."""

    @abc.abstractmethod
    def prefill(self, count: int) -> NDArray[np.float32]:
        """Read ids[:count] from nothing; `rewind` brings the prompt back. Returns the last one's logits [V]."""


class TowerTarget(abc.ABC):
    """One picture through the vision tower and the projector; subclasses load them with weights of any values."""

    facts: dict[str, Any]

    def __init__(self, job: StepJob) -> None:
        torch.set_num_threads(job.threads)
        self.job = job
        self.config: CheckpointConfig = read_checkpoint_config(Path(job.checkpoint))
        self.pixels = picture(self.config, 0)

    def prepare(self, method: str) -> Timings:
        """Nothing: the picture is resized and normalised already."""
        return {}

    def step(self, method: str) -> Timings:
        """Encode the picture: {"ms"}."""
        return {"ms": typical_ms(PARTS[method], self.encode)}

    @abc.abstractmethod
    def encode(self) -> NDArray[np.float32]:
        """Visual tokens [N, D] of self.pixels [1, 3, S, S] float32."""


def rows_needed(job: StepJob) -> int:
    """Tokens of the prompt and of the most that a turn reads behind it, or of the longest part read from nothing."""
    behind = max(part.tokens * (part.repeats + part.untimed) for part in PARTS.values() if part.behind_prompt)
    return max(job.prompt_tokens + behind, *(part.tokens for part in PARTS.values()))


def picture(config: CheckpointConfig, number: int) -> Tensor:
    """The number-th camera frame as the tower reads it, [1, 3, S, S] float32."""
    image = resize_image(camera_frame(number).image, config.vision.image_size)
    return normalise_pixels(torch.tensor(image)[None], config.vision, torch.float32)


def typical_ms(part: Part, work: Callable[[], object]) -> float:
    """Median milliseconds of the part's repeats; what goes before them is not counted."""
    times = []
    for _ in range(part.untimed + part.repeats):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1e3)
    return median(times[part.untimed :])


class Conversion:
    """Writes what a target loads, once, in a worker process of its own: no memory of it is left in the measured one."""

    def __init__(self, job: StepJob, write: Callable[[CheckpointConfig, Path], None]) -> None:
        """Have write fill the job's folder, all of it or nothing."""
        folder = Path(job.folder)
        unfinished = folder.with_name(folder.name + ".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        write(read_checkpoint_config(Path(job.checkpoint)), unfinished)
        unfinished.rename(folder)
        self.facts: dict[str, Any] = {}
