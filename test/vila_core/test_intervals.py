"""Intervals beside each other; what the official code computed is in test_golden_text."""

import pytest

from vila_core.intervals import interval_iou, shared_length


@pytest.mark.parametrize(
    ("first", "second", "shared", "iou"),
    [
        ((0.0, 2.0), (0.0, 2.0), 2.0, 1.0),
        ((0.0, 2.0), (1.0, 3.0), 1.0, 1 / 3),
        ((0.0, 4.0), (1.0, 2.0), 1.0, 1 / 4),
        ((0.0, 1.0), (1.0, 2.0), 0.0, 0.0),
        ((0.0, 1.0), (2.0, 3.0), 0.0, 0.0),
        ((1.0, 1.0), (1.0, 1.0), 0.0, 0.0),
    ],
)
def test_what_two_intervals_share(first, second, shared, iou) -> None:
    assert shared_length(first, second) == shared == shared_length(second, first)
    assert interval_iou(first, second) == pytest.approx(iou) == interval_iou(second, first)
