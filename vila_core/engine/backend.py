"""What runs a model: the protocol that the navigator sees, and the table of backends."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import BackendError
from vila_core.types import Choice, Frame, Prompt, Vocabulary

EMBEDDED_CHECKPOINT = Path(__file__).resolve().parents[1] / "checkpoints" / "vila_nano"

BACKENDS = {
    "torch": "vila_core.engine.torch_backend:load_torch_backend",
    "tensorrt": "vila_core.engine.tensorrt.backend:load_tensorrt_backend",
    "openai": "vila_core.engine.remote.backend:load_openai_backend",
    "transformers": "vila_core.engine.hugging_face:load_transformers_backend",
    "torch-naive": "vila_core.engine.naive_backend:load_naive_backend",
}


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the navigator must know of a loaded model.

    num_frames: frames in a prompt, the current one included. history_tokens: visual tokens
    of each older frame, None for all. prompt_style: a row of prompts.navigation.STYLES.
    visual_tokens: of a whole frame. pool: (frames, rows, columns) that the checkpoint averages in older parts of a
    video, coarsest of its sizes; None if it was not trained to. max_tokens: of prompt and reply together.
    time_tokens: texts of the tokens that part a video's duration, in order; empty if it has none.
    relevance_period_s: time between the frames that `Backend.relevance` was trained on; None if it has no such head.
    picture_px: side of the square that a frame is squashed to before anything is read of it, the largest if there are
    several; None if that is not known, or frames keep their shape. camera_hfov_deg: what the square pictures show, from
    left to right, that it was trained with; None if that is not known, or any will do. precision_reason: in one line
    why it is the precision, or that it is computed slowly here; "" if it was asked for and is computed well. kernels:
    what it runs on a CPU, or why that is slower than it could be; "" if it does not run there. describes: whether
    `generate` may be asked anything; False for a model that knows its own sentences alone. vocabulary: the words that
    it knows, None for one that may be told anything. computed_on: what the last bits of its results depend on beside
    the weights, see machine.computing; "" if that is not known. threads: that torch computes in.
    """

    name: str
    precision: str
    num_frames: int
    history_tokens: int | None
    prompt_style: str
    chat_template: str
    visual_tokens: int = 196
    pool: tuple[int, int, int] | None = None
    max_tokens: int = 8192
    time_tokens: tuple[str, ...] = ()
    relevance_period_s: float | None = None
    picture_px: int | None = None
    camera_hfov_deg: float | None = None
    precision_reason: str = ""
    kernels: str = ""
    describes: bool = True
    vocabulary: Vocabulary | None = None
    computed_on: str = ""
    threads: int = 0


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """How often a frame's visual tokens were there when they were asked for, and how often not."""

    hits: int = 0
    misses: int = 0


class Backend(Protocol):
    """A loaded model. Calls raise BackendError; they do not overlap."""

    info: ModelInfo

    def choose(self, prompt: Prompt, replies: Sequence[str]) -> Choice:
        """Score a finite set of replies to the prompt."""
        ...

    def choose_each(self, prompts: Sequence[Prompt], replies: Sequence[Sequence[str]]) -> tuple[Choice, ...]:
        """Score the replies of several prompts, cheaper than one by one if the prompts begin alike."""
        ...

    def generate(self, prompt: Prompt, max_new_tokens: int) -> str:
        """Reply greedily, without the stop token."""
        ...

    def encode(self, frame: Frame) -> bool:
        """Compute the frame's visual tokens now, so that a later prompt finds them; False if they were there."""
        ...

    def prefill(self, prompt: Prompt) -> None:
        """Prefill the prompt up to its last visual now, so that one that begins alike has less to prefill."""
        ...

    def relevance(self, question: str, frames: Sequence[Frame]) -> tuple[float, ...]:
        """Return for each frame how probable it is that what the question names goes on in it.

        frames: oldest first, info.relevance_period_s apart. BackendError if the model has no head for that.
        """
        ...

    def cache_counts(self) -> CacheCounts:
        """Return the counts of the visual cache since the model was loaded; zeros without one."""
        ...

    def close(self) -> None:
        """Free the model's memory; further calls raise BackendError."""
        ...


@runtime_checkable
class CellBackend(Protocol):
    """A backend whose model tells apart what the cells of a picture show, see models.relevance; few do."""

    info: ModelInfo

    def cells(self, frame: Frame) -> NDArray[np.float32]:
        """Return what each of a frame's cells shows, row by row: [M, F]. BackendError without a relevance head."""
        ...

    def distances(self, frame: Frame) -> NDArray[np.float32] | None:
        """Return how far off the thing in each of a frame's cells is, in metres along the floor: [M].

        A cell without a thing has a number too, which means nothing. None if the model was not taught that.
        """
        ...

    def free_ranges(self, frame: Frame) -> NDArray[np.float32] | None:
        """Return how far, in metres, the floor is free in the direction of each column of a frame's cells: [columns].

        From the left of the picture to the right. None if the model was not taught that.
        """
        ...

    def cell_queries(self, questions: Sequence[str]) -> NDArray[np.float32]:
        """Return what a cell is multiplied with, and last what is added, to tell if a question's thing is in it.

        A row for each question: [N, F + 1].
        """
        ...


def load_backend(
    name: str, checkpoint: Path, *, device: str = "cpu", precision: str = "auto", check_memory: bool = True
) -> Backend:
    """Load a checkpoint with the named backend.

    precision: a name, or "auto" for what the device computes well; the backend's info names what it became.
    check_memory: whether a checkpoint is refused, before anything is loaded, that the device has no room for. Raises
    BackendError for that and for an unknown name, and CheckpointError for an unreadable checkpoint.
    """
    if name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}; known: {', '.join(sorted(BACKENDS))}")
    module, attribute = BACKENDS[name].split(":")
    load: Callable[..., Backend] = getattr(importlib.import_module(module), attribute)
    return load(Path(checkpoint), device=device, precision=precision, check_memory=check_memory)
