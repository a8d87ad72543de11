"""Images made small for a bag: without loss where a decision was made of them, as JPEG where people look at them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image

from vila_core.media.packing import Picture, jpeg_of, png_of
from vila_ros.common.conversions import frame_from_image

_PNG_LEVEL = 1  # half again as large as the best, in a tenth of the time


def png_from_image(data: bytes) -> bytes:
    """Return a serialized CompressedImage that holds the pixels of a serialized Image, every bit of them.

    Raises FrameError if they are none.
    """
    return _packed(data, "png", partial(png_of, level=_PNG_LEVEL))


def jpeg_from_image(data: bytes, quality: int) -> bytes:
    """Return a serialized CompressedImage for a serialized Image. quality: 1 to 100. Raises FrameError as above."""
    return _packed(data, "jpeg", partial(jpeg_of, quality=quality))


def _packed(data: bytes, kind: str, pack: Callable[[Picture], bytes]) -> bytes:
    message: Image = deserialize_message(data, Image)
    packed = pack(frame_from_image(message).image)
    return serialize_message(
        CompressedImage(header=message.header, format=f"rgb8; {kind} compressed bgr8", data=packed)
    )
