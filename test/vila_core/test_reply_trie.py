"""The set of replies as a trie, and the choice among them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.engine.reply_trie import build_trie, choose_reply

VOCAB = 6
replies_sets = st.lists(
    st.lists(st.integers(0, VOCAB - 2), min_size=1, max_size=4).map(lambda ids: (*ids, VOCAB - 1)),
    min_size=1,
    max_size=6,
    unique=True,
)


def greedy(replies, logits_of):
    """Greedy decoding where only tokens that continue some reply are allowed: the slow, plain way."""
    path: tuple[int, ...] = ()
    while path not in replies:
        allowed = sorted({reply[len(path)] for reply in replies if reply[: len(path)] == path})
        path = (*path, max(allowed, key=lambda token: logits_of(path)[token]))
    return replies.index(path)


@given(replies_sets, st.integers(0, 1000))
def test_the_choice_is_greedy_decoding_under_the_same_grammar(replies, seed):
    trie = build_trie(replies)
    logits = np.random.default_rng(seed).normal(size=(len(trie.tokens) + 1, VOCAB)).astype(np.float32)

    def logits_of(path):
        node = -1
        for token in path:
            node = next(child for child in trie.children[node + 1] if trie.tokens[child] == token)
        return logits[node + 1]

    choice = choose_reply(trie, logits)
    assert choice.index == greedy([tuple(reply) for reply in replies], logits_of)
    assert sum(choice.probabilities) == pytest.approx(1.0)


@given(replies_sets)
def test_a_node_sees_its_ancestors_and_itself_only(replies):
    trie = build_trie(replies)
    mask = trie.mask()
    for node in range(len(trie.tokens)):
        ancestors = {node}
        up = trie.parents[node]
        while up >= 0:
            ancestors.add(up)
            up = trie.parents[up]
        assert set(np.flatnonzero(mask[node])) == ancestors
        assert len(ancestors) == trie.depths[node] + 1


@pytest.mark.parametrize("replies", [[], [()], [(1, 2), (1, 2)]])
def test_a_set_that_is_no_set_of_replies_is_refused(replies):
    with pytest.raises(ValueError):
        build_trie(replies)
