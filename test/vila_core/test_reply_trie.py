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
    """Greedy decoding where only tokens that continue some reply are allowed: the slow, plain method."""
    path: tuple[int, ...] = ()
    while path not in replies:
        allowed = sorted({reply[len(path)] for reply in replies if reply[: len(path)] == path})
        path = (*path, max(allowed, key=lambda token: logits_of(path)[token]))
    return replies.index(path)


def likelihood(reply, replies, logits_of):
    """The product of what each token gets of the tokens that are allowed in its place."""
    product = 1.0
    for end, token in enumerate(reply):
        allowed = {other[end] for other in replies if other[:end] == reply[:end]}
        weights = {each: np.exp(float(logits_of(reply[:end])[each])) for each in allowed}
        product *= weights[token] / sum(weights.values())
    return product


@given(replies_sets, st.integers(0, 1000))
def test_the_choice_is_greedy_decoding_under_the_same_grammar(replies, seed):
    trie = build_trie(replies)
    rng = np.random.default_rng(seed)
    table: dict[tuple[int, ...], np.ndarray] = {}

    def logits_of(path):
        return table.setdefault(tuple(path), rng.normal(size=VOCAB).astype(np.float32))

    scores = [logits_of(trie.path(branching.node))[list(branching.tokens)] for branching in trie.branchings]
    choice = choose_reply(trie, scores)
    assert choice.index == greedy([tuple(reply) for reply in replies], logits_of)
    assert choice.probabilities == pytest.approx([likelihood(reply, replies, logits_of) for reply in replies])


@given(replies_sets)
def test_a_node_sees_its_ancestors_and_itself_only(replies):
    trie = build_trie(replies)
    mask = trie.mask()
    for node in range(trie.read):
        ancestors = {node}
        up = trie.parents[node]
        while up >= 0:
            ancestors.add(up)
            up = trie.parents[up]
        assert set(np.flatnonzero(mask[node])) == ancestors
        assert len(ancestors) == trie.depths[node] + 1


@given(replies_sets)
def test_only_what_decides_is_read(replies):
    trie = build_trie(replies)
    assert [trie.path(leaf) for leaf in trie.leaves] == replies
    assert all(branching.node < trie.read for branching in trie.branchings)
    deciding = {branching.node for branching in trie.branchings}
    for node in range(trie.read):  # a node that is read decides, or leads to one that does
        assert any(other == node or node in _ancestors(trie, other) for other in deciding)


def _ancestors(trie, node):
    found = set()
    while node >= 0:
        node = trie.parents[node]
        found.add(node)
    return found


def test_the_ten_sentences_need_few_nodes():
    sentences = ["stop", "go 25", "go 50", "go 75", "turn left 15", "turn left 30", "turn right 15", "turn right 30"]
    words = {word: number for number, word in enumerate(sorted({w for s in sentences for w in s.split()}))}
    trie = build_trie([(*(words[word] for word in sentence.split()), 99) for sentence in sentences])
    assert len(trie.tokens) == 20 and trie.read == 4  # go, turn, left, right
    assert [len(branching.tokens) for branching in trie.branchings] == [3, 3, 2, 2, 2]


@pytest.mark.parametrize("replies", [[], [()], [(1, 2), (1, 2)], [(1,), (1, 2)]])
def test_a_set_that_is_no_set_of_replies_is_refused(replies):
    with pytest.raises(ValueError):
        build_trie(replies)
