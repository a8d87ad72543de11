"""What all films share: size, colours, letters, the camera's picture, and the file."""

from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFont

from vila_core.files.writing import written_whole

SIZE = (1280, 720)
FPS = 10
BACKGROUND, INK, FAINT = (18, 21, 27), (235, 238, 242), (120, 128, 140)
ACCENT, GOOD, BAD, BAR = (255, 176, 32), (72, 199, 116), (240, 90, 80), (70, 120, 200)


def write_video(path: Path, pictures: Iterable[NDArray[np.uint8]]) -> None:
    """Write pictures [720, 1280, 3] RGB as H.264 video, 10 a second."""
    import av  # of an extra that what only draws does without

    with written_whole(path) as made, av.open(str(made), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS), options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def paste_camera(canvas: Image.Image, jpeg: bytes, box: tuple[int, int, int, int]) -> None:
    """Paste a camera's picture into a box (left, top, right, bottom), as large as it fits."""
    left, top, right, bottom = box
    image = Image.open(io.BytesIO(jpeg))
    scale = min((right - left) / image.width, (bottom - top) / image.height)
    size = (round(image.width * scale), round(image.height * scale))
    canvas.paste(image.resize(size, Image.Resampling.BILINEAR), (left, top))


def shortened(text: str, length: int) -> str:
    """Return the text, or its beginning if it has more characters than that."""
    return text if len(text) <= length else text[: length - 1] + "…"


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Return Pillow's own letters in a size."""
    return ImageFont.load_default(size)
