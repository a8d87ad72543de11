"""Pillow's antialiased bicubic for the pictures that a tower reads, to the bit and several times as quick."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vila_core.kernels.library import FilterCall, Kernels, ResizeCall

_SUPPORT = 2.0  # of the cubic, in pixels of the coarser picture
_POINT = 22  # bits behind the point of a weight, as Pillow has them for 8-bit pictures


def resize_square(found: Kernels, image: NDArray[np.uint8], size: int) -> NDArray[np.uint8] | None:
    """Squash an image [H, W, 3] to [size, size, 3]; None for a portrait, whose rows Pillow sometimes does first.

    None, too, for what is no such image of bytes.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        return None
    height, width = image.shape[:2]
    if height > width:
        return None
    image = np.ascontiguousarray(image)
    out = np.empty((size, size, 3), np.uint8)
    columns, rows = _filter(width, size), _filter(height, size)
    call = ResizeCall(image.ctypes.data, out.ctypes.data, height, width, columns.call(), rows.call())
    found.resize(ctypes.byref(call))
    return out


@dataclass(frozen=True, slots=True, eq=False)
class _Filter:
    """first and count [outputs] of the inputs that make each output, weights [outputs, taps] of them; all int32."""

    first: NDArray[np.int32]
    count: NDArray[np.int32]
    weights: NDArray[np.int32]

    def call(self) -> FilterCall:
        return FilterCall(self.first.ctypes.data, self.count.ctypes.data, self.weights.ctypes.data, *self.weights.shape)


@lru_cache(maxsize=32)
def _filter(inputs: int, outputs: int) -> _Filter:
    """What makes `outputs` pixels of `inputs`, as Pillow's Resample.c has it."""
    scale = inputs / outputs
    wide = max(scale, 1.0)
    centres = (np.arange(outputs) + 0.5) * scale
    first = np.maximum((centres - _SUPPORT * wide + 0.5).astype(np.int32), 0)
    count = np.minimum((centres + _SUPPORT * wide + 0.5).astype(np.int32), inputs) - first
    taps = np.arange(count.max())
    distances = (taps + first[:, None] - centres[:, None] + 0.5) * (1.0 / wide)
    weights = np.where(taps < count[:, None], _cubic(np.abs(distances)), 0.0)
    weights /= np.cumsum(weights, axis=1)[:, -1:]  # summed one after the other
    whole = np.trunc(weights * (1 << _POINT) + np.where(weights < 0, -0.5, 0.5))
    return _Filter(first, count, np.ascontiguousarray(whole, np.int32))


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic with a = -0.5, for x >= 0."""
    near, far = ((1.5 * x - 2.5) * x) * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
