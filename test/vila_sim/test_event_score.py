"""Intervals from what is seen, and how published ones are scored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.config import EventsConfig
from vila_sim.events.event_score import score_query, total
from vila_sim.truth import as_events, intervals_of


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("........", []),
        ("..####..", [(2.0, 5.0)]),
        ("########", [(0.0, 7.0)]),
        ("##.##...", [(0.0, 4.0)]),  # a gap of one image is closed
        ("##..##..", [(0.0, 1.0), (4.0, 5.0)]),
        ("..#...##", [(6.0, 7.0)]),  # one image alone is no interval
        ("#.#.....", [(0.0, 2.0)]),
    ],
)
def test_runs_of_images_are_intervals(mask: str, expected: list[tuple[float, float]]) -> None:
    seen = np.array([letter == "#" for letter in mask])
    assert list(intervals_of(seen, np.arange(8.0))) == expected


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_intervals_are_ordered_and_apart(mask: list[bool]) -> None:
    intervals = intervals_of(np.array(mask), np.arange(len(mask), dtype=float))
    assert all(start < end for start, end in intervals)
    assert all(a[1] + 1 < b[0] for a, b in zip(intervals, intervals[1:], strict=False))
    assert all(any(mask[int(start) : int(end) + 1]) for start, end in intervals)


def test_near_intervals_are_one_event_and_a_short_one_is_none() -> None:
    intervals = [(5.0, 5.25), (0.0, 1.0), (1.75, 3.0)]
    assert as_events(intervals, EventsConfig(merge_gap_s=1.0, min_duration_s=0.5)) == ((0.0, 3.0),)


def test_a_score_counts_what_was_met_missed_and_made_up() -> None:
    met = score_query("met", [(0.0, 2.0), (5.0, 6.0)], [(0.0, 2.0), (5.0, 6.0)], [(0.0, 2.0)])
    made_up = score_query("made up", [(0.0, 1.0)], [(0.0, 1.0)], [(0.0, 2.0), (3.0, 4.0)])
    silent, loud = score_query("silent", [], [], []), score_query("loud", [], [], [(1.0, 2.0)])
    assert (met.ious, met.false_alarms) == ((1.0, 0.0), 0)
    assert (made_up.ious, made_up.false_alarms, loud.false_alarms) == ((0.5,), 1, 1)
    score = total([met, made_up, silent, loud])
    assert (score.miou, score.p_at_05) == (pytest.approx(0.5), pytest.approx(2 / 3))
    assert (score.false_alarms, score.not_seen_recall) == (2, 0.5)
    assert total([silent]).miou == 1.0


def test_an_alarm_near_a_glimpse_is_not_false() -> None:
    assert score_query("glimpsed", [], [(4.0, 4.25)], [(1.0, 3.0), (5.0, 6.0), (6.0, 7.0)]).false_alarms == 1
