"""The kernels' resizing against Pillow's, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vila_core.kernels.library import Kernels, kernels
from vila_core.kernels.resize import resize_square
from vila_core.media.images import resize_picture
from vila_core.models.preprocess import resize_image

pytestmark = pytest.mark.skipif(kernels() is None, reason="no compiler")

SETS = ("scalar",) if kernels() is None else kernels().sets


def picture(height, width, seed=0, levels=256):
    return (np.random.default_rng(seed).integers(0, levels, (height, width, 3)) * (255 // (levels - 1))).astype(
        np.uint8
    )


@pytest.mark.parametrize("set_name", SETS)
@settings(deadline=None, max_examples=40)
@given(
    width=st.integers(1, 150),
    height=st.integers(1, 150),
    size=st.integers(1, 130),
    levels=st.sampled_from([2, 256]),  # black and white overshoots
    seed=st.integers(0, 9),
)
@example(width=640, height=480, size=96, levels=256, seed=0)
@example(width=640, height=480, size=192, levels=2, seed=0)
@example(width=1280, height=720, size=448, levels=2, seed=0)
@example(width=384, height=384, size=384, levels=256, seed=0)
def test_it_is_pillows_to_the_bit(set_name, width, height, size, levels, seed):
    height, width = sorted((height, width))
    image = picture(height, width, seed, levels)
    made = resize_square(Kernels(kernels().file, set_name), image, size)
    assert np.array_equal(made, resize_picture(image, size, size))


def test_a_part_of_an_image_is_resized_as_a_copy_of_it():
    part = picture(60, 90)[5:50:2, ::-1]
    assert np.array_equal(resize_image(part, 32), resize_picture(part.copy(), 32, 32))


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 1), (48, 64, 4), (0, 64, 3)])
def test_what_is_no_picture_of_three_colours_is_not_read(shape):
    assert resize_square(kernels(), np.zeros(shape, np.uint8), 32) is None
    assert resize_square(kernels(), np.zeros((48, 64, 3), np.float32), 32) is None


def test_portraits_are_pillows():
    image = picture(90, 60)
    assert resize_square(kernels(), image, 32) is None
    assert np.array_equal(resize_image(image, 32), resize_picture(image, 32, 32))
