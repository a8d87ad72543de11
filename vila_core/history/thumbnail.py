"""What a picture is reduced to before it is compared with others: a few hundred numbers in a third of a millisecond."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT = 64, 48  # cells in which detail is looked for; the mean of a cell has little of the sensor's noise
_ROWS = 240  # of a taller image so many, or a few more, are looked at
_DETAIL_SHARE = 0.99  # the sharpest hundredth of the cells says how much detail there is
_LEAST_DETAIL = 12.0  # grey levels; in 30 simulated drives only plain walls from near have less, the median is 110
_LEAST_NEIGHBOURS = 0.3  # correlation of neighbouring cells; noise has 0, the pictures of those drives 0.8 and more
_BLACK_LEVEL = 30.0  # mean grey level; darker without detail is no wall in a lit room
_WALL_CONTRAST = 20.0  # grey levels; a wall that fills the picture has less, what is blurred or noise more


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnail:
    """Hold what is compared of a picture.

    shape: [768] float32, 24 x 32 cells without mean, of length 1, so that exposure doesn't matter. contrast: standard
    deviation of the cells, grey levels. digest: the same for identical pictures only. detail: curvature of the
    sharpest cells, grey levels. edges: share of the cells that have such detail. neighbours: correlation of
    neighbouring cells. level, spread: mean and standard deviation of single pixels, grey levels.
    """

    shape: NDArray[np.float32]  # [768]
    contrast: float
    digest: int
    detail: float
    edges: float
    neighbours: float
    level: float
    spread: float

    @property
    def is_noise(self) -> bool:
        """True if neighbouring cells have nothing in common."""
        return self.neighbours < _LEAST_NEIGHBOURS

    @property
    def is_blank(self) -> bool:
        """True if nothing can be told from the picture: black, covered, blurred to nothing, or noise."""
        return self.detail < _LEAST_DETAIL or self.is_noise

    @property
    def may_be_wall(self) -> bool:
        """True if a blank picture may show a plain wall from near."""
        return self.level >= _BLACK_LEVEL and self.spread < _WALL_CONTRAST

    @property
    def blank_text(self) -> str:
        """What a blank picture looks like."""
        if self.level < _BLACK_LEVEL:
            return "dark"
        if self.is_noise and self.spread >= _WALL_CONTRAST:
            return "nothing but noise"
        return "uniform" if self.may_be_wall else "blurred"

    def difference(self, shapes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how far the picture is from others, whatever their exposure: grey levels, [...] for [..., 768]."""
        likeness = np.clip(shapes @ self.shape, 0.0, 1.0)
        distance: NDArray[np.float32] = self.contrast * np.sqrt(1.0 - likeness**2)
        return distance


def thumbnail(image: NDArray[np.uint8]) -> Thumbnail:
    """Reduce an image [H, W, 3] to what is compared of it."""
    height, width, _ = image.shape
    pixels = np.ascontiguousarray(image[:: max(1, height // _WIDTH), :: max(1, width // _WIDTH)])
    rows = image[:: max(1, height // _ROWS)]
    small = cv2.resize(rows, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
    cells = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    curvature = _curvature(cells)
    level, spread = cv2.meanStdDev(pixels[..., 1])
    shape, contrast = _shape(cells)
    return Thumbnail(
        shape,
        contrast,
        zlib.crc32(pixels.data),
        _detail(curvature),
        float((curvature >= _LEAST_DETAIL).mean()),
        _neighbours(cells),
        float(level[0, 0]),
        float(spread[0, 0]),
    )


def _shape(cells: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    coarse = cv2.resize(cells, (_WIDTH // 2, _HEIGHT // 2), interpolation=cv2.INTER_AREA).ravel()
    coarse -= coarse.mean()
    length = float(np.linalg.norm(coarse))
    shape: NDArray[np.float32] = coarse / np.float32(max(length, 1e-6))
    return shape, length / math.sqrt(coarse.size)


def _curvature(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    curvature: NDArray[np.float32] = np.abs(cv2.Laplacian(cells, cv2.CV_32F, ksize=1)[1:-1, 1:-1]).ravel()
    return curvature


def _detail(curvature: NDArray[np.float32]) -> float:
    place = int(_DETAIL_SHARE * curvature.size)
    return float(np.partition(curvature, place)[place])


def _neighbours(cells: NDArray[np.float32]) -> float:
    left, right = (side - side.mean() for side in (cells[:, :-1], cells[:, 1:]))
    scale = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(np.vdot(left, right)) / scale if scale > 1e-3 else 0.0
