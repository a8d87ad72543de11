"""A backend that sees what a picture says, cell by cell, and memories that it feeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vila_core.actions.grammar import SENTENCES
from vila_core.engine.names import QUESTION
from vila_core.recall.config import MemoryConfig
from vila_core.scene_memory import SceneMemory
from vila_core.testing import SCRIPTED_INFO, ScriptedBackend
from vila_core.types import Frame, Thing, Vocabulary

CELLS = 8  # along each side of a picture
CELL_PX = 8
WIDTH = 16
NAMES = Vocabulary("go to the {thing}", (("red", ()), ("blue", ())), (("ball", ("globe",)), ("vase", ())))
THINGS = [Thing(colour, kind) for kind, _ in NAMES.kinds for colour, _ in NAMES.colours]
_STRENGTH = 6.0


def picture(shown: Mapping[str, tuple[int, int]], *, stamp_s: float = 0.0) -> Frame:
    """A picture that shows things, by their names, at rows and columns of its cells."""
    image = np.zeros((CELLS * CELL_PX, CELLS * CELL_PX, 3), np.uint8)
    texts = [thing.text for thing in THINGS]
    for name, (row, column) in shown.items():
        image[row * CELL_PX : (row + 1) * CELL_PX, column * CELL_PX : (column + 1) * CELL_PX] = 50 * (
            1 + texts.index(name)
        )
    return Frame(image, round(stamp_s * 1e9))


class SeeingBackend(ScriptedBackend):
    """Sees in each cell the thing whose number its brightness is; seed: another one looks otherwise.

    told_m: how far off it says that things are, free_m: how far the floor is free; None: it can't tell.
    """

    told_m: float | None = None
    free_m: float | None = None

    def __init__(self, *script: str, seed: int = 0) -> None:
        super().__init__(
            *(script or (SENTENCES[0],)),
            info=dataclasses.replace(SCRIPTED_INFO, vocabulary=NAMES, relevance_period_s=0.25),
        )
        axes, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((WIDTH, WIDTH)))
        self._looks = axes[: len(THINGS) + 1].astype(np.float32)  # of nothing, then of each thing

    def cells(self, frame: Frame) -> NDArray[np.float32]:
        """What each cell shows: [M, F]."""
        height, width = (size // CELLS for size in frame.image.shape[:2])
        values = frame.image[height // 2 :: height, width // 2 :: width, 0][:CELLS, :CELLS]
        numbers = np.clip(np.round(values / 50).astype(int), 0, len(THINGS))
        return self._looks[numbers.ravel()]

    def distances(self, frame: Frame) -> NDArray[np.float32] | None:
        """How far off the thing in each cell is, if it was made to tell: [M]."""
        return None if self.told_m is None else np.full(CELLS**2, self.told_m, np.float32)

    def free_ranges(self, frame: Frame) -> NDArray[np.float32] | None:
        """How far the floor is free in each direction, if it was made to tell: [columns]."""
        return None if self.free_m is None else np.full(CELLS, self.free_m, np.float32)

    def cell_queries(self, questions: Sequence[str]) -> NDArray[np.float32]:
        """What each question's thing looks like."""
        numbers = {QUESTION.format(thing=thing.text): number for number, thing in enumerate(THINGS)}
        looks = self._looks[[numbers[question] + 1 for question in questions]]
        return np.pad(2 * _STRENGTH * looks, ((0, 0), (0, 1)), constant_values=-_STRENGTH).astype(np.float32)


def make_memory(folder: Path, *, backend: ScriptedBackend | None = None, **options: Any) -> SceneMemory:
    """A memory in the folder's seen.sqlite, of a camera whose mount is known."""
    camera = {"camera_hfov_deg": 90.0, "camera_height_m": 0.9, "camera_pitch_deg": 12.0}
    config = MemoryConfig(file=str(folder / "seen.sqlite"), **(camera | options))
    return SceneMemory(backend or SeeingBackend(), config, now_ns=0)
