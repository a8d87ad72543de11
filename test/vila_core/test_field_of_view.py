"""A picture as a camera of another field of view takes it: directions stay, and nothing is made up but the border."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vila_core.media.field_of_view import as_seen_over

SIZES = st.tuples(st.integers(48, 200), st.integers(48, 200))


def directions(height: int, width: int, hfov_deg: float) -> np.ndarray:
    """Tangents of each pixel's direction, to the right and down: [H, W, 2]."""
    focal = width / 2 / math.tan(math.radians(hfov_deg) / 2)
    right = (np.arange(width) + 0.5 - width / 2) / focal
    down = (np.arange(height) + 0.5 - height / 2) / focal
    return np.stack(np.broadcast_arrays(right[None], down[:, None]), axis=-1)


@given(SIZES, st.floats(20, 150), st.floats(60, 120))
def test_what_is_shown_lies_where_it_lay(size, hfov_deg, wanted_deg) -> None:
    height, width = size
    told = directions(height, width, hfov_deg)
    most = np.abs(told).max(axis=(0, 1))
    image = np.zeros((height, width, 3), np.uint8)
    image[..., :2] = np.round(127.5 + 127.5 * told / most)  # colours that tell the direction
    shown = as_seen_over(image, hfov_deg, wanted_deg)
    side = len(shown)
    assert shown.shape == (side, side, 3) and shown.dtype == np.uint8 and side <= math.sqrt(height * width)
    wanted = directions(side, side, wanted_deg)
    pixel = 2.5 * max(math.tan(math.radians(wanted_deg) / 2) * 2 / side, *(2 * most / (width, height)))
    error = np.abs((shown[..., :2] / 127.5 - 1) * most - np.clip(wanted, -most, most))
    assert error.max() <= pixel  # beyond the edge: as at the edge


def test_a_picture_that_fits_is_left_as_it_is() -> None:
    image = np.zeros((96, 96, 3), np.uint8)
    assert as_seen_over(image, 90.0, 90.0) is image


def test_a_narrow_one_is_filled_up_and_a_wide_one_cut() -> None:
    image = np.random.default_rng(0).integers(0, 255, (100, 200, 3), np.uint8)
    half = math.degrees(2 * math.atan(2.0))  # twice as wide as a right angle
    np.testing.assert_array_equal(as_seen_over(image, half, 90.0), image[:, 50:150])
    filled = as_seen_over(image[:, :100], 90.0, half)
    assert filled.shape == (100, 100, 3)
    assert (filled[:25, 50] == filled[25, 50]).all() and (filled[50, 75:] == filled[50, 74]).all()


@given(st.tuples(st.integers(1, 70), st.integers(1, 70)), st.floats(10, 170), st.floats(10, 170))
def test_any_picture_of_any_width_can_be_shown(size, hfov_deg, wanted_deg) -> None:
    shown = as_seen_over(np.full((*size, 3), 7, np.uint8), hfov_deg, wanted_deg)
    assert shown.shape[0] == shown.shape[1] >= 1 and (shown == 7).all() and shown.size <= 3 * max(1, size[0] * size[1])
