"""Animated WebP, which FFmpeg cannot decode: read with Pillow, a cut one as far as it goes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vila_core.errors import MediaError

MAX_PIXELS = 8192 * 4320  # of a frame: 8K; some hundred damaged bytes can claim any size
_HEAD = 12  # bytes: "RIFF", the size of what follows, "WEBP"
_UNTOLD_MS = 100  # what browsers make of a frame that lasts 0


@dataclass(frozen=True, slots=True)
class WebpFrames:
    """frames: when each begins and ends in seconds, and its image [H, W, 3] uint8 RGB."""

    frames: Iterator[tuple[float, float, NDArray[np.uint8]]]
    problems: tuple[str, ...]


def is_webp(file: Path) -> bool:
    """Tell by its first bytes."""
    try:
        with file.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError as err:
        raise MediaError(f"video {file} cannot be read: {err.strerror}") from err
    return head[:4] == b"RIFF" and head[8:] == b"WEBP"


def webp_frames(file: Path) -> WebpFrames:
    """Open the file; a still picture is a film of one frame. The frames raise MediaError if they cannot be decoded."""
    data = file.read_bytes()
    whole = _whole_chunks(data)
    announced = 8 + int.from_bytes(data[4:8], "little")
    if len(data) >= announced:
        return WebpFrames(_frames(file, data), ())
    return WebpFrames(_frames(file, whole), (f"it is cut: {len(data)} of {announced} bytes are there",))


def _frames(file: Path, data: bytes) -> Iterator[tuple[float, float, NDArray[np.uint8]]]:
    begins_ms = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large pictures, which are refused below
            image = Image.open(io.BytesIO(data))
    except Exception as err:  # as in pictures: Pillow raises whatever it runs into
        raise MediaError(f"video {file} is corrupt or cut short: {err}") from err
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise MediaError(
                f"video {file} claims {image.width} x {image.height} pixels; at most {MAX_PIXELS} are read"
            )
        for number in range(getattr(image, "n_frames", 1)):
            try:
                image.seek(number)
                pixels = np.array(image.convert("RGB"))
            except Exception as err:
                raise MediaError(f"video {file} is corrupt: frame {number} cannot be decoded") from err
            ends_ms = begins_ms + (int(image.info.get("duration", 0)) or _UNTOLD_MS)
            yield begins_ms / 1e3, ends_ms / 1e3, pixels
            begins_ms = ends_ms


def _whole_chunks(data: bytes) -> bytes:
    """Return the file up to its last chunk that is whole, its size written anew."""
    at = _HEAD
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > len(data):
            break
        at += 8 + length + length % 2
    return b"RIFF" + (at - 8).to_bytes(4, "little") + data[8:at]
