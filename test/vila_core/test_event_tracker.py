"""Events followed from window to window."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.config import EventsConfig
from vila_core.events.tracker import EvaluationWindow, EventTracker
from vila_core.types import EventQuery, Interval, LocalizationMethod

S = 1_000_000_000
STEP = S // 4
CONFIG = EventsConfig()  # confirms after 2, closes after 2, 0.5 s at least, 1 s of gap
QUERY = EventQuery("q1", "the door opens", "door")


def found(*pairs, probability=0.9):
    return [Interval(round(start * S), round(end * S), probability, STEP) for start, end in pairs]


def evaluated(start, newest):
    return EvaluationWindow(round(start * S), round(newest * S), "front", LocalizationMethod.RELEVANCE)


class Play:
    """A tracker that is told of evaluations in seconds, and what it reported so far."""

    def __init__(self, **changes):
        self.numbers = itertools.count(1)
        self.tracker = EventTracker(QUERY, dataclasses.replace(CONFIG, **changes), self.numbers)
        self.reports = []

    def see(self, newest, *pairs, start=0.0):
        new = self.tracker.update(found(*pairs), evaluated(start, newest))
        self.reports += new
        return [(e.number, e.start_ns / S, e.end_ns / S, e.is_open) for e in new]


def test_confirmed_then_closed():
    play = Play()
    assert play.see(3, (2, 3)) == []
    assert play.see(4, (2, 4)) == [(1, 2.0, 4.0, True)]
    assert play.see(5, (2, 5)) == []
    assert play.see(6, (2, 5.5)) == []  # may go on
    assert play.see(7, (2, 5.5)) == [(1, 2.0, 5.5, False)]
    assert play.see(8, (2, 5.5)) == []
    report = play.reports[0]
    assert (report.query_id, report.label, report.camera, report.stamp_ns) == ("q1", "door", "front", 4 * S)
    assert (report.probability, report.quantization_ns, report.method) == (0.9, STEP, LocalizationMethod.RELEVANCE)


def test_over_when_it_is_confirmed_is_one_report():
    play = Play()
    assert play.see(9, (2, 5)) == []
    assert play.see(10, (2, 5)) == [(1, 2.0, 5.0, False)]
    assert play.see(11, (2, 5), (7, 8)) == []
    assert play.see(12, (2, 5.3), (7, 8)) == [(2, 7.0, 8.0, False)]


def test_one_evaluation_is_not_enough():
    play = Play()
    assert play.see(3, (2, 3)) == play.see(4) == play.see(5, (2, 5)) == []
    assert play.see(6) == []


def test_an_alarm_of_a_relevance_head_must_be_surer_than_an_answer():
    play, enough = Play(), CONFIG.confirm_relevance

    def see(newest, probability, method=LocalizationMethod.RELEVANCE):
        window = dataclasses.replace(evaluated(0, newest), method=method)
        return play.tracker.update(found((2, newest), probability=probability), window)

    assert all(see(newest, enough - 0.01) == () for newest in (3, 4, 5))
    (report,) = see(6, enough)
    assert (report.number, report.probability, report.is_open) == (1, enough, True)
    assert see(7, CONFIG.min_probability) == ()  # once told it may go on with less
    play = Play()
    see(3, CONFIG.min_probability, LocalizationMethod.TIME_TOKENS)
    assert len(see(4, CONFIG.min_probability, LocalizationMethod.TIME_TOKENS)) == 1


@pytest.mark.parametrize(("sure_at", "is_told"), [(6, True), (10, True), (10.5, False), (15, False)])
def test_what_evaluations_were_not_sure_of_is_no_alarm_once_it_is_long_over(sure_at, is_told):
    play, told = Play(), []
    for half_seconds in range(8, 40):
        newest = half_seconds / 2
        sureness = CONFIG.confirm_relevance if newest >= sure_at else CONFIG.min_probability
        told += play.tracker.update(found((4, min(newest, 5)), probability=sureness), evaluated(0, newest))
    assert bool(told) is is_told


def test_what_went_on_long_after_it_was_closed_is_open_again():
    play = Play()
    for newest in (3, 4, 5, 6):
        play.see(newest, (2, min(newest, 4)))
    assert play.reports[-1].is_open is False
    for newest in (7, 8, 9, 10, 11):
        assert play.see(newest, (2, 4)) == []
    assert play.see(12, (2, 12)) == []
    assert play.see(13, (2, 13)) == [(1, 2.0, 13.0, True)]


@pytest.mark.parametrize("period", [2, 2.6, 3, 5, 8])
def test_evaluations_that_are_slow_may_be_sure_of_what_is_long_over(period):
    play = Play()
    windows = [period * number for number in range(1, 8)]
    end = windows[3] - 0.1  # so short before an evaluation that this one is not sure yet
    told = [play.see(newest, *[(end - 1, end)] * (newest > windows[3]), start=newest - 40) for newest in windows]
    assert told == [[], [], [], [], [], [(1, end - 1, end, False)], []]


def test_only_the_first_evaluations_of_a_query_are_told_what_is_long_over():
    play = Play()
    play.see(16, (1, 3))
    assert play.see(16.5, (1, 3), (5, 8)) == [(1, 1.0, 3.0, False)]
    assert play.see(17, (1, 3), (5, 8)) == play.see(17.5, (1, 3), (5, 8)) == []
    play.tracker.close()
    play.see(1, (-9, -8)), play.see(1.5)  # the time begins anew, and with it the first evaluations
    assert play.see(2, (-9, -8)) == play.see(2.5, (-9, -8)) == []


def test_what_is_told_by_time_tokens_may_be_long_over():
    play, told = Play(), []
    for newest in (4, 5, 6, 7, 16, 17):
        window = dataclasses.replace(evaluated(0, newest), method=LocalizationMethod.TIME_TOKENS)
        told += play.tracker.update(found((2, 3)) if newest > 10 else (), window)
    assert [(event.end_ns, event.is_open) for event in told] == [(3 * S, False)]


@pytest.mark.parametrize("pair", [(2, 2), (2, 2.25), (2, 2.45)])
def test_shorter_than_min_duration_is_noise(pair):
    play = Play()
    assert all(play.see(newest, pair) == [] for newest in (3, 4, 5, 6))
    assert play.tracker.close() == ()


def test_the_start_is_kept_when_the_window_moves_past_it():
    play = Play()
    for newest in range(2, 60):
        play.see(newest, (max(1, newest - 16), newest), start=max(0, newest - 16))
    assert play.see(60, (44, 58), start=44) == [(1, 1.0, 58.0, False)]
    assert [(report.number, report.is_open) for report in play.reports] == [(1, True), (1, False)]


def test_what_reaches_back_to_the_windows_start_goes_on_after_a_pause():
    play = Play()
    play.see(3, (1, 3))
    play.see(4, (1, 4))
    assert play.see(40, (24, 40), start=24) == []  # nothing was evaluated for 36 s
    assert play.see(42, (26, 38), start=26) == [(1, 1.0, 38.0, False)]


def test_one_miss_does_not_close_and_two_do():
    play = Play()
    play.see(3, (1, 3))
    play.see(4, (1, 4))
    assert play.see(4.5) == []
    assert play.see(5, (1, 5)) == []
    assert play.see(5.5) == []
    assert play.see(6) == [(1, 1.0, 5.0, False)]


def test_a_closed_event_that_goes_on_is_the_same_event():
    play = Play()
    play.see(3, (1, 3))
    play.see(4, (1, 4))
    play.see(4.5)
    assert play.see(5) == [(1, 1.0, 4.0, False)]
    assert play.see(5.5, (1, 5)) == []  # its end moved by no more than the gap
    assert play.see(6, (1, 6)) == []  # more, but seen once
    assert play.see(6.5) == []
    assert play.see(7, (4.5, 7)) == []
    assert play.see(7.5, (4.5, 7.5)) == [(1, 1.0, 7.5, True)]
    assert play.see(9, (4.5, 7.5)) == [(1, 1.0, 7.5, False)]
    assert play.see(12, (1, 7.5), (9, 11)) == []
    assert play.see(13, (1, 7.5), (9, 13)) == [(2, 9.0, 13.0, True)]


def test_an_interval_over_a_closed_and_an_open_event_is_told_of_the_open_one():
    play = Play()
    play.see(5, (1, 2), (4, 5))
    assert play.see(6, (1, 2), (4, 6)) == [(1, 1.0, 2.0, False), (2, 4.0, 6.0, True)]
    assert play.see(7, (1, 7)) == play.see(8, (1, 2.5)) == []
    assert play.see(8.5) == [(2, 4.0, 7.0, False)]


def test_a_short_gap_is_one_event_and_a_long_one_two():
    play = Play()
    play.see(9, (1, 3), (3.8, 5))
    assert play.see(10, (1, 3), (3.8, 5)) == [(1, 1.0, 5.0, False)]
    play = Play()
    play.see(9, (1, 3), (4.2, 5))
    assert play.see(10, (1, 3), (4.2, 5)) == [(1, 1.0, 3.0, False), (2, 4.2, 5.0, False)]


def test_the_same_pictures_again_say_nothing_new():
    play = Play()
    assert play.see(3, (1, 3)) == play.see(3, (1, 3)) == play.see(3, (1, 3)) == []
    assert play.see(4, (1, 4)) == [(1, 1.0, 4.0, True)]
    assert play.see(4) == play.see(4) == []
    assert play.see(5, (1, 5)) == []


def test_closing_tells_of_the_open_event_once():
    play = Play()
    play.see(3, (1, 3))
    assert play.tracker.close() == ()  # never confirmed
    play.see(4, (1, 4))
    play.see(5, (1, 5))
    (report,) = play.tracker.close()
    assert (report.number, report.is_open, report.end_ns) == (1, False, 5 * S)
    assert play.tracker.close() == ()


quarters = st.integers(0, 40).map(lambda number: number / 4)
pairs = st.tuples(quarters, quarters).map(sorted)
evaluations = st.lists(st.tuples(st.integers(1, 8), st.lists(pairs, max_size=3)), max_size=30)


@given(evaluations)
def test_whatever_is_seen_each_event_is_told_in_order_and_once(steps):
    play, newest = Play(), 0.0
    for later, pieces in steps:
        newest += later / 4
        start = max(0.0, newest - 10)
        inside = [(start + a * (newest - start) / 10, start + b * (newest - start) / 10) for a, b in pieces]
        play.see(newest, *inside, start=start)
    play.reports += play.tracker.close()
    for number in {report.number for report in play.reports}:
        mine = [report for report in play.reports if report.number == number]
        assert not mine[-1].is_open  # closes what it opened
        for one, other in itertools.pairwise(mine):
            assert (one.is_open, other.is_open) != (True, True)
            assert (one.is_open, one.end_ns) != (other.is_open, other.end_ns)  # never the same twice
            assert one.start_ns >= other.start_ns
    for report in play.reports:
        assert 0 <= report.start_ns <= report.end_ns <= report.stamp_ns
        assert 0.0 <= report.probability <= 1.0
    first = list(dict.fromkeys(report.number for report in play.reports))
    assert first == sorted(first)


@given(st.integers(4, 100), st.integers(4, 200), st.integers(1, 4), st.floats(5.0, 20.0))
def test_one_scripted_event_seen_through_any_windows_is_one_event(start, length, stride, window):
    """Quarters of a second; each evaluation sees of the event what lies in its window."""
    first, last = start / 4, (start + length) / 4
    play = Play()
    for number in range(stride, start + length + 40, stride):
        newest = number / 4
        begin = max(0.0, newest - window)
        inside = (max(first, begin), min(last, newest))
        play.see(newest, *([inside] if inside[0] <= inside[1] else []), start=begin)
    closed = [report for report in play.reports if not report.is_open]
    assert len(closed) == 1
    assert (closed[0].start_ns / S, closed[0].end_ns / S) == (first, last)
