"""The model that a recorded run is replayed with: the recorded one, computed as it was, unless another is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from vila_core.engine.backend import BACKENDS, EMBEDDED_CHECKPOINT, Backend, load_backend
from vila_core.errors import CheckpointError
from vila_core.machine.arithmetic import DTYPES
from vila_core.machine.precision import AUTO
from vila_core.models.stored.config_reader import config_of
from vila_core.models.stored.layouts import open_layout
from vila_tools.replay.recording import Recording

_ELSEWHERE = {"tensorrt"}  # backends whose checkpoints run on the machine alone that they were made for


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for; None and "" for what was recorded."""

    checkpoint: Path | None = None
    backend: str = ""
    device: str = "cpu"
    precision: str = ""


def load_model_of(recording: Recording, asked: Asked) -> Backend:
    """Load it, and let torch compute in as many threads as it did then.

    Raises CheckpointError for a run of another model than the package's own if none is named, and what load_backend
    raises.
    """
    facts = recording.facts
    wanted = facts.get("checkpoint", "")
    if asked.checkpoint is None and wanted not in ("", config_of(open_layout(EMBEDDED_CHECKPOINT)).name):
        raise CheckpointError(f"the run was recorded with {wanted!r}; give its directory with --checkpoint")
    threads = facts.get("threads", "")
    if threads.isdigit() and int(threads) and asked.device == "cpu":
        torch.set_num_threads(int(threads))
    return load_backend(
        asked.backend or _backend(recording),
        asked.checkpoint or EMBEDDED_CHECKPOINT,
        device=asked.device,
        precision=asked.precision or _precision(recording),
    )


def _backend(recording: Recording) -> str:
    told = next((one.backend for one in recording.decisions if one.backend), "")
    return told if told in BACKENDS and told not in _ELSEWHERE else "torch"


def _precision(recording: Recording) -> str:
    """That of what is not quantized, which is told last."""
    told = next((one.precision for one in recording.decisions if one.precision), "")
    name = told.split(", ")[-1]
    return name if name in DTYPES else AUTO
