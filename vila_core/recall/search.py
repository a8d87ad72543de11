"""Finds what was looked for among all sightings: the latest place at which it was seen, and the best view of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vila_core.engine.names import Floats
from vila_core.recall.config import CameraGeometry
from vila_core.recall.place import Place, place_of, rays
from vila_core.recall.store import Rows

_GROWTH = 2
_MOST_VOTES = 64  # sightings, the newest, that tell where a thing stands
_HALF_LIFE = 16  # sightings after which one counts half: a thing may have been moved


class Index:
    """All sightings in memory, in order; grows, and is made anew when some are forgotten."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self.count = rows, len(rows.views)

    @property
    def rows(self) -> Rows:
        """What is there."""
        kept, n = self._rows, self.count
        return Rows(kept.views[:n], kept.runs[:n], kept.poses[:n], kept.places[:n], kept.vectors[:n])

    def add(self, more: Rows) -> None:
        """Take more, newer ones."""
        n, end = self.count, self.count + len(more.views)
        if end > len(self._rows.views):
            self._grow(max(end, _GROWTH * n, 1024))
        kept = self._rows
        for mine, new in zip(_columns(kept), _columns(more), strict=True):
            mine[n:end] = new
        self.count = end

    def _grow(self, size: int) -> None:
        def longer(array: NDArray[np.generic]) -> NDArray[np.generic]:
            made = np.empty((size, *array.shape[1:]), array.dtype)
            made[: self.count] = array[: self.count]
            return made

        self._rows = Rows(*(longer(column) for column in _columns(self._rows)))  # type: ignore[arg-type]


def _columns(rows: Rows) -> tuple[NDArray[np.generic], ...]:
    return rows.views, rows.runs, rows.poses, rows.places, rows.vectors


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The best of the views that show what was looked for at its latest place. place: None where it is not known.

    score: of the surest sighting there. views: how many show it.
    """

    row: int
    score: float
    views: int
    place: Place | None


def search(
    rows: Rows, scores: Floats, *, threshold: float, slack: float, camera: CameraGeometry | None
) -> Found | None:
    """Return where what has these scores [N] was last seen; None if none reaches the threshold.

    slack: by how much a sighting may be less than the threshold, or the best, and still tell where the thing stands.
    Poses of different runs have nothing to do with one another: the latest run that saw it counts.
    """
    sure = np.flatnonzero(scores >= threshold)
    if not len(sure):
        return None
    run = rows.runs[sure].max()
    of_run = rows.runs == run
    best = float(scores[of_run].max())
    seen = np.flatnonzero(of_run & (scores >= max(threshold, best) - slack))[-_MOST_VOTES:]
    place = None
    if camera is not None:
        age = np.arange(len(seen))[::-1]
        weights = 0.5 ** (age / _HALF_LIFE) / (1 + np.exp(threshold - slack / 2 - scores[seen]))
        directions = rays(rows.poses[seen], rows.places[seen].astype(float), camera)
        place = place_of(directions, weights)
        if place.agrees.any():
            seen = seen[place.agrees]
    latest = seen[-_HALF_LIFE:]
    row = int(latest[scores[latest].argmax()])
    return Found(row, float(scores[seen].max()), len(np.unique(rows.views[seen])), place)
