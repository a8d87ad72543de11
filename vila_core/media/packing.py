"""Pictures packed as JPEG or PNG, for the network, bags, browsers and the memory."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vila_core.errors import FrameError

Picture = NDArray[np.uint8]


def jpeg_of(image: Picture, quality: int) -> bytes:
    """Return an RGB image [H, W, 3] as JPEG. quality: 1 to 100. Raises FrameError for one that cannot be packed."""
    return _packed(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])


def png_of(image: Picture, level: int | None = None) -> bytes:
    """Return an RGB image [H, W, 3] as PNG, every bit of it. Raises as above.

    level: 0 to 9, quick to small; None: as OpenCV does without being told, which is quick where much is alike.
    """
    return _packed(image, ".png", [] if level is None else [cv2.IMWRITE_PNG_COMPRESSION, level])


def shrunk(image: Picture, scale: float) -> Picture:
    """Return an image made smaller by a scale, each pixel the mean of what it covers; as it is for a scale above 1."""
    if scale >= 1:
        return image
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _packed(image: Picture, suffix: str, options: list[int]) -> bytes:
    try:
        is_packed, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    except cv2.error:
        is_packed = False
    if not is_packed:
        size = " x ".join(str(side) for side in (*image.shape[1::-1], *image.shape[2:]))
        raise FrameError(f"an image of {size} values ({image.dtype}) could not be packed as {suffix[1:]}")
    return data.tobytes()
