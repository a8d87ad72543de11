"""How far the floor is free in each direction: what a scanner would measure that nothing is too low for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from vila_sim.flats.grid import OccupancyGrid
from vila_sim.flats.scene import Flat

_POINT_M = 0.02  # radius of what is moved along a ray: the robot's own is the business of who plans with the ranges
_MOST_STEPS = 200


class FreeSpace:
    """Measures ranges in one flat."""

    def __init__(self, flat: Flat) -> None:
        self._grid = OccupancyGrid(flat, robot_radius_m=_POINT_M)
        room_cells = distance_transform_edt(np.pad(self._grid.free_cells, 1))[1:-1, 1:-1]
        self._safe_m = (room_cells - 1.0) * self._grid.cell_m  # how far one may go from a cell in any direction

    def ranges_m(
        self, x_m: NDArray[np.float64], y_m: NDArray[np.float64], angles_rad: NDArray[np.float64], most_m: float
    ) -> NDArray[np.float64]:
        """Return how far the floor is free from points, in directions of the world; most_m where it is farther.

        All arrays are of one shape, as is what is returned.
        """
        grid, cos, sin = self._grid, np.cos(angles_rad), np.sin(angles_rad)
        ranges, open_ = np.zeros(angles_rad.shape), np.ones(angles_rad.shape, bool)
        rows, columns = grid.shape
        for _ in range(_MOST_STEPS):
            row = np.floor((y_m + ranges * sin - grid.y0_m) / grid.cell_m).astype(np.intp)
            column = np.floor((x_m + ranges * cos - grid.x0_m) / grid.cell_m).astype(np.intp)
            is_inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            row, column = row.clip(0, rows - 1), column.clip(0, columns - 1)
            open_ &= is_inside & grid.free_cells[row, column] & (ranges < most_m)
            if not open_.any():
                break
            ranges = np.where(open_, ranges + np.maximum(self._safe_m[row, column], grid.cell_m / 2), ranges)
        return np.minimum(ranges, most_m)


def column_bearings_rad(columns: int, hfov_deg: float) -> NDArray[np.float64]:
    """Return in which directions, left > 0, the columns lie that a pinhole camera's picture is cut into: [columns]."""
    across = (np.arange(columns) + 0.5) / columns
    return np.arctan((1.0 - 2.0 * across) * math.tan(math.radians(hfov_deg) / 2))
