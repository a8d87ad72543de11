"""A picture as a camera of another field of view would have taken it: what a model was trained with."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from vila_core.types import Frame


def as_trained_with(frame: Frame, hfov_deg: float, wanted_deg: float | None) -> Frame:
    """Return a frame as a model is shown it, see as_seen_over.

    hfov_deg: NaN, and wanted_deg: None, are not known; then it is shown as it is.
    """
    if math.isnan(hfov_deg) or wanted_deg is None:
        return frame
    return dataclasses.replace(frame, image=as_seen_over(frame.image, hfov_deg, wanted_deg))


def as_seen_over(image: NDArray[np.uint8], hfov_deg: float, wanted_deg: float) -> NDArray[np.uint8]:
    """Return a picture [H, W, 3] of a pinhole camera as a square one that sees so many degrees to both sides and up.

    hfov_deg: what it sees now from left to right. What lies beyond is cut off; what it did not see is filled with its
    outermost pixels, drawn out: a plain border is taken for a wall. It has no more pixels than it had.
    """
    height, width = image.shape[:2]
    side = max(1, round(width * math.tan(math.radians(wanted_deg) / 2) / math.tan(math.radians(hfov_deg) / 2)))
    if height == width == side:
        return image
    top, left = (max(0, (length - side) // 2) for length in (height, width))
    shown = image[top : top + min(side, height), left : left + min(side, width)]
    most = max(1, math.isqrt(height * width))
    if side > most:
        size = (max(1, round(length * most / side)) for length in (shown.shape[1], shown.shape[0]))
        shown, side = np.asarray(cv2.resize(shown, tuple(size), interpolation=cv2.INTER_AREA), np.uint8), most
    above, before = ((side - length) // 2 for length in shown.shape[:2])
    below, behind = side - shown.shape[0] - above, side - shown.shape[1] - before
    return np.asarray(cv2.copyMakeBorder(shown, above, below, before, behind, cv2.BORDER_REPLICATE), np.uint8)
