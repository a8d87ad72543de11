"""Images made small for a bag: without loss where a decision was made of them, as JPEG where people look at them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image

from vila_core.errors import FrameError
from vila_ros.common.conversions import frame_from_image

_PNG_LEVEL = 1  # half again as large as the best, in a tenth of the time


def png_from_image(data: bytes) -> bytes:
    """Return a serialized CompressedImage that holds the pixels of a serialized Image, every bit of them.

    Raises FrameError if they are none.
    """
    return _packed(data, ".png", [cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL])


def jpeg_from_image(data: bytes, quality: int) -> bytes:
    """Return a serialized CompressedImage for a serialized Image. quality: 1 to 100. Raises FrameError as above."""
    return _packed(data, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])


def _packed(data: bytes, suffix: str, options: list[int]) -> bytes:
    message: Image = deserialize_message(data, Image)
    pixels: NDArray[np.uint8] = frame_from_image(message).image
    is_packed, packed = cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    if not is_packed:
        raise FrameError(f"an image of {pixels.shape[1]} x {pixels.shape[0]} could not be packed as {suffix[1:]}")
    kind = "png" if suffix == ".png" else "jpeg"
    return serialize_message(
        CompressedImage(header=message.header, format=f"rgb8; {kind} compressed bgr8", data=packed.tobytes())
    )
