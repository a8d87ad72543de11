"""A finite set of replies, ready to be scored by one model: its trie, and what the model needs of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vila_core.engine.reader import Tail
from vila_core.engine.reply_trie import ReplyTrie, build_trie, choose_reply
from vila_core.models.vlm import VisionLanguageModel
from vila_core.types import Choice


@dataclass(frozen=True, slots=True, eq=False)
class Grammar:
    """Replies as a model sees them.

    tail: the nodes that must be read, None if the prompt's last state decides alone. head: [U, D] float32, the rows of
    the language head for the tokens at which replies part: the rest of the vocabulary is not computed.
    parting: for each branching, which hidden state decides it. columns: for each branching, which of the U are its
    tokens.
    """

    trie: ReplyTrie
    tail: Tail | None
    head: Tensor
    parting: Tensor
    columns: tuple[NDArray[np.int64], ...]

    def choose(self, hidden: Tensor) -> Choice:
        """Score the replies. hidden: [1 + n, D], behind the prompt and behind each node of the tail."""
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
    """The same from token ids: for replies that are no plain text, as time tokens. ValueError as build_trie."""
    trie = build_trie(replies)
    tokens = sorted({token for branching in trie.branchings for token in branching.tokens})
    column = {token: at for at, token in enumerate(tokens)}
    tail = None
    if trie.read:
        depths = np.array(trie.depths[: trie.read])
        tail = Tail(model.embed_ids(trie.tokens[: trie.read]), depths, trie.mask())
    rows, parting = (
        torch.tensor(numbers, dtype=torch.long, device=model.device)
        for numbers in (tokens, [branching.node + 1 for branching in trie.branchings])
    )
    return Grammar(
        trie,
        tail,
        model.language_model.head_rows(rows).float(),
        parting,
        tuple(np.array([column[token] for token in branching.tokens]) for branching in trie.branchings),
    )
