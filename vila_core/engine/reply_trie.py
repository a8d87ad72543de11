"""A finite set of replies as a prefix trie, scored by one model in one forward pass with a tree mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vila_core.engine.cached_decoder import TokenTree
from vila_core.errors import NotFiniteError
from vila_core.models.vlm import VisionLanguageModel
from vila_core.types import Choice


@dataclass(frozen=True, slots=True, eq=False)
class Grammar:
    """Replies as a model sees them.

    tree: the nodes that must be read, None if the prompt's last state decides alone. head: [U, D] float32, the rows of
    the language head for the tokens at which replies part: the rest of the vocabulary is not computed.
    parting: for each branching, which hidden state decides it. columns: for each branching, which of the U are its
    tokens.
    """

    trie: ReplyTrie
    tree: TokenTree | None
    head: Tensor
    parting: Tensor
    columns: tuple[NDArray[np.int64], ...]

    def choose(self, hidden: Tensor) -> Choice:
        """Score the replies. hidden: [1 + n, D], behind the prompt and behind each node of the tree."""
        trie = self.trie
        if not trie.branchings:
            return choose_reply(trie, ())
        scores = (hidden[self.parting].float() @ self.head.T).cpu().numpy()
        return choose_reply(trie, [row[columns] for row, columns in zip(scores, self.columns, strict=True)])


def make_grammar(model: VisionLanguageModel, replies: Sequence[str]) -> Grammar:
    """Tokenise the replies, each closed by the checkpoint's end of text. ValueError as build_trie."""
    stop = model.config.language.eos_token_ids[:1]
    return grammar_of(model, [(*model.tokenizer.encode(reply), *stop) for reply in replies])


def grammar_of(model: VisionLanguageModel, replies: Sequence[Sequence[int]]) -> Grammar:
    """Make the grammar from token ids, for replies that are no plain text, as time tokens. ValueError as build_trie."""
    trie = build_trie(replies)
    tokens = sorted({token for branching in trie.branchings for token in branching.tokens})
    column = {token: at for at, token in enumerate(tokens)}
    tree = None
    if trie.read:
        depths = np.array(trie.depths[: trie.read])
        tree = TokenTree(model.embed_ids(trie.tokens[: trie.read]), depths, trie.mask())
    rows, parting = (
        torch.tensor(numbers, dtype=torch.long, device=model.device)
        for numbers in (tokens, [branching.node + 1 for branching in trie.branchings])
    )
    return Grammar(
        trie,
        tree,
        model.language_model.head_rows(rows).float(),
        parting,
        tuple(np.array([column[token] for token in branching.tokens]) for branching in trie.branchings),
    )


@dataclass(frozen=True, slots=True)
class Branching:
    """A place where replies part: behind `node` (-1: the prompt) comes one of `tokens`, each a node of `below`."""

    node: int
    tokens: tuple[int, ...]
    below: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ReplyTrie:
    """Nodes in topological order; node i holds tokens[i] and hangs from parents[i] (-1: the prompt).

    leaves[r] is the node that ends reply r. Only the first `read` nodes must be read by the model: what lies behind
    the last place where replies part is forced. branchings are in topological order.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    depths: tuple[int, ...]
    leaves: tuple[int, ...]
    read: int
    branchings: tuple[Branching, ...]

    def path(self, node: int) -> tuple[int, ...]:
        """The tokens from the prompt up to a node, its own last; none for the prompt, -1."""
        return () if node < 0 else (*self.path(self.parents[node]), self.tokens[node])

    def mask(self) -> NDArray[np.bool_]:
        """[read, read]: True where a node sees another: its ancestors and itself."""
        seen = np.zeros((self.read, self.read), dtype=bool)
        for node, parent in enumerate(self.parents[: self.read]):
            if parent >= 0:
                seen[node] = seen[parent]
            seen[node, node] = True
        return seen


def build_trie(replies: Sequence[Sequence[int]]) -> ReplyTrie:
    """Build the trie of tokenised replies, each with its stop token at the end.

    ValueError if there are none, one is empty, or one is how another begins.
    """
    if not replies or any(not reply for reply in replies):
        raise ValueError("replies must be a non-empty set of non-empty token sequences")
    paths = [tuple(reply) for reply in replies]
    if len(set(paths)) != len(paths):
        raise ValueError("two replies have the same tokens")
    children: dict[tuple[int, ...], list[int]] = {}  # prefix -> the tokens that may follow, as first met
    for path in paths:
        for end, token in enumerate(path):
            following = children.setdefault(path[:end], [])
            if token not in following:
                following.append(token)
    if any(path in children for path in paths):
        raise ValueError("a reply is the beginning of another; close each with a stop token")
    parting = {prefix for prefix, following in children.items() if len(following) > 1}
    needed = {prefix[:end] for prefix in parting for end in range(1, len(prefix) + 1)}
    nodes = [(*prefix, token) for prefix, following in children.items() for token in following]
    nodes.sort(key=lambda node: (node not in needed, len(node)))  # stable: those read first, parents before children
    index = {(): -1} | {node: i for i, node in enumerate(nodes)}
    return ReplyTrie(
        tokens=tuple(node[-1] for node in nodes),
        parents=tuple(index[node[:-1]] for node in nodes),
        depths=tuple(len(node) - 1 for node in nodes),
        leaves=tuple(index[path] for path in paths),
        read=len(needed),
        branchings=tuple(
            Branching(index[prefix], tuple(children[prefix]), tuple(index[prefix + (t,)] for t in children[prefix]))
            for prefix in sorted(parting, key=lambda prefix: (len(prefix), index[prefix]))
        ),
    )


def choose_reply(trie: ReplyTrie, scores: Sequence[NDArray[np.float32]]) -> Choice:
    """Turn the model's scores into a choice.

    scores: for each branching the logits of its tokens. There the probability is their softmax; a reply's is the
    product along its path. The index is that of greedy decoding under the same grammar. Raises NotFiniteError for
    scores that are NaN or infinite.
    """
    share = [1.0] * len(trie.tokens)  # of its parent's probability
    greedy = [True] * len(trie.tokens)
    for branching, logits in zip(trie.branchings, scores, strict=True):
        row = logits.tolist()  # a handful of numbers: arrays of numpy would cost more than their sums
        if not math.isfinite(sum(row)):
            raise NotFiniteError("the scores of the replies are not finite")
        best = int(logits.argmax())
        weights = [math.exp(logit - row[best]) for logit in row]
        total = sum(weights)
        for at, node in enumerate(branching.below):
            share[node], greedy[node] = weights[at] / total, at == best
    for node, parent in enumerate(trie.parents):  # topological: a parent is done before its children
        if parent >= 0:
            share[node] *= share[parent]
            greedy[node] = greedy[node] and greedy[parent]
    index = next(reply for reply, leaf in enumerate(trie.leaves) if greedy[leaf])
    return Choice(index, tuple(share[leaf] for leaf in trie.leaves))
