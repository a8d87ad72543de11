"""Pictures packed as JPEG and PNG."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vila_core.errors import FrameError
from vila_core.media.packing import jpeg_of, png_of, shrunk

IMAGE = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)


def unpacked(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


@pytest.mark.parametrize("level", [None, 0, 3, 9])
def test_png_keeps_every_bit(level):
    assert np.array_equal(unpacked(png_of(IMAGE, level)), IMAGE)


def test_jpeg_keeps_red_red_and_is_smaller_the_worse_it_is():
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 250
    assert np.abs(unpacked(jpeg_of(red, 90)).astype(int) - red).max() < 8
    assert len(jpeg_of(IMAGE, 30)) < len(jpeg_of(IMAGE, 60)) < len(jpeg_of(IMAGE, 95))


def test_what_is_made_smaller_is_the_mean_of_what_it_covers_and_never_nothing():
    assert np.allclose(shrunk(IMAGE[:, :40], 0.5)[3, 4], IMAGE[6:8, 8:10].reshape(4, 3).mean(0), atol=0.5)
    assert shrunk(IMAGE, 1.0) is IMAGE and shrunk(IMAGE, 2.0) is IMAGE
    assert shrunk(IMAGE, 0.001).shape == (1, 1, 3)
    assert shrunk(IMAGE, 0.5).shape == (15, 20, 3)


@pytest.mark.parametrize(
    ("image", "named"),
    [
        (np.zeros((1, 70000, 3), np.uint8), "70000 x 1 x 3 values"),
        (np.zeros((0, 8, 3), np.uint8), "8 x 0 x 3 values"),
        (np.zeros((8, 8, 3), np.int64), "int64"),
    ],
)
def test_what_cannot_be_packed_is_named(image, named):
    with pytest.raises(FrameError, match=f"{named}.* could not be packed as jpg"):
        jpeg_of(image, 80)
