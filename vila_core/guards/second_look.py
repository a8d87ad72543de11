"""A second look at the thing that is gone to: what the model's relevance head sees of it, with eyes of its own.

The head tells names apart that the decoder mixes up, and sees what is small; the decoder knows ways and the last steps.
So the decoder chooses, and the head rules out: to stop where the thing is not in view, and to turn away from it where
it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vila_core.engine.backend import CellBackend
from vila_core.engine.names import Floats, NameTable
from vila_core.guards.camera_view import bearing_rad
from vila_core.types import Action, Frame, FrameKey, Stop, Thing, Turn, Vocabulary, wrap_angle

_ASIDE_RAD = math.radians(30.0)  # a thing that lies so far aside after a turn is still gone to, round something else
_LEAST_LOGIT, _LEAST_LEAD = -0.5, -1.0  # what is less like the thing is not it


@dataclass(frozen=True, slots=True)
class Sight:
    """How a frame shows a thing.

    logit: that its likeliest cell shows it. lead: how much more that cell is like it than like anything else that has a
    name. bearing_rad: of that cell, left > 0.
    """

    logit: float
    lead: float
    bearing_rad: float

    @property
    def is_surely_there(self) -> bool:
        """True if the frame shows the thing, rather than anything else."""
        return self.logit >= 0 and self.lead >= 0

    @property
    def may_be_there(self) -> bool:
        """False if the frame does not show the thing."""
        return self.logit >= _LEAST_LOGIT and self.lead >= _LEAST_LEAD

    def rules_out(self, action: Action) -> str:
        """Say why an action is not to be done, "" if it may."""
        if isinstance(action, Stop):
            return "" if self.may_be_there else "without it in view"
        return "away from it" if self._is_turned_from_by(action) else ""

    def _is_turned_from_by(self, action: Action) -> bool:
        if not self.is_surely_there or not isinstance(action, Turn):
            return False
        aside_rad = abs(wrap_angle(self.bearing_rad - action.angle_rad))
        return aside_rad > max(abs(self.bearing_rad), _ASIDE_RAD) + 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """How a frame shows a thing and the floor.

    free_ranges_m: how far the floor is free in the direction of each column of the picture, from its left. distance_m:
    how far off the thing is, if it is there.
    """

    sight: Sight
    free_ranges_m: NDArray[np.float32]
    distance_m: float


class SecondLook:
    """Looks for one thing after the other. Raises BackendError if the model fails."""

    def __init__(self, backend: CellBackend, vocabulary: Vocabulary) -> None:
        self._backend, self._names = backend, NameTable(backend, vocabulary)
        self._last: tuple[FrameKey, Floats] | None = None  # a frame's logits [M, N]: it may be asked about twice

    def at(self, frame: Frame, thing: Thing) -> Sight:
        """Return how a frame shows a thing that the vocabulary names."""
        return self._at(frame, thing)[0]

    def view(self, frame: Frame, thing: Thing) -> View | None:
        """Return how a frame shows a thing, and the floor; None if the model was not taught how far things are."""
        ranges_m, distances_m = self._backend.free_ranges(frame), self._backend.distances(frame)
        if ranges_m is None or distances_m is None:
            return None
        sight, cell = self._at(frame, thing)
        return View(sight, ranges_m, float(distances_m[cell]))

    def _at(self, frame: Frame, thing: Thing) -> tuple[Sight, int]:
        """How a frame shows a thing, and in which cell."""
        if self._last is None or self._last[0] != frame.key:
            self._last = frame.key, self._names.logits(self._backend.cells(frame))
        logits, own = self._last[1], self._names.rows(thing)
        cell = int(logits[:, own].max(axis=1).argmax())
        side = math.isqrt(len(logits))
        mine, others = logits[cell, own].max(), np.delete(logits[cell], own).max(initial=-math.inf)
        sight = Sight(float(mine), float(mine - others), bearing_rad((cell % side + 0.5) / side))
        return sight, cell
