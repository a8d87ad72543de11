"""In which direction lies what is somewhere across a picture: as in a pinhole camera that sees a right angle."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

HALF_PICTURE_RAD = math.radians(45.0)  # cameras to drive by see about so far to each side
_SLOPE = math.tan(HALF_PICTURE_RAD)


def bearing_rad(across: float) -> float:
    """Return the direction, left > 0, of what is so far across a picture: 0 at its left edge, 1 at its right."""
    return math.atan((1.0 - 2.0 * across) * _SLOPE)


def columns_at(bearings_rad: NDArray[np.float64], columns: int) -> NDArray[np.intp]:
    """Return in which column, of so many from the left, lies what is in these directions, which the picture shows."""
    across = 0.5 - np.tan(bearings_rad) / (2 * _SLOPE)
    return (across * columns).astype(np.intp).clip(0, columns - 1)
