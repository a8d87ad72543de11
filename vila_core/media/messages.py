"""Pictures of image messages, from a live topic or from a bag: one decoder with every check.

A message is anything with the fields of sensor_msgs/Image or CompressedImage; nothing here needs ROS.
"""

from __future__ import annotations

import io
import warnings
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vila_core.errors import FrameError

# encoding -> bytes per pixel, and the channels that make RGB
ENCODINGS: dict[str, tuple[int, tuple[int, int, int]]] = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
}

LARGEST_PIXELS = 1 << 25  # of a compressed image: 7680 x 4320 fits
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "JPEG2000", "PPM")


class RawImage(Protocol):
    """The fields of sensor_msgs/Image that are read."""

    @property
    def height(self) -> int: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def encoding(self) -> str: ...  # noqa: D102
    @property
    def step(self) -> int: ...  # noqa: D102
    @property
    def data(self) -> Any: ...  # noqa: D102


class CompressedPicture(Protocol):
    """The fields of sensor_msgs/CompressedImage that are read."""

    @property
    def format(self) -> str: ...  # noqa: D102
    @property
    def data(self) -> Any: ...  # noqa: D102


def decode_image(message: RawImage) -> NDArray[np.uint8]:
    """Return the pixels of an Image, [height, width, 3] uint8 RGB.

    rgb8 without row padding is a view of the message's own bytes, not a copy. Raises FrameError for an encoding that
    is not in ENCODINGS, an empty image, or data that does not fit the header.
    """
    if message.encoding not in ENCODINGS:
        raise FrameError(
            f"image encoding {message.encoding[:40]!r} is not supported; publish one of: {', '.join(ENCODINGS)}"
        )
    size, channels = ENCODINGS[message.encoding]
    pixels = _rows(message, size)[:, : message.width * size].reshape(message.height, message.width, size)
    if message.encoding == "mono8":
        return np.repeat(pixels, 3, axis=2)
    if message.encoding == "rgb8":
        return pixels
    return np.ascontiguousarray(pixels[:, :, list(channels)])


def decode_compressed(message: CompressedPicture) -> NDArray[np.uint8]:
    """Return the pixels of a CompressedImage, [H, W, 3] uint8 RGB.

    Raises FrameError for data that cannot be decoded whole, for more than 8 bits a channel, such as depth, and for more
    than LARGEST_PIXELS pixels, which a few bytes can claim.
    """
    data = bytes(message.data)
    name = f"compressed image ({message.format[:40]!r})"
    if not data:
        raise FrameError(f"{name} holds no data")
    _check_head(data, name)
    if _is_cut_jpeg(data):
        raise FrameError(f"{name} of {len(data)} bytes is cut short: a JPEG without its end")
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as err:
        raise FrameError(f"{name} cannot be decoded: {err.err}") from err
    except MemoryError as err:  # of a codec that takes a damaged size for true
        raise FrameError(f"{name} of {len(data)} bytes cannot be decoded in memory") from err
    if picture is None:
        raise FrameError(f"{name} of {len(data)} bytes cannot be decoded")
    if picture.dtype != np.uint8:
        raise FrameError(f"{name} holds {picture.dtype} pixels; publish one of 8 bits a channel")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _check_head(data: bytes, name: str) -> None:
    """Raise FrameError unless the first bytes are those of a picture of a size that can be true."""
    if data.startswith(b"\0\0\0\1") or data.startswith(b"\0\0\1"):
        raise FrameError(f"{name} is a packet of video; convert the topic to JPEG images")
    if data[12:].startswith(b"\x89PNG") and not data.startswith(b"\x89PNG"):
        raise FrameError(f"{name} is a depth image; choose the topic of a colour camera")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_FORMATS) as head:  # reads the head alone
                width, height = head.size
                if head.format == "PNG":
                    head.verify()  # OpenCV makes room for whatever length a chunk claims
    except Image.DecompressionBombError:
        width = height = LARGEST_PIXELS
    except Exception as err:  # the parsers of Pillow meet any bytes
        raise FrameError(f"{name} of {len(data)} bytes cannot be decoded") from err
    if width * height > LARGEST_PIXELS:
        raise FrameError(f"{name} of {len(data)} bytes claims more than {LARGEST_PIXELS} pixels")


def _is_cut_jpeg(data: bytes) -> bool:
    """Tell whether a JPEG's last scan has no end, which OpenCV before 5 fills with grey and does not tell."""
    return data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


def _rows(message: RawImage, pixel_size: int) -> NDArray[np.uint8]:
    """Return the data as [height, step] bytes, after checking that it fits."""
    if message.height == 0 or message.width == 0:
        raise FrameError(f"image of {message.width} x {message.height} pixels is empty")
    if message.step < message.width * pixel_size:
        raise FrameError(
            f"image step {message.step} is shorter than a row of {message.width} {message.encoding} pixels "
            f"({message.width * pixel_size} bytes)"
        )
    data = np.frombuffer(message.data, np.uint8)
    expected = message.height * message.step
    if data.size != expected:
        raise FrameError(f"image data holds {data.size} bytes, its header says {message.height} rows of {message.step}")
    return data.reshape(message.height, message.step)
