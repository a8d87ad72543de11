"""What textures are drawn with: smooth noise, coordinates, plain ground."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rgb = tuple[float, float, float]
Pixels = NDArray[np.float64]  # [size, size, 3], 0..1
Draw = Callable[[np.random.Generator], Pixels]

SIZE_PX = 256


@dataclass(frozen=True, slots=True)
class Texture:
    """How to draw a texture, and how much of the world one copy of it covers.

    tile_m: edge of one copy; 0 stretches a single copy over the surface. is_wrapped: a whole copy covers each of the
    six faces of a box; others are projected along the box's z.
    """

    draw: Draw
    tile_m: float
    is_wrapped: bool = False


def plain(colour: Rgb, size: int = SIZE_PX) -> Pixels:
    """One colour: [size, size, 3]."""
    return np.full((size, size, 3), colour, np.float64)


def noise(rng: np.random.Generator, cells: int, size: int = SIZE_PX) -> NDArray[np.float64]:
    """Smooth noise that repeats without a seam, about -1..1: [size, size]."""
    coarse = rng.uniform(-1.0, 1.0, (cells, cells))
    at = np.arange(size) * cells / size
    low = at.astype(int)
    weight = at - low
    weight = weight * weight * (3 - 2 * weight)
    high = (low + 1) % cells
    rows = coarse[low] * (1 - weight[:, None]) + coarse[high] * weight[:, None]
    smooth: NDArray[np.float64] = rows[:, low] * (1 - weight) + rows[:, high] * weight
    return smooth


def clouds(rng: np.random.Generator, size: int = SIZE_PX) -> NDArray[np.float64]:
    """Noise of three scales: [size, size]."""
    return sum((noise(rng, cells, size) / share for cells, share in ((4, 2), (8, 3), (32, 5))), np.zeros(()))


def coordinates(size: int = SIZE_PX) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Column and row of each pixel, 0..1: two [size, size]."""
    line = (np.arange(size) + 0.5) / size
    return np.broadcast_to(line, (size, size)), np.broadcast_to(line[:, None], (size, size))
