"""Pictures of image messages, from a live topic or from a bag: one decoder with every check.

A message is anything with the fields of sensor_msgs/Image or CompressedImage; nothing here needs ROS.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vila_core.errors import FrameError
from vila_core.media.encodings import DEPTH_ENCODINGS, ENCODINGS, Encoding, to_8_bits

LARGEST_PIXELS = 1 << 25  # of a compressed image: 7680 x 4320 fits
_GREY_MODES = ("L", "I", "I;16", "I;16B")  # of Pillow
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
    def is_bigendian(self) -> Any: ...  # noqa: D102
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


def decode_image(message: RawImage, topic: str = "") -> NDArray[np.uint8]:
    """Return the pixels of an Image, [height, width, 3] uint8 RGB.

    topic: where it came from; 8UC1, which may be anything, is taken for depth where that is a word of the topic's name.
    rgb8 without row padding is a view of the message's own bytes, not a copy. Raises FrameError for an encoding that
    is not in ENCODINGS, a depth image, an empty image, or data that does not fit the header.
    """
    name = message.encoding
    if name in DEPTH_ENCODINGS or (name == "8UC1" and "depth" in re.split("[/_]", topic)):
        raise FrameError(f"image in {name} is a depth image; choose the topic of a colour camera")
    if name not in ENCODINGS:
        raise FrameError(f"image encoding {name[:40]!r} is not supported; publish one of: {', '.join(ENCODINGS)}")
    encoding = ENCODINGS[name]
    _check_size(message, encoding)
    lines = _lines(message, encoding)
    return encoding.to_rgb(lines, message.width, message.height, is_bigendian=bool(message.is_bigendian))


def decode_compressed(message: CompressedPicture) -> NDArray[np.uint8]:
    """Return the pixels of a CompressedImage, [H, W, 3] uint8 RGB, upright.

    A camera that hangs on its side says so in the EXIF tag Orientation, so a picture that has one is turned as it asks:
    that is how the driver meant it to be seen, and how OpenCV and viewers show it. A Bayer mosaic that image_transport
    compressed as it was becomes colour; 16 bits a channel become 8. Raises FrameError for data that cannot be decoded
    whole, for depth, and for more than LARGEST_PIXELS pixels, which a few bytes can claim.
    """
    data = bytes(message.data)
    name = f"compressed image ({message.format[:40]!r})"
    if not data:
        raise FrameError(f"{name} holds no data")
    is_grey = _check_head(data, name)
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
    return _colours(picture, is_grey, message.format, name)


def _colours(picture: NDArray[Any], is_grey: bool, format_text: str, name: str) -> NDArray[np.uint8]:
    """Return what OpenCV decoded as RGB of 8 bits; grey pictures are what the format says that they were."""
    stored = format_text.split(";")[0].strip()  # "bayer_rggb8; jpeg compressed"
    if stored in DEPTH_ENCODINGS:
        raise FrameError(f"{name} is a depth image; choose the topic of a colour camera")
    if picture.dtype not in (np.uint8, np.uint16):
        raise FrameError(f"{name} holds {picture.dtype} pixels; publish one of 8 or 16 bits a channel")
    if is_grey and stored.startswith("bayer_") and stored in ENCODINGS:
        mosaic, code = np.ascontiguousarray(picture[:, :, 0]), ENCODINGS[stored].code
        assert code is not None
        return to_8_bits(cv2.cvtColor(mosaic, code))  # type: ignore[arg-type]
    if is_grey and picture.dtype == np.uint16 and stored != "mono16":
        raise FrameError(f"{name} is a depth image: grey, of 16 bits; choose the topic of a colour camera")
    return to_8_bits(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))  # type: ignore[arg-type]


def _check_head(data: bytes, name: str) -> bool:
    """Tell whether a picture is grey. Raises FrameError unless its first bytes give a size that can be true."""
    if data.startswith(b"\0\0\0\1") or data.startswith(b"\0\0\1"):
        raise FrameError(f"{name} is a packet of video; convert the topic to JPEG images")
    if data[12:].startswith(b"\x89PNG") and not data.startswith(b"\x89PNG"):
        raise FrameError(f"{name} is a depth image; choose the topic of a colour camera")
    is_grey = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_FORMATS) as head:  # reads the head alone
                width, height = head.size
                is_grey = head.mode in _GREY_MODES
                if head.format == "PNG":
                    head.verify()  # OpenCV makes room for whatever length a chunk claims
    except Image.DecompressionBombError:
        width = height = LARGEST_PIXELS
    except Exception as err:  # the parsers of Pillow meet any bytes
        raise FrameError(f"{name} of {len(data)} bytes cannot be decoded") from err
    if width * height > LARGEST_PIXELS:
        raise FrameError(f"{name} of {len(data)} bytes claims more than {LARGEST_PIXELS} pixels")
    return is_grey


def _is_cut_jpeg(data: bytes) -> bool:
    """Tell whether a JPEG's last scan has no end, which OpenCV before 5 fills with grey and does not tell."""
    return data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


def _check_size(message: RawImage, encoding: Encoding) -> None:
    """Raise FrameError for a width or height that an image of this encoding cannot have."""
    size = f"image of {message.width} x {message.height} pixels"
    if message.height == 0 or message.width == 0:
        raise FrameError(f"{size} is empty")
    if min(message.width, message.height) < encoding.least_px:
        raise FrameError(f"{size} is too small for {message.encoding}: at least {encoding.least_px} a side")
    for side, pixels, multiple in (
        ("width", message.width, encoding.width_step),
        ("height", message.height, encoding.height_step),
    ):
        if pixels % multiple:
            raise FrameError(f"{size} in {message.encoding}: its {side} must be a multiple of {multiple}")


def _lines(message: RawImage, encoding: Encoding) -> NDArray[np.uint8]:
    """Return the data as lines of `step` bytes, after checking that it fits."""
    needed = message.width * encoding.pixel_bytes
    if message.step < needed:
        raise FrameError(
            f"image step {message.step} is shorter than a row of {message.width} {message.encoding} pixels "
            f"({needed} bytes)"
        )
    data = np.frombuffer(message.data, np.uint8)
    count = encoding.line_count(message.height)
    if data.size != count * message.step:
        raise FrameError(f"image data holds {data.size} bytes, its header says {count} rows of {message.step}")
    return data.reshape(count, message.step)
