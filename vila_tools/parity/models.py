"""The checkpoints of a directory of reference data, each loaded once for every token order that is asked for."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from vila_core.errors import CheckpointError
from vila_core.models.config import CheckpointConfig, TokenOrder
from vila_core.models.stored.checkpoint import DTYPES, load_checkpoint
from vila_core.models.stored.config_reader import read_checkpoint_config
from vila_core.models.stored.layouts import open_layout
from vila_core.models.tokenizer import Tokenizer
from vila_core.models.vlm import VisionLanguageModel


class ModelStore:
    """Loads checkpoints on demand and keeps the last few."""

    def __init__(self, device: str, precision: str, capacity: int = 2) -> None:
        self.device = device
        self.precision = precision
        self._capacity = capacity
        self._models: dict[tuple[Path, TokenOrder | None], VisionLanguageModel] = {}

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the precision names."""
        return DTYPES[self.precision]

    def load(self, path: Path, token_order: TokenOrder | None = None) -> VisionLanguageModel:
        """Return the model of a checkpoint directory; errors as in models.checkpoint.load_checkpoint."""
        key = (path, token_order)
        if key not in self._models:
            while len(self._models) >= self._capacity:
                del self._models[next(iter(self._models))]
            self._models[key] = load_checkpoint(
                path, device=self.device, precision=self.precision, token_order=token_order
            )
        return self._models[key]


@cache
def checkpoints_of(folder: Path) -> tuple[tuple[Path, CheckpointConfig], ...]:
    """The readable checkpoint directories below folder/checkpoints with what they say of themselves, by name."""
    below = folder / "checkpoints"
    known = []
    for path in sorted(below.iterdir()) if below.is_dir() else ():
        with suppress(CheckpointError):  # a case of that checkpoint will tell
            known.append((path, read_checkpoint_config(path)))
    return tuple(known)


@cache
def tokenizer_of(path: Path, *, slow: bool = False) -> Tokenizer:
    """Return a checkpoint's tokenizer. slow: as VILA1.5's code opened it, which reads bytes back differently."""
    return Tokenizer(open_layout(path).tokenizer, slow=slow)


def template_of(path: Path, mode: str) -> str:
    """Return the chat template that a conversation mode of the official code means for a checkpoint.

    "auto" is the one in its config.json, else its tokenizer's own.
    """
    if mode != "auto":
        return mode
    return read_checkpoint_config(path).chat_template
