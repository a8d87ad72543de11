"""Several prompts that begin alike, scored in one pass: their shared prefix, then their suffixes side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vila_core.engine.cached_decoder import TokenTree
from vila_core.engine.prefix_cache import Piece, common_tokens
from vila_core.models.vlm import VisionLanguageModel


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """Prompts that begin alike. prefix: what all begin with. suffixes: each one's ids behind it, one at least."""

    prefix: tuple[Piece, ...]
    suffixes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Suffix:
    """A prompt's last ids, and the nodes of its reply trie that hang from them, if any must be scored."""

    ids: tuple[int, ...]
    tree: TokenTree | None

    @property
    def nodes(self) -> int:
        """How many nodes go through the decoder behind the ids."""
        return 0 if self.tree is None else len(self.tree.depths)

    @property
    def size(self) -> int:
        """Tokens, its nodes included."""
        return len(self.ids) + self.nodes


def split_prompts(prompts: Sequence[Sequence[Piece]]) -> SharedPrefix | None:
    """Split prompts, at least one, into prefix and suffixes; None without a prefix or with a picture in a suffix."""
    first = prompts[0]
    shared = min(common_tokens(first, other) for other in prompts)
    shared = min(shared, *(sum(piece.count for piece in pieces) - 1 for pieces in prompts))
    suffixes = [_ids_behind(pieces, shared) for pieces in prompts]
    if shared < 1 or any(suffix is None for suffix in suffixes):
        return None
    return SharedPrefix(_first(first, shared), tuple(suffix for suffix in suffixes if suffix is not None))


def suffix_groups(suffixes: Sequence[Suffix], most: int) -> list[slice]:
    """Split suffixes into neighbours of at most `most` tokens together; a longer one is alone."""
    result, start, size = [], 0, 0
    for number, suffix in enumerate(suffixes):
        if number > start and size + suffix.size > most:
            result.append(slice(start, number))
            start, size = number, 0
        size += suffix.size
    return [*result, slice(start, len(suffixes))]


def suffix_tree(model: VisionLanguageModel, suffixes: Sequence[Suffix]) -> TokenTree:
    """Lay the suffixes side by side behind their prefix; none sees another."""
    size = sum(suffix.size for suffix in suffixes)
    sees = np.zeros((size, size), dtype=bool)
    embeddings, depths, at = list[Tensor](), [], 0
    for suffix in suffixes:
        count, stop = len(suffix.ids), at + suffix.size
        behind = at + count
        sees[at:behind, at:behind] = np.tri(count, dtype=bool)
        embeddings.append(model.embed_ids(suffix.ids))
        depths.append(np.arange(count))
        if suffix.tree is not None:
            sees[behind:stop, at:behind] = True
            sees[behind:stop, behind:stop] = suffix.tree.sees
            embeddings.append(suffix.tree.embeddings)
            depths.append(count + suffix.tree.depths)
        at = stop
    return TokenTree(torch.cat(embeddings), np.concatenate(depths), sees)


def split_hidden(hidden: Tensor, suffixes: Sequence[Suffix]) -> list[Tensor]:
    """Split the hidden states [1 + n, D] of prefix and tree into those behind each suffix and its nodes."""
    parts, at = [], 0
    for suffix in suffixes:
        last = at + len(suffix.ids)  # row 0 is the prefix's: the suffix's last token stands in this one
        parts.append(hidden[last : last + 1 + suffix.nodes])
        at += suffix.size
    return parts


def _ids_behind(pieces: Sequence[Piece], count: int) -> tuple[int, ...] | None:
    """Return the ids behind the first `count` tokens; None if they are not all text."""
    ids: tuple[int, ...] = ()
    start = 0
    for piece in pieces:
        stop = start + piece.count
        if stop > count:
            if not piece.ids:
                return None
            ids += piece.ids[max(0, count - start) :]
        start = stop
    return ids


def _first(pieces: Sequence[Piece], count: int) -> tuple[Piece, ...]:
    """Return the first `count` tokens; no picture is cut, as suffixes are text."""
    kept = []
    for piece in pieces:
        if count <= 0:
            break
        kept.append(piece if piece.count <= count else Piece.of_text(piece.ids[:count]))
        count -= piece.count
    return tuple(kept)
