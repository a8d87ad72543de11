"""What eyes that learn no more see of each frame, worked out once: a lesson draws a frame many times."""

from __future__ import annotations

import tempfile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vila_core.models.relevance import RelevanceHead
from vila_tools.training.autocast import autocast
from vila_tools.training.frame_lessons import Frames
from vila_tools.training.vision_stage import augment

_MOST = 65504.0  # of float16


class SeenFrames:
    """Reads the eyes' features of rows, kept in a file on disk that is gone when this is: 80 KB a frame for vila-nano.

    A frame's brightness, tint and noise are varied, by its row: it is the same however often it is drawn.
    """

    def __init__(self, head: RelevanceHead, frames: Frames) -> None:
        self._head, self._frames = head, frames
        config = head.config
        shape = len(frames.rows), config.grid**2, config.eyes_width
        file = tempfile.TemporaryFile(dir=frames.folder)  # noqa: SIM115 (the map keeps it)
        self._kept = np.memmap(file, np.float16, "w+", shape=shape)
        self._is_kept = np.zeros(len(frames.rows), bool)

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        """[B] rows of the rollouts -> [B, M, E]."""
        places = rows - self._frames.rows.start
        new = np.unique(places[~self._is_kept[places]])
        if len(new):
            self._kept[new] = self._features(new + self._frames.rows.start)
            self._is_kept[new] = True
        device = self._head.score.weight.device
        return torch.from_numpy(self._kept[places].astype(np.float32)).to(device)

    def _features(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        pictures = torch.from_numpy(self._frames.rollouts.images[rows])
        varied = torch.cat(
            [
                augment(picture[None], np.random.default_rng(int(row)))
                for row, picture in zip(rows, pictures, strict=True)
            ]
        ).to(self._head.score.weight.device)
        with torch.no_grad(), autocast(varied.device, self._frames.precision):
            return self._head.features(varied).float().clamp(-_MOST, _MOST).half().numpy(force=True)
