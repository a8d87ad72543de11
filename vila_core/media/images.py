"""What every stage that remembers images asks of one, and how pictures are made smaller."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vila_core.errors import FrameError
from vila_core.types import Frame


def check_image(frame: Frame) -> None:
    """Raise FrameError unless the image is a non-empty [H, W, 3] uint8 array."""
    image = frame.image
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise FrameError(f"expected a uint8 array, got {getattr(image, 'dtype', type(image).__name__)}")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise FrameError(f"expected an image [H, W, 3], got shape {list(image.shape)}")


def resize_picture(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Squash an image [H, W, 3] to [height, width, 3] with Pillow's antialiased bicubic."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def squeezed(frame: Frame, px: int) -> Frame:
    """Return the frame with each side of its image px long, or shorter as it came.

    Squashed to [px, px, 3] afterwards it is what the whole image would be: columns and rows are resized one after the
    other, each rounded (a property test).
    """
    height, width = frame.image.shape[:2]
    image = resize_picture(frame.image, min(width, px), min(height, px))
    return frame if image is frame.image else dataclasses.replace(frame, image=image)
