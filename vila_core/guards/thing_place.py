"""Where a thing stands, by all that was seen of it from several places."""

from __future__ import annotations

import numpy as np

from vila_core.guards.floor_map import Spot

_KEPT = 10  # sightings
_AGREE_M = 1.0  # sightings that lie so near each other are of one thing
_OLDER = 0.8  # how much a sighting counts, beside the one after it
_DOUBTED = 0.4  # how much one counts once the thing was not seen where it should be
_LEAST = 0.05  # what counts less is forgotten


class ThingPlace:
    """Keeps sightings of one thing; those that the most agree with tell where it is."""

    def __init__(self) -> None:
        self._sightings: list[tuple[Spot, float]] = []  # where it was, and how much that counts

    def note(self, spot: Spot, distance_m: float) -> None:
        """Note that the thing was seen at a spot, from so far; what was seen from near counts more."""
        older = [(each, weight * _OLDER) for each, weight in self._sightings]
        self._sightings = [*older, (spot, (0.3 + 0.25 * distance_m) ** -2)][-_KEPT:]

    def doubt(self) -> None:
        """Note that the thing was not seen where it should be in view."""
        fewer = ((spot, weight * _DOUBTED) for spot, weight in self._sightings)
        self._sightings = [(spot, weight) for spot, weight in fewer if weight > _LEAST]

    @property
    def spot(self) -> Spot | None:
        """Where it stands; None before it was seen, or once that was doubted."""
        if not self._sightings:
            return None
        spots, weights = (
            np.array([each for each, _ in self._sightings]),
            np.array([each for _, each in self._sightings]),
        )
        agree = np.linalg.norm(spots[:, None] - spots[None], axis=2) < _AGREE_M
        own = agree[(agree * weights).sum(axis=1).argmax()]
        x_m, y_m = np.average(spots[own], axis=0, weights=weights[own])
        return float(x_m), float(y_m)
