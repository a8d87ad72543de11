"""What a prompt shows: NaVILA's choice, and windows that are only appended to."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.config import HISTORY_POLICIES, HistoryConfig
from vila_core.errors import ConfigError
from vila_core.history.buffer import FrameHistory
from vila_core.history.memory import MAX_MERGED, evenly, merged_tokens, square_tokens
from vila_core.history.navila_policy import select_frames
from vila_core.history.policies import POLICIES, make_policy
from vila_core.history.policy import blank_like, is_blank
from vila_core.testing import SCRIPTED_INFO
from vila_core.types import Frame, Odometry, Pose

PIXELS = np.zeros((1, 1, 3), dtype=np.uint8)
NANO = dataclasses.replace(SCRIPTED_INFO, num_frames=4, history_tokens=4, visual_tokens=16)
LITE = dataclasses.replace(SCRIPTED_INFO, visual_tokens=121)
VIDEO = dataclasses.replace(SCRIPTED_INFO, visual_tokens=256, pool=(8, 1, 1))
SLOW = dataclasses.replace(SCRIPTED_INFO, visual_tokens=196, pool=(4, 2, 2))
MODELS = (SCRIPTED_INFO, NANO, LITE, VIDEO, SLOW)


def frames(count, start=1):
    return tuple(Frame(PIXELS, start + number) for number in range(count))


def policy_of(name, model=SCRIPTED_INFO, window=-1, kept=-1, memory=-1):
    config = HistoryConfig(policy=name, window_frames=window, kept_frames=kept, memory_frames=memory)
    return make_policy(config, model)


def stamps(visuals):
    return [visual.frame.stamp_ns for visual in visuals]


def keys(visuals):
    return [visual.key for visual in visuals]


def total_tokens(visuals, model):
    return sum(model.visual_tokens if visual.tokens is None else visual.tokens for visual in visuals)


def test_each_name_of_the_configuration_has_a_row():
    assert tuple(POLICIES) == HISTORY_POLICIES
    assert HistoryConfig().policy == "navila"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"policy": "nav"}, "'nav': must be one of navila, streaming, window"),
        ({"window_frames": 1}, "window_frames = 1"),
        ({"window_frames": 0}, "window_frames = 0"),
        ({"kept_frames": -2}, "kept_frames = -2"),
        ({"memory_frames": -2}, "memory_frames = -2"),
        ({"window_frames": 4, "kept_frames": 4}, "kept_frames = 4"),
    ],
)
def test_impossible_sizes_are_refused(values, words):
    with pytest.raises(ConfigError, match=words):
        HistoryConfig(**values)


def test_sizes_that_only_the_model_makes_impossible_are_refused_too():
    with pytest.raises(ConfigError, match="kept_frames = 8: must be less than window_frames = 8"):
        policy_of("streaming", NANO, kept=8)
    assert policy_of("streaming", SCRIPTED_INFO, window=2).select(frames(1))


@pytest.mark.parametrize("name", POLICIES)
def test_without_frames_there_is_nothing_to_select(name):
    with pytest.raises(ValueError, match="at least the current frame"):
        policy_of(name).select(())
    assert policy_of(name).ahead(()) == () and policy_of(name).upcoming(()) == ()


# --- navila --------------------------------------------------------------------------------------


@given(st.integers(1, 300), st.integers(1, 12))
def test_navila_shows_what_its_sampler_picks(count, num_frames):
    model = dataclasses.replace(SCRIPTED_INFO, num_frames=num_frames)
    seen = frames(count)
    shown = policy_of("navila", model).select(seen)
    assert len(shown) == num_frames and shown[-1].frame is seen[-1]
    for visual, index in zip(shown, select_frames(count, num_frames), strict=True):
        assert is_blank(visual.frame) if index < 0 else visual.frame is seen[index]


@given(st.integers(1, 200), st.integers(0, 3))
def test_navila_encodes_ahead_what_the_next_decision_shows(count, more):
    """All but the newest frame and those that come: a request finds nothing else to encode."""
    policy = policy_of("navila")
    known = frames(count + more)
    ahead = {frame.stamp_ns for frame in policy.ahead(known[:count])}
    shown = [v.frame for v in policy.select(known) if not is_blank(v.frame)]
    assert {frame.stamp_ns for frame in shown if frame.stamp_ns < count} <= ahead
    assert count not in ahead and len(ahead) <= 4 * SCRIPTED_INFO.num_frames


# --- windows -------------------------------------------------------------------------------------


def test_streaming_by_hand():
    policy = policy_of("streaming", LITE, window=4, kept=2, memory=2)
    seen = frames(12)
    assert stamps(policy.select(seen[:1])) == [0, 0, 1]  # black ones where the memory has nothing yet
    for count, shown in ((2, [0, 0, 1, 2]), (3, [0, 0, 1, 2, 3]), (4, [0, 0, 1, 2, 3, 4])):
        assert stamps(policy.select(seen[:count])) == shown
        assert stamps(policy.select(seen[:count])) == shown  # the same frame again appends nothing
    rebuilt = policy.select(seen[:8])  # 5 to 7 came while the robot moved
    assert stamps(rebuilt) == [1, 2, 3, 4, 8]
    assert [visual.tokens for visual in rebuilt] == [25, 25, None, None, None]
    assert stamps(policy.select(seen[:9])) == [1, 2, 3, 4, 8, 9]
    assert stamps(policy.select(seen[:10])) == [3, 7, 8, 9, 10]
    policy.reset()
    assert stamps(policy.select(seen[:1])) == [0, 0, 1]


def test_streaming_averages_even_spans():
    policy = policy_of("streaming", SCRIPTED_INFO, memory=4)
    (*memory, current) = policy.select(frames(11))
    assert [[f.stamp_ns for f in visual.frames] for visual in memory] == [[1, 2], [3, 4, 5], [6, 7], [8, 9, 10]]
    assert {visual.tokens for visual in memory} == {49} and current.tokens is None
    (first, *_) = policy_of("streaming", memory=2).select(frames(41))
    assert len(first.frames) == MAX_MERGED and first.frame.stamp_ns == 20 and first.merged[0].stamp_ns == 1


def test_streaming_uses_the_spans_that_the_checkpoint_was_trained_on():
    (*memory, _) = policy_of("streaming", VIDEO, memory=4).select(frames(21))
    assert [[f.stamp_ns for f in visual.frames] for visual in memory if not is_blank(visual.frame)] == [
        list(range(1, 9)),
        list(range(9, 17)),
        list(range(17, 21)),
    ]
    (*memory, _) = policy_of("streaming", SLOW, memory=2).select(frames(17))
    assert [visual.frames[0].stamp_ns for visual in memory] == [1, 9] and {len(v.frames) for v in memory} == {4}


def test_window_begins_anew_behind_sampled_frames():
    policy = policy_of("window", NANO, window=3, memory=3)
    seen = frames(9)
    for count in (1, 2, 3):
        shown = policy.select(seen[:count])
    assert stamps(shown) == [0, 0, 0, 1, 2, 3] and [v.tokens for v in shown] == [4] * 5 + [None]
    shown = policy.select(seen[:9])
    assert stamps(shown) == [1, 3, 6, 9] and [v.tokens for v in shown] == [4, 4, 4, None]
    assert not any(visual.merged for visual in shown)


SELECTIONS = st.lists(st.integers(0, 4), min_size=1, max_size=80)  # frames that came since the selection before
SIZES = st.integers(2, 9).flatmap(lambda w: st.tuples(st.just(w), st.integers(0, w - 1), st.integers(0, 5)))


def played(policy, arrivals):
    """The frames known at each selection and what it shows; frames arrive in between."""
    count = 1
    for more in arrivals:
        count += more
        known = frames(count)
        yield known, policy.select(known)


@pytest.mark.parametrize("name", POLICIES)
@given(arrivals=SELECTIONS, sizes=SIZES, model=st.sampled_from(MODELS))
def test_no_selection_exceeds_its_bound(name, arrivals, sizes, model):
    policy = policy_of(name, model, *sizes)
    for known, shown in played(policy, arrivals):
        assert total_tokens(shown, model) <= policy.max_visual_tokens
        assert shown[-1].frame.key == known[-1].key and shown[-1].tokens is None and not shown[-1].merged
        order = [frame.stamp_ns for visual in shown for frame in visual.frames]
        assert order == sorted(order)
        assert all(len(visual.frames) <= MAX_MERGED for visual in shown)


@pytest.mark.parametrize("name", ["streaming", "window"])
@given(arrivals=SELECTIONS, sizes=SIZES, model=st.sampled_from(MODELS))
def test_between_rebuilds_a_selection_begins_like_the_one_before(name, arrivals, sizes, model):
    window, kept, _ = sizes
    policy = policy_of(name, model, *sizes)
    before, fresh = [], 0  # fresh: frames that were appended since the last rebuild
    for more, (_, shown) in zip(arrivals, played(policy, arrivals), strict=True):
        same = len(before) if model.history_tokens is None or not more else len(before) - 1
        if before and not more:
            assert keys(shown) == before
        elif before and keys(shown)[:same] == before[:same]:
            assert len(shown) == len(before) + 1
            fresh += 1
        elif before:
            assert fresh >= window - kept - 2  # a rebuild, and not before the window was full
            fresh = 0
        before = keys(shown)


@pytest.mark.parametrize("name", ["streaming", "window"])
@given(arrivals=SELECTIONS, sizes=SIZES, model=st.sampled_from(MODELS))
def test_what_is_upcoming_comes_and_what_is_ahead_is_shown_soon(name, arrivals, sizes, model):
    policy = policy_of(name, model, *sizes)
    upcoming, count = [], 1
    for more in arrivals:
        count += more
        known = frames(count)
        if more:
            shown = keys(policy.select(known))
            assert shown[: len(upcoming)] == upcoming
        policy.select(known)
        upcoming = keys(policy.upcoming(known))
        assert all(frame.stamp_ns < count for frame in policy.ahead(known))
        if name == "streaming" and sizes[1]:
            assert upcoming


@given(st.lists(st.integers(0, 4), min_size=1, max_size=15))
def test_with_an_idle_moment_behind_each_frame_a_decision_encodes_only_the_newest(arrivals):
    policy = policy_of("streaming", window=4, kept=2, memory=8)
    encoded, count = {0}, 1
    for more in arrivals:
        for _ in range(more):
            count += 1
            encoded |= {frame.stamp_ns for frame in policy.ahead(frames(count))}
        shown = {frame.stamp_ns for visual in policy.select(frames(count)) for frame in visual.frames}
        assert shown - encoded <= {count}
        encoded |= shown


def test_frames_that_the_history_dropped_stay_shown():
    history, policy = FrameHistory(HistoryConfig(capacity=16)), policy_of("streaming", window=6, kept=2, memory=2)
    before: list[object] = []
    for stamp in range(1, 200):
        history.add(Frame(PIXELS, stamp), Odometry(stamp, Pose(x_m=0.25 * stamp)))
        shown = keys(policy.select(history.snapshot()))
        assert shown[: len(before)] == before or len(shown) == 2 + 3
        before = shown


def test_a_long_run_holds_few_frames_and_its_rebuilds_are_rare():
    history, policy = FrameHistory(HistoryConfig()), policy_of("streaming", LITE)
    rebuilds, before = 0, []
    for stamp in range(1, 2001):
        history.add(Frame(PIXELS, stamp), None)
        shown = policy.select(history.snapshot())
        rebuilds += keys(shown)[: len(before)] != before
        before = keys(shown)
        assert len(shown) <= 4 + 16 and sum(len(v.frames) for v in shown) <= 4 * MAX_MERGED + 16
    assert rebuilds == pytest.approx(2000 / 12, abs=2)


# --- tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("visual_tokens", "limit", "kept"),
    [
        (196, 49, 49),
        (256, 64, 64),
        (121, 30, 25),
        (729, 182, 169),
        (16, 4, 4),
        (1, 0, 1),
        (16, 16, None),
        (96, 24, None),
    ],
)
def test_pooling_keeps_a_square(visual_tokens, limit, kept):
    assert square_tokens(visual_tokens, limit) == kept


@pytest.mark.parametrize(("model", "tokens"), [(SCRIPTED_INFO, 49), (NANO, 4), (LITE, 25), (VIDEO, None), (SLOW, 49)])
def test_tokens_of_a_merged_span(model, tokens):
    assert merged_tokens(model) == tokens


@given(st.lists(st.integers()), st.integers(0, 20))
def test_evenly(items, count):
    chosen = evenly(range(len(items)), count)
    assert len(chosen) == min(len(items), count) and list(chosen) == sorted(set(chosen))
    assert not chosen or chosen[0] == 0


def test_black_frames_are_one_in_the_caches():
    first, second = blank_like(Frame(PIXELS, 3)), blank_like(Frame(PIXELS, 4, "other"))
    assert first.key == second.key and is_blank(first) and not is_blank(Frame(PIXELS, 0))
