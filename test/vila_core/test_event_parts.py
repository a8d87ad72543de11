"""Frames remembered, the window of standing queries, and how scores become intervals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.errors import BackendError, FrameError
from vila_core.events.distribution import likely_starts, pair_intervals
from vila_core.events.memory import FrameMemory, thinned
from vila_core.events.segments import STAY, joined, lasting, segments
from vila_core.events.window import AppendedWindow
from vila_core.media.images import resize_picture, squeezed
from vila_core.testing import make_frame
from vila_core.types import Interval

S = 1_000_000_000


def frames(count, step_s=1.0):
    return tuple(make_frame(round(number * step_s * S), height=1, width=1) for number in range(1, count + 1))


def stamps(kept):
    return [one.frame.stamp_ns / S for one in kept]


@pytest.mark.parametrize(("rate_hz", "kept_hz"), [(30, 4), (10, 4), (4, 4), (3, 3), (1, 1)])
def test_one_frame_a_period_at_any_rate(rate_hz, kept_hz):
    memory = FrameMemory(S // 4, 20 * S)
    for number in range(10 * rate_hz):
        memory.add(make_frame(number * S // rate_hz, height=1, width=1))
    assert abs(len(memory.snapshot()) - 10 * kept_hz) <= 1
    assert [one.number for one in memory.snapshot()] == list(range(len(memory.snapshot())))


@given(st.lists(st.integers(0, S), min_size=1, max_size=40))
def test_the_memory_says_which_frame_it_will_keep(gaps_ns):
    memory, stamp_ns = FrameMemory(S // 4, 20 * S), 0
    for gap_ns in gaps_ns:
        stamp_ns += gap_ns + 1
        is_due = memory.is_due(stamp_ns)
        assert memory.add(make_frame(stamp_ns)) is is_due
        assert memory.is_due(stamp_ns) and memory.is_due(stamp_ns - S)  # which `add` refuses, or a reset shows


def test_the_memory_is_bounded_in_time_and_number():
    memory = FrameMemory(S, 5 * S)
    for frame in frames(100):
        memory.add(frame)
    assert stamps(memory.snapshot()) == [95, 96, 97, 98, 99, 100]
    assert memory.newest_ns == 100 * S
    memory.clear()
    assert memory.snapshot() == () and memory.newest_ns is None
    assert memory.add(make_frame(1, camera="other"))


def test_frames_that_cannot_be_remembered_are_refused():
    memory = FrameMemory(S, 5 * S)
    memory.add(make_frame(S))
    for bad in (make_frame(S), make_frame(S - 1), make_frame(2 * S, camera="other")):
        with pytest.raises(FrameError):
            memory.add(bad)
    assert stamps(memory.snapshot()) == [1.0]


def test_what_is_older_than_the_newest_window_is_squeezed():
    memory = FrameMemory(S, 8 * S, recent_ns=3 * S, picture_px=6)
    shown = [make_frame(number * S, height=9, width=12) for number in range(1, 21)]
    for frame in shown:
        memory.add(frame)
    kept = memory.snapshot()
    assert [one.number for one in kept] == list(range(11, 20)) and stamps(kept) == list(range(12, 21))
    sizes = [one.frame.image.shape[:2] for one in kept]
    assert sizes == [(6, 6)] * 5 + [(9, 12)] * 4
    assert all(one.frame is shown[one.number] for one in kept[5:])  # what navigation shows too is the same
    assert all(one.frame.key == shown[one.number].key for one in kept)


def test_after_a_gap_a_camera_waits_for_few_images_to_be_squeezed():
    memory = FrameMemory(S, 60 * S, recent_ns=10 * S, picture_px=1)
    for stamp_s in (*range(1, 11), 50, 51, 52):
        memory.add(make_frame(stamp_s * S, height=2, width=2))
    sizes = [one.frame.image.shape[0] for one in memory.snapshot()]
    assert sizes == [1] * 6 + [2] * 7 and stamps(memory.snapshot()) == [*range(1, 11), 50, 51, 52]


def test_without_a_size_images_stay_as_they_come():
    memory = FrameMemory(S, 8 * S, recent_ns=3 * S)
    for frame in frames(20):
        memory.add(frame)
    assert stamps(memory.snapshot()) == list(range(12, 21))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30))
def test_a_squeezed_image_is_squashed_to_the_same_square(height, width, px):
    frame = make_frame(S, height=height, width=width)
    small = squeezed(frame, px)
    assert small.image.shape == (min(height, px), min(width, px), 3)
    assert (small is frame) == (max(height, width) <= px)
    whole, again = (resize_picture(image, px, px) for image in (frame.image, small.image))
    np.testing.assert_array_equal(whole, again)


@given(st.integers(0, 60), st.integers(2, 20))
def test_thinned_keeps_both_ends_and_order(count, most):
    given_frames = frames(count)
    kept = thinned(given_frames, most)
    assert len(kept) == min(count, most)
    assert [frame.stamp_ns for frame in kept] == sorted({frame.stamp_ns for frame in kept})
    if count:
        assert (kept[0], kept[-1]) == (given_frames[0], given_frames[-1])
    with pytest.raises(ValueError, match="at least 2"):
        thinned(given_frames, 1)


@given(st.integers(2, 12), st.lists(st.integers(1, 9), min_size=2, max_size=80))
def test_a_window_is_appended_to_until_it_starts_again_with_its_newer_half(most, steps):
    window = AppendedWindow(most, 12 * S, 2 * S)
    shown = window.extend(make_frame(-4 * S), make_frame(-2 * S))
    rebuilds = 0
    for newest in itertools.accumulate(steps):
        frame = make_frame(newest * S, height=1, width=1)
        before, shown = shown, window.extend(frame, frame)
        assert 1 <= len(shown) <= most
        if shown[: len(before)] != before:
            rebuilds += 1
            assert shown[-1] is frame and set(map(id, shown[:-1])) <= set(map(id, before))
        assert all(b.stamp_ns - a.stamp_ns >= 2 * S for a, b in itertools.pairwise(shown))
    assert rebuilds <= len(steps)
    window.clear()
    assert window.frames == () and window.awaits(make_frame(0))


def test_an_empty_window_begins_with_two_frames():
    first, second = frames(2)
    window = AppendedWindow(4, 12 * S, S)
    assert window.extend(first, second) == (first, second)
    assert window.extend(first, second) == (first, second)  # nothing new
    with pytest.raises(ValueError, match="at least 2"):
        AppendedWindow(1, S, S)


def seconds(intervals):
    return [(one.start_ns / S, one.end_ns / S) for one in intervals]


@pytest.mark.parametrize(
    ("relevances", "expected"),
    [
        ([], []),
        ([0.0] * 6, []),
        ([0.49] * 6, []),
        ([1.0] * 6, [(0, 5)]),
        ([0, 0, 0.9, 0.9, 0, 0], [(2, 3)]),
        ([0.35, 0.9, 0.35, 0.29, 0.35, 0.2], [(0, 2)]),  # goes on at STAY * 0.5 = 0.3, begins at none of it
        ([0.9, 0, 0.9, 0.4, 0.6], [(0, 0), (2, 4)]),
    ],
)
def test_segments_by_hysteresis(relevances, expected):
    found = segments(relevances, [number * S for number in range(len(relevances))], 0.5, S)
    assert seconds(found) == expected
    assert all(one.quantization_ns == S for one in found)


@given(st.lists(st.floats(0, 1), max_size=40), st.floats(0.05, 0.95))
def test_segments_are_disjoint_and_inside_and_probable(relevances, least):
    times = [7 * S + number * S for number in range(len(relevances))]
    found = segments(relevances, times, least, S)
    for one in found:
        assert times[0] <= one.start_ns <= one.end_ns <= times[-1]
        assert least * STAY <= one.probability + 1e-9 and one.probability <= 1.0
        assert max(relevances[one.start_ns // S - 7 : one.end_ns // S - 6]) >= least
    assert all(a.end_ns < b.start_ns for a, b in itertools.pairwise(found))


@pytest.mark.parametrize("relevances", [[0.5], [0.5, float("nan")], [0.5, 1.5], [-0.1, 0.0]])
def test_relevances_that_are_none_are_refused(relevances):
    with pytest.raises(BackendError, match=r"relevances"):
        segments(relevances, [0, S], 0.5, S)


def test_joined_and_lasting():
    rows = [Interval(5 * S, 6 * S, 0.6, 2), Interval(0, S, 0.9, 1), Interval(2 * S, 3 * S, 0.7, 1)]
    assert seconds(joined(rows, S)) == [(0, 3), (5, 6)]
    assert [one.probability for one in joined(rows, S)] == [0.9, 0.6]
    assert seconds(joined(rows, 2 * S)) == [(0, 6)]
    assert seconds(lasting(rows, S + 1)) == []


def pairs_of(joint, none):
    """Starts, and ends behind each start, of a joint distribution [C, C] and what is left for none."""
    marginal = joint.sum(axis=1)
    starts = [*marginal.tolist(), none]
    ends = {a: (joint[a, a:] / marginal[a]).tolist() for a in range(len(joint)) if marginal[a] > 0}
    return starts, ends


def joint_of(*entries, count=6):
    joint = np.zeros((count, count))
    for start, end, mass in entries:
        joint[start, end] = mass
    return joint


TIMES = [10 * S + number * S // 2 for number in range(6)]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], []),  # all on "not seen"
        ([(1, 3, 0.9)], [(1, 3, 0.9)]),
        ([(1, 3, 0.3), (1, 4, 0.3), (2, 3, 0.2)], [(1, 3, 0.8)]),  # what is near counts
        ([(1, 3, 0.49)], []),
        ([(0, 5, 0.1), (0, 0, 0.1), (2, 2, 0.1), (5, 5, 0.1), (1, 4, 0.1), (0, 3, 0.1)], []),  # no idea
        ([(2, 2, 0.8)], [(2, 2, 0.8)]),
    ],
)
def test_peaks_of_pairs(entries, expected):
    joint = joint_of(*entries)
    found = pair_intervals(*pairs_of(joint, 1 - joint.sum()), TIMES, 0.5)
    wanted = [(TIMES[start], TIMES[end], pytest.approx(mass)) for start, end, mass in expected]
    assert [(one.start_ns, one.end_ns, one.probability) for one in found] == wanted
    assert all(one.quantization_ns == S // 2 for one in found)


def test_two_peaks_where_less_is_believed():
    joint = joint_of((0, 1, 0.5), (4, 5, 0.45))
    found = pair_intervals(*pairs_of(joint, 0.05), TIMES, 0.4)
    assert [(one.start_ns, one.end_ns) for one in found] == [(TIMES[0], TIMES[1]), (TIMES[4], TIMES[5])]


@given(
    st.integers(2, 9).flatmap(
        lambda count: st.tuples(
            st.just(count),
            st.lists(st.floats(0, 1), min_size=count * (count + 1) // 2, max_size=count * (count + 1) // 2),
            st.floats(0, 1),
            st.integers(1, 6),
            st.floats(0.02, 0.95),
        )
    )
)
def test_intervals_of_any_distribution_and_nothing_is_lost_by_asking_for_likely_starts_alone(case):
    count, masses, none, sharpness, least = case
    weights = np.array([*masses, none]) ** sharpness + 1e-12
    weights /= weights.sum()
    joint = np.zeros((count, count))
    joint[np.triu_indices(count)] = weights[:-1]
    starts, ends = pairs_of(joint, float(weights[-1]))
    times = [S + number * S for number in range(count)]
    found = pair_intervals(starts, ends, times, least)
    for one in found:
        assert times[0] <= one.start_ns <= one.end_ns <= times[-1]
        assert least <= one.probability <= 1.0
    assert sum(one.probability for one in found) <= 1.0 + 1e-6
    assert all(a.end_ns < b.start_ns for a, b in itertools.pairwise(found))
    likely = likely_starts(starts, least)
    few = pair_intervals(starts, {at: ends[at] for at in likely}, times, least)
    assert [(one.start_ns, one.end_ns) for one in few] == [(one.start_ns, one.end_ns) for one in found]
    assert [one.probability for one in few] == pytest.approx([one.probability for one in found])


@pytest.mark.parametrize(
    ("starts", "ends"),
    [
        ([1.0], {}),
        ([0.5, 0.5], {}),
        ([0.5, 0.5, 0.5], {}),
        ([float("nan"), 0.5, 0.5], {}),
        ([0.9, 0.05, 0.05], {0: [1.0]}),
        ([0.9, 0.05, 0.05], {0: [0.2, 0.2]}),
    ],
)
def test_scores_that_are_no_distribution_are_refused(starts, ends):
    with pytest.raises(BackendError):
        pair_intervals(starts, ends, [0, S], 0.5)
