"""Times told by real, tiny models: several questions in one pass are what each would be alone."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import golden_dir
from hypothesis import given, settings
from hypothesis import strategies as st

from vila_core.config import EventsConfig
from vila_core.engine import torch_backend
from vila_core.engine.naive_backend import NaiveBackend
from vila_core.engine.prefix_cache import Piece
from vila_core.engine.shared_prefix import Suffix, split_prompts, suffix_groups
from vila_core.engine.torch_backend import TorchBackend
from vila_core.errors import BackendError
from vila_core.events.distribution import likely_starts, pair_intervals
from vila_core.localizer import method_of
from vila_core.media.images import squeezed
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.prompts.localization import NOT_SEEN, localization_prompt, pair_replies, start_replies, time_marks
from vila_core.testing import make_frame
from vila_core.types import LocalizationMethod, Visual
from vila_core.watcher import EventWatcher

S = 1_000_000_000
QUERIES = ("a dog", "the door opens", "red", "the door is open", "someone waves")
FRAMES = [make_frame(number * S, height=60, width=80) for number in range(1, 9)]


@pytest.fixture(scope="module", params=["nvila_video_tiny", "nvila_lite_tiny"])
def model(request):
    return load_checkpoint(golden_dir("vila") / "checkpoints" / request.param)


def prompts_of(backend, frames, queries=QUERIES, cache_slot="events"):
    info, method = backend.info, method_of(backend.info)
    visuals = [Visual(frame) for frame in frames]
    marks = time_marks(method, info.time_tokens, [frame.stamp_ns / 1e9 for frame in frames])
    asked = [
        localization_prompt(method, info.chat_template, query, visuals, marks, cache_slot=cache_slot)
        for query in queries
    ]
    return asked, marks, method


def test_the_checkpoints_tell_time_by_both_methods(model):
    info = TorchBackend(model, "float32").info
    wanted = LocalizationMethod.TIME_TOKENS if info.time_tokens else LocalizationMethod.TIMESTAMPS
    assert method_of(info) == wanted


def test_a_squeezed_frame_has_the_visual_tokens_of_the_whole_one(model):
    px = TorchBackend(model, "float32").info.picture_px
    frame = make_frame(1, height=px + 60, width=px + 110)
    assert torch.equal(model.encode_frames([squeezed(frame, px)]), model.encode_frames([frame]))


def test_frames_that_are_padded_are_never_squeezed(model):
    images = dataclasses.replace(model.config.images, aspect_ratio="pad")
    padding = SimpleNamespace(config=dataclasses.replace(model.config, images=images), relevance_head=None)
    assert torch_backend.picture_px(padding) is None


@settings(max_examples=12)
@given(
    st.lists(st.sampled_from(QUERIES), min_size=1, max_size=5),
    st.integers(2, 5),
    st.sampled_from([1, 40, 512]),
    st.integers(0, 2),
)
def test_asked_together_is_as_asked_alone(model, queries, count, chunk, others):
    """Whatever fits into one pass, and whatever stands in the cache."""
    backend, plain = TorchBackend(model, "float32"), NaiveBackend(model, "float32")
    for other in range(others):
        backend.choose(prompts_of(backend, FRAMES[: 2 + other])[0][0], ["yes", "no"])
    prompts, marks, method = prompts_of(backend, FRAMES[:count], queries)
    replies = [
        pair_replies(method, marks, (0, 1)) if number % 2 else start_replies(method, marks)
        for number in range(len(queries))
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_backend, "CHUNK", chunk)
        together = backend.choose_each(prompts, replies)
    alone = plain.choose_each(prompts, replies)
    for one, other in zip(together, alone, strict=True):
        assert one.index == other.index
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_one_more_query_costs_its_own_words_only(model):
    backend = TorchBackend(model, "float32")
    prompts, marks, method = prompts_of(backend, FRAMES[:4])
    replies = [start_replies(method, marks)] * len(prompts)
    backend.choose_each(prompts, replies)
    before = backend.decoder.prefixes.prefilled
    grown, marks, method = prompts_of(backend, FRAMES[:5])
    backend.choose_each(grown, [start_replies(method, marks)] * len(grown))
    pieces = backend._pieces(grown[0])
    read = backend.decoder.prefixes.prefilled - before
    last = sum(piece.count for piece in pieces if not piece.ids) // 5
    assert read < 2 * last + sum(piece.count for piece in pieces[-1:])  # the new frame and the words behind it
    assert backend.visual_cache.misses == 5


def test_prompts_that_part_before_a_picture_are_asked_one_by_one(model):
    backend = TorchBackend(model, "float32")
    one, marks, method = prompts_of(backend, FRAMES[:3], QUERIES[:1])
    other, _, _ = prompts_of(backend, FRAMES[1:4], QUERIES[:1])
    replies = [start_replies(method, marks)] * 2
    together = backend.choose_each([*one, *other], replies)
    alone = NaiveBackend(model, "float32").choose_each([*one, *other], replies)
    assert [choice.probabilities for choice in together] == [
        pytest.approx(choice.probabilities, abs=1e-5) for choice in alone
    ]
    assert backend.choose_each([], []) == ()


def test_starts_first_and_ends_where_it_matters_is_the_whole_distribution(model):
    """One pass over all pairs gives the same intervals as two that leave out what cannot be believed."""
    backend, least = TorchBackend(model, "float32"), 0.2
    frames = FRAMES[:5]
    watcher = EventWatcher(backend, dataclasses.replace(EventsConfig(), min_probability=least, min_duration_s=0.0))
    for frame in frames:
        watcher.observe(frame)
    stamps = [frame.stamp_ns for frame in frames]
    for query in QUERIES:
        prompts, marks, method = prompts_of(backend, frames, [query], "question")
        whole = backend.choose(prompts[0], (*pair_replies(method, marks, range(5)), NOT_SEEN)).probabilities
        joint = np.zeros((5, 5))
        joint[np.triu_indices(5)] = whole[:-1]
        starts = [*joint.sum(axis=1), whole[-1]]
        ends = {at: list(joint[at, at:] / joint[at].sum()) for at in range(5)}
        wanted = pair_intervals(starts, ends, stamps, least)
        assert set(likely_starts(starts, least)) <= set(range(5))
        found = watcher._localizer._by_pairs([query], tuple(frames), "question")[0]
        assert [(one.start_ns, one.end_ns) for one in found] == [(one.start_ns, one.end_ns) for one in wanted]
        assert [one.probability for one in found] == pytest.approx([one.probability for one in wanted], abs=1e-4)


def test_a_watcher_runs_on_them(model):
    config = dataclasses.replace(EventsConfig(), min_probability=0.05, max_frames=6, window_s=6.0)
    watcher = EventWatcher(TorchBackend(model, "float32"), config)
    for query in QUERIES[:3]:
        watcher.watch(query)
    for number in range(1, 13):
        watcher.observe(make_frame(number * S, height=60, width=80))
        for report in watcher.evaluate():
            assert 0 < report.start_ns <= report.end_ns <= report.stamp_ns and report.method == watcher.method
    for interval in watcher.localize("a dog", 2 * S, 9 * S):
        assert 2 * S <= interval.start_ns <= interval.end_ns <= 9 * S
    assert isinstance(watcher.describe("What is there?", 2 * S, 6 * S), str)


def test_slots_that_push_each_other_out_get_a_larger_cache(model):
    backend = TorchBackend(model, "float32")
    decoder = backend.decoder
    prompts, _, _ = prompts_of(backend, FRAMES[:3], QUERIES[:1])
    other = dataclasses.replace(prompts_of(backend, FRAMES[4:7], QUERIES[1:2])[0][0], cache_slot="navigation")
    length = sum(piece.count for piece in backend._pieces(prompts[0]))
    decoder._make_cache(length + 20)
    for _ in range(3):
        backend.choose(prompts[0], ["yes", "no"])
        backend.choose(other, ["yes", "no"])
    assert set(decoder.prefixes.slots()) == {"events", "navigation"}
    assert decoder.prefixes.rows > length + 20
    before = decoder.prefixes.prefilled
    backend.choose(prompts[0], ["yes", "no"])
    assert decoder.prefixes.prefilled - before == 1  # all is there but the last token


def test_a_closed_backend_refuses(model):
    backend = TorchBackend(model, "float32")
    prompts, marks, method = prompts_of(backend, FRAMES[:2])
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.choose_each(prompts, [start_replies(method, marks)] * len(prompts))


text = st.lists(st.integers(0, 3), min_size=1, max_size=5).map(Piece.of_text)
picture = st.integers(0, 2).map(lambda key: Piece(3, visual=key))


@given(st.lists(st.lists(st.one_of(text, picture), min_size=1, max_size=4), min_size=1, max_size=4))
def test_prefix_and_suffixes_are_the_prompts(prompts):
    def flat(pieces):
        return [entry for piece in pieces for entry in (piece.ids or [(piece.visual, n) for n in range(piece.count)])]

    shared = split_prompts(prompts)
    if shared is not None:
        assert [[*flat(shared.prefix), *ids] for ids in shared.suffixes] == [flat(pieces) for pieces in prompts]
        assert all(shared.suffixes) and shared.prefix


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 20))
def test_groups_are_all_suffixes_in_order(sizes, most):
    suffixes = [Suffix((0,) * size, None) for size in sizes]
    parts = [suffixes[group] for group in suffix_groups(suffixes, most)]
    assert [suffix for part in parts for suffix in part] == suffixes
    assert all(len(part) == 1 or sum(end.size for end in part) <= most for part in parts)
