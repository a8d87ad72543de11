"""What every peer does at a step, as a user would write it: read nine pictures and the prompt, decode the answer."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vila_core.models.config import CheckpointConfig
from vila_core.models.preprocess import normalise_pixels, resize_image
from vila_core.models.stored.checkpoint import DTYPES
from vila_core.models.stored.config_reader import read_checkpoint_config
from vila_core.types import Frame
from vila_tools.benchmark.target import StepJob, Timings, camera_frame


class NaivePeer(abc.ABC):
    """Keeps nothing between steps. Subclasses load a model of the job's shape with weights of any values."""

    facts: dict[str, Any]

    def __init__(self, job: StepJob) -> None:
        torch.set_num_threads(job.threads)
        self.job = job
        self.config: CheckpointConfig = read_checkpoint_config(Path(job.checkpoint))
        self.frames = [camera_frame(number) for number in range(job.frames + 1)]

    def prepare(self, method: str) -> Timings:
        """Nothing: a naive step begins from nothing."""
        return {}

    def step(self, method: str) -> Timings:
        """Answer once. The number of tokens is checked, so that no peer stops early."""
        tokens = self.answer(self.frames)
        if tokens != self.job.tokens:
            raise RuntimeError(f"decoded {tokens} tokens instead of {self.job.tokens}")
        return {}

    @abc.abstractmethod
    def answer(self, frames: list[Frame]) -> int:
        """Encode the frames, read the prompt, decode greedily; returns how many tokens were decoded."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision that the job asks for."""
        return DTYPES[self.job.precision]

    def pixels(self, frames: list[Frame], dtype: torch.dtype) -> Tensor:
        """The frames as the tower reads them, [B, 3, S, S]; resized and normalised as ours are."""
        side = self.config.vision.image_size
        images = torch.stack([torch.tensor(resize_image(frame.image, side)) for frame in frames])
        return normalise_pixels(images, self.config.vision, dtype)

    def prompt_embeddings(self, table: Tensor, visual: Tensor) -> Tensor:
        """The prompt [1, L, D]: half of the words, the visual tokens [B, N, D], the other half.

        table: the embeddings [V, D]. Which words they are changes nothing.
        """
        count = self.job.prompt_tokens - visual.shape[0] * visual.shape[1]
        if count < 2:
            raise RuntimeError(f"{visual.shape[0]} x {visual.shape[1]} visual tokens in {self.job.prompt_tokens}")
        words = table[torch.arange(count)]
        parts = (words[: count // 2], visual.flatten(0, 1).to(table.dtype), words[count // 2 :])
        return torch.cat(parts)[None]
