"""A finite set of replies as a prefix trie, scored in one forward pass with a tree mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vila_core.types import Choice


@dataclass(frozen=True, slots=True, eq=False)
class ReplyTrie:
    """Nodes in topological order; node i holds tokens[i] and hangs from parents[i] (-1: the prompt).

    children[i + 1] lists the nodes below node i, children[0] those below the prompt.
    leaves[r] is the node that ends reply r.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    depths: tuple[int, ...]
    children: tuple[tuple[int, ...], ...]
    leaves: tuple[int, ...]

    def mask(self) -> NDArray[np.bool_]:
        """[nodes, nodes]: True where a node sees another: its ancestors and itself."""
        seen = np.zeros((len(self.tokens), len(self.tokens)), dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] = seen[parent]
            seen[node, node] = True
        return seen


def build_trie(replies: Sequence[Sequence[int]]) -> ReplyTrie:
    """Build the trie of tokenised replies, each with its stop token at the end.

    ValueError if there are none, one is empty, or two are equal.
    """
    if not replies or any(not reply for reply in replies):
        raise ValueError("replies must be a non-empty set of non-empty token sequences")
    tokens: list[int] = []
    parents: list[int] = []
    depths: list[int] = []
    children: list[list[int]] = [[]]
    leaves: list[int] = []
    for reply in replies:
        node = -1
        for token in reply:
            below = next((child for child in children[node + 1] if tokens[child] == token), None)
            if below is None:
                below = len(tokens)
                tokens.append(token)
                parents.append(node)
                depths.append(0 if node < 0 else depths[node] + 1)
                children[node + 1].append(below)
                children.append([])
            node = below
        leaves.append(node)
    if len(set(leaves)) != len(replies):
        raise ValueError("two replies have the same tokens")
    return ReplyTrie(
        tuple(tokens), tuple(parents), tuple(depths), tuple(tuple(below) for below in children), tuple(leaves)
    )


def choose_reply(trie: ReplyTrie, logits: NDArray[np.float32]) -> Choice:
    """Turn next-token logits into a choice.

    logits: [nodes + 1, V]; row 0 follows the prompt, row i + 1 follows node i. At each branch
    the probability is the softmax over the branch's tokens; a reply's is the product along its
    path. The index is that of greedy decoding under the same grammar.
    """
    node_probability = np.ones(len(trie.tokens) + 1)
    best_child = [-1] * (len(trie.tokens) + 1)
    for row, below in enumerate(trie.children):
        if not below:
            continue
        scores = logits[row, [trie.tokens[child] for child in below]].astype(np.float64)
        weights = np.exp(scores - scores.max())
        for child, weight in zip(below, weights / weights.sum(), strict=True):
            node_probability[child + 1] = node_probability[row] * weight
        best_child[row] = below[int(scores.argmax())]
    node = -1
    while best_child[node + 1] >= 0:
        node = best_child[node + 1]
    return Choice(trie.leaves.index(node), tuple(float(node_probability[leaf + 1]) for leaf in trie.leaves))
