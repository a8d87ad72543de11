"""What a camera sees in a corridor without end: floor, ceiling and walls whose patterns move as the robot does."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from vila_core.types import Pose

WIDTH_PX, HEIGHT_PX = 160, 120
_FOCAL_PX = 80.0  # of 90 degrees
_WALL_M, _FLOOR_M, _CEILING_M = 1.5, -0.5, 1.5  # from the camera
_CELL_M = 0.25  # of the patterns
_LENGTH, _BREADTH = 512, 16  # cells: the pattern comes again after 128 m
_FOG_M = 4.0  # things fade over this distance: far cells are smaller than pixels
_NOISE_LEVELS = 3.0


class Corridor:
    """Renders pictures; the seed fixes the patterns and the sensor's noise."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._cells = self._rng.integers(20, 236, (3, _BREADTH, _LENGTH, 3), np.uint8)
        self._noise = self._rng.normal(0, _NOISE_LEVELS, (2 * HEIGHT_PX, 2 * WIDTH_PX, 1)).astype(np.float32)
        columns, rows = np.meshgrid(np.arange(WIDTH_PX) + 0.5, np.arange(HEIGHT_PX) + 0.5)
        left, up = (WIDTH_PX / 2 - columns) / _FOCAL_PX, (HEIGHT_PX / 2 - rows) / _FOCAL_PX
        self._rays = np.stack([np.ones_like(left), left, up]).astype(np.float32)  # [3, H, W]

    def view(self, pose: Pose) -> NDArray[np.uint8]:
        """Return the picture [H, W, 3] from a pose in the corridor along x."""
        cos, sin = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
        x, y, z = cos * self._rays[0] - sin * self._rays[1], sin * self._rays[0] + cos * self._rays[1], self._rays[2]
        with np.errstate(divide="ignore"):
            to_wall = np.where(y > 0, _WALL_M - pose.y_m, -_WALL_M - pose.y_m) / y
            to_level = np.where(z > 0, _CEILING_M, _FLOOR_M) / z
        distance = np.minimum(np.minimum(to_wall, to_level), 50.0)  # of the ray's length
        is_wall = to_wall < to_level
        along = pose.x_m + distance * x
        across = np.where(is_wall, distance * z, pose.y_m + distance * y)
        surface = np.where(is_wall, 0, np.where(z > 0, 1, 2))
        column = np.floor(along / _CELL_M).astype(np.int64) % _LENGTH
        row = (np.floor(across / _CELL_M).astype(np.int64) + np.where(y > 0, 0, 5)) % _BREADTH
        clear = np.exp(-distance / _FOG_M)[..., None].astype(np.float32)
        picture = cv2.blur(self._cells[surface, row, column].astype(np.float32), (2, 2))
        return (128 + clear * (picture - 128) + self._grain()).clip(0, 255).astype(np.uint8)

    def _grain(self) -> NDArray[np.float32]:
        row, column = self._rng.integers(HEIGHT_PX), self._rng.integers(WIDTH_PX)
        return self._noise[row : row + HEIGHT_PX, column : column + WIDTH_PX]
