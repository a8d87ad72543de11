"""What every stage that remembers images asks of one."""

from __future__ import annotations

import numpy as np

from vila_core.errors import FrameError
from vila_core.types import Frame


def check_image(frame: Frame) -> None:
    """Raise FrameError unless the image is a non-empty [H, W, 3] uint8 array."""
    image = frame.image
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise FrameError(f"expected a uint8 array, got {getattr(image, 'dtype', type(image).__name__)}")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise FrameError(f"expected an image [H, W, 3], got shape {list(image.shape)}")
