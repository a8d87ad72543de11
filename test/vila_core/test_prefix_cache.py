"""Which rows hold which prompt: nothing is lost, nothing is shared that differs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.engine.prefix_cache import Piece, PrefixCache, common_tokens
from vila_core.errors import BackendError

text = st.lists(st.integers(0, 2), min_size=1, max_size=5).map(Piece.of_text)
visual = st.integers(0, 3).map(lambda name: Piece(3, visual=name))
prompts = st.lists(st.one_of(text, visual), min_size=1, max_size=5)
ROWS = 48


def tokens_of(pieces):
    return [key for p in pieces for key in (p.ids or [(p.visual, i) for i in range(p.count)])]


SLOTS = st.sampled_from(["a", "b", "c", "navigation"])


@given(st.lists(st.tuples(SLOTS, prompts, st.integers(0, 4)), max_size=20))
def test_rows_hold_what_the_placement_says(steps):
    """A model of the real thing: each row holds the token that was written there, with all that it follows."""
    cache = PrefixCache(ROWS)
    holds = [None] * ROWS
    for slot, pieces, scratch in steps:
        tokens = tokens_of(pieces)
        placed = cache.place(slot, pieces, scratch)
        assert placed.shared < len(tokens) == len(placed.rows)  # the last token is always read: its state is wanted
        assert len(placed.scratch) == scratch
        assert len({*placed.rows.tolist(), *placed.scratch.tolist()}) == len(tokens) + scratch
        for at in range(placed.shared):
            assert holds[placed.rows[at]] == tuple(tokens[: at + 1])
        for at in range(placed.shared, len(tokens)):
            holds[placed.rows[at]] = tuple(tokens[: at + 1])
        for row in placed.scratch:
            holds[row] = None
        cache.keep(placed)


@given(prompts, prompts)
def test_common_tokens_counts_the_equal_beginning(first, second):
    count = common_tokens(first, second)
    a, b = tokens_of(first), tokens_of(second)
    assert a[:count] == b[:count]


def test_a_prompt_that_grows_pays_for_what_is_new():
    cache = PrefixCache(64)
    frames = [Piece(8, visual=n) for n in range(4)]
    task = Piece.of_text([1, 2, 3])
    read = []
    for count in (1, 2, 3, 4):
        placed = cache.place("navigation", [task, *frames[:count], Piece.of_text([9])])
        read.append(len(placed.rows) - placed.shared)
        cache.keep(placed)
    assert read == [12, 9, 9, 9]
    assert np.array_equal(placed.rows, np.arange(36))  # what the slot no longer needs is used again at once


def test_slots_share_a_beginning_and_keep_their_own_end():
    cache = PrefixCache(64)
    video = [Piece.of_text([1]), Piece(20, visual="frame")]
    for slot, question in (("navigation", 5), ("door", 6), ("ball", 7)):
        placed = cache.place(slot, [*video, Piece.of_text([question, 0])])
        assert placed.shared == (0 if slot == "navigation" else 21)
        cache.keep(placed)
    assert cache.place("navigation", [*video, Piece.of_text([5, 0])]).shared == 22
    assert cache.slots() == ("door", "ball")  # until it is told that the rows are filled


@given(st.lists(st.tuples(SLOTS, prompts, st.integers(0, 4)), max_size=20), st.sampled_from([ROWS, 4 * ROWS, 1000]))
def test_navigation_lies_where_it_would_alone(steps, rows):
    """So that each sum over its keys is rounded alike, whatever else is asked."""
    cache, alone = PrefixCache(rows), PrefixCache(rows)
    for slot, pieces, scratch in steps:
        placed = cache.place(slot, pieces, scratch)
        cache.keep(placed)
        if slot == "navigation":
            wanted = alone.place(slot, pieces, scratch)
            alone.keep(wanted)
            assert np.array_equal(placed.rows, wanted.rows) and np.array_equal(placed.scratch, wanted.scratch)
            assert placed.extent == wanted.extent == len(wanted.rows) + scratch


def test_where_there_is_room_navigation_and_the_others_keep_theirs():
    cache = PrefixCache(1000)
    video = [Piece.of_text([1]), Piece(100, visual="film")]
    read = []
    for number in range(6):
        cache.keep(cache.place("navigation", [Piece.of_text([2]), Piece(20 + 2 * number, visual=number)], 10))
        placed = cache.place("events", video)
        cache.keep(placed)
        read.append(len(placed.rows) - placed.shared)
    assert read == [101, 1, 1, 1, 1, 1]
    assert set(cache.slots()) == {"navigation", "events"} and not cache.forgotten


def test_what_was_not_filled_is_not_shared():
    cache = PrefixCache(16)
    cache.place("navigation", [Piece.of_text([1, 2, 3])])  # and the pass failed
    assert cache.place("navigation", [Piece.of_text([1, 2, 3])]).shared == 0


def test_the_slot_not_used_for_longest_makes_room():
    cache = PrefixCache(10)
    for slot in ("a", "b"):
        cache.keep(cache.place(slot, [Piece.of_text([ord(slot)] * 4)]))
    cache.keep(cache.place("a", [Piece.of_text([ord("a")] * 4)]))
    cache.keep(cache.place("c", [Piece.of_text([0] * 5)]))
    assert cache.slots() == ("a", "c")


def test_a_prompt_larger_than_the_cache_is_refused():
    with pytest.raises(BackendError, match="need 11 tokens, the cache has 10"):
        PrefixCache(10).place("a", [Piece.of_text([1] * 8)], scratch=3)
    with pytest.raises(ValueError, match="at least 1"):
        PrefixCache(0)
