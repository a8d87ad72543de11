"""How the pixels of a sensor_msgs/Image lie in its bytes, and how they become RGB of 8 bits a channel.

The conversions are OpenCV's, in the order in which cv_bridge applies them: first the colours, then the depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

_TO_8_BITS = 255.0 / 65535.0
_FULL_COLOUR = 6  # halves of NV24
_LEAST_BAYER_PX = 3  # a side: of less OpenCV makes a black picture
_MOSAIC_CODES = {  # OpenCV names a mosaic by the second row's second and third pixel, ROS by the first row's first two
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}


@dataclass(frozen=True, slots=True)
class Encoding:
    """How an image is stored.

    code: OpenCV's conversion to RGB; None if it is RGB. channels: of a pixel, or of the first plane's. item_bytes: of a
    channel. halves: the lines of `step` bytes that the data holds for two lines of the picture. width_step,
    height_step: what width and height must be multiples of. least_px: of width and height.
    """

    code: int | None
    channels: int
    item_bytes: int = 1
    halves: int = 2
    width_step: int = 1
    height_step: int = 1
    least_px: int = 1

    @property
    def pixel_bytes(self) -> int:
        """Bytes of a pixel in a line of `step` bytes."""
        return self.channels * self.item_bytes

    def line_count(self, height: int) -> int:
        """Return how many lines of `step` bytes an image of this height holds."""
        return height * self.halves // 2

    def to_rgb(self, lines: NDArray[np.uint8], width: int, height: int, *, is_bigendian: bool) -> NDArray[np.uint8]:
        """Return [height, width, 3] uint8 RGB, a view where nothing is to be converted.

        lines: [line_count(height), step] bytes of an image whose size fits.
        """
        if self.halves == _FULL_COLOUR:
            return _full_colour_to_rgb(lines, width, height)
        packed = lines[:, : width * self.pixel_bytes]
        pixels: Pixels = packed
        if self.item_bytes == 2:
            pixels = np.ascontiguousarray(packed).view(">u2" if is_bigendian else "<u2").astype(np.uint16, copy=False)
        if self.channels > 1:
            pixels = pixels.reshape(height, width, self.channels)
        if self.code is not None:
            pixels = cv2.cvtColor(pixels, self.code)  # type: ignore[assignment]
        return to_8_bits(pixels)


def to_8_bits(pixels: Pixels) -> NDArray[np.uint8]:
    """Return pixels of 16 bits a channel in 8, where 65535 becomes 255; those of 8 bits as they are."""
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, dtype=np.uint8)
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=_TO_8_BITS), dtype=np.uint8)


def _full_colour_to_rgb(lines: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Return the RGB of a plane of Y and one of U and V for each pixel, whose lines are twice as long.

    OpenCV knows no NV24, but YUYV, where two pixels share U and V: here both are the same one.
    """
    colours = lines[height:].reshape(height, -1)[:, : 2 * width]
    luma = cv2.resize(lines[:height, :width], (2 * width, height), interpolation=cv2.INTER_NEAREST)
    twice = cv2.cvtColor(cv2.merge([luma, colours]), cv2.COLOR_YUV2RGB_YUYV)
    once = np.empty((height, width, 3), np.uint8)
    cv2.mixChannels([twice.reshape(height, width, 6)], [once], [0, 0, 1, 1, 2, 2])
    return once


_COLOURS = {  # without the depth
    "rgb": (None, 3),
    "bgr": (cv2.COLOR_BGR2RGB, 3),
    "rgba": (cv2.COLOR_RGBA2RGB, 4),
    "bgra": (cv2.COLOR_BGRA2RGB, 4),
    "mono": (cv2.COLOR_GRAY2RGB, 1),
}
_UYVY = Encoding(cv2.COLOR_YUV2RGB_UYVY, 2, width_step=2)
_YUYV = Encoding(cv2.COLOR_YUV2RGB_YUYV, 2, width_step=2)

ENCODINGS: dict[str, Encoding] = {
    **{f"{name}8": Encoding(code, channels) for name, (code, channels) in _COLOURS.items()},
    **{f"{name}16": Encoding(code, channels, item_bytes=2) for name, (code, channels) in _COLOURS.items()},
    "8UC1": Encoding(cv2.COLOR_GRAY2RGB, 1),
    "8UC3": Encoding(cv2.COLOR_BGR2RGB, 3),  # OpenCV's order, which is what has no names of channels comes from
    "8UC4": Encoding(cv2.COLOR_BGRA2RGB, 4),
    "16UC3": Encoding(cv2.COLOR_BGR2RGB, 3, item_bytes=2),
    "16UC4": Encoding(cv2.COLOR_BGRA2RGB, 4, item_bytes=2),
    "uyvy": _UYVY,
    "yuv422": _UYVY,
    "yuyv": _YUYV,
    "yuv422_yuy2": _YUYV,
    "nv12": Encoding(cv2.COLOR_YUV2RGB_NV12, 1, halves=3, width_step=2, height_step=2),
    "nv21": Encoding(cv2.COLOR_YUV2RGB_NV21, 1, halves=3, width_step=2, height_step=2),
    "nv24": Encoding(cv2.COLOR_YUV2RGB_YUYV, 1, halves=_FULL_COLOUR),
    **{
        f"bayer_{order}{8 * item_bytes}": Encoding(code, 1, item_bytes, least_px=_LEAST_BAYER_PX)
        for item_bytes in (1, 2)
        for order, code in _MOSAIC_CODES.items()
    },
}

DEPTH_ENCODINGS = ("16UC1", "32FC1")  # REP-118
