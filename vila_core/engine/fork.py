"""Several prompts that begin alike, read in one pass: what they have in common, then their ends as branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vila_core.engine.prefix_cache import Piece, common_tokens
from vila_core.engine.reader import Tail
from vila_core.models.vlm import VisionLanguageModel


@dataclass(frozen=True, slots=True)
class Fork:
    """Prompts of which only the ends differ. trunk: what all begin with. ends: the ids behind it, one at least."""

    trunk: tuple[Piece, ...]
    ends: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class End:
    """A prompt's last ids, and the nodes of its reply trie that hang from them, if any are read."""

    ids: tuple[int, ...]
    tail: Tail | None

    @property
    def nodes(self) -> int:
        """How many nodes are read behind the ids."""
        return 0 if self.tail is None else len(self.tail.depths)

    @property
    def size(self) -> int:
        """Tokens, its nodes included."""
        return len(self.ids) + self.nodes


def fork(prompts: Sequence[Sequence[Piece]]) -> Fork | None:
    """Part prompts, at least one, into trunk and ends; None if a picture stands in an end or they have no trunk."""
    first = prompts[0]
    shared = min(common_tokens(first, other) for other in prompts)
    shared = min(shared, *(sum(piece.count for piece in pieces) - 1 for pieces in prompts))
    ends = [_ids_behind(pieces, shared) for pieces in prompts]
    if shared < 1 or any(end is None for end in ends):
        return None
    return Fork(_beginning(first, shared), tuple(end for end in ends if end is not None))


def groups(ends: Sequence[End], most: int) -> list[slice]:
    """Part ends into neighbours of at most `most` tokens together; a longer one is alone."""
    result, start, size = [], 0, 0
    for number, end in enumerate(ends):
        if number > start and size + end.size > most:
            result.append(slice(start, number))
            start, size = number, 0
        size += end.size
    return [*result, slice(start, len(ends))]


def forked_tail(model: VisionLanguageModel, ends: Sequence[End]) -> Tail:
    """Lay the ends side by side behind a trunk; none sees another."""
    size = sum(end.size for end in ends)
    sees = np.zeros((size, size), dtype=bool)
    embeddings, depths, at = list[Tensor](), [], 0
    for end in ends:
        count, stop = len(end.ids), at + end.size
        behind = at + count
        sees[at:behind, at:behind] = np.tri(count, dtype=bool)
        embeddings.append(model.embed_ids(end.ids))
        depths.append(np.arange(count))
        if end.tail is not None:
            sees[behind:stop, at:behind] = True
            sees[behind:stop, behind:stop] = end.tail.sees
            embeddings.append(end.tail.embeddings)
            depths.append(count + end.tail.depths)
        at = stop
    return Tail(torch.cat(embeddings), np.concatenate(depths), sees)


def parted(hidden: Tensor, ends: Sequence[End]) -> list[Tensor]:
    """Hidden states [1 + n, D] behind the trunk and its forked tail -> for each end those behind it and its nodes."""
    parts, at = [], 0
    for end in ends:
        last = at + len(end.ids)  # row 0 is the trunk's: the end's last token stands in this one
        parts.append(hidden[last : last + 1 + end.nodes])
        at += end.size
    return parts


def _ids_behind(pieces: Sequence[Piece], count: int) -> tuple[int, ...] | None:
    """The ids behind the first `count` tokens; None if they are not all text."""
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


def _beginning(pieces: Sequence[Piece], count: int) -> tuple[Piece, ...]:
    """The first `count` tokens; no picture is cut, as ends are text."""
    kept = []
    for piece in pieces:
        if count <= 0:
            break
        kept.append(piece if piece.count <= count else Piece.of_text(piece.ids[:count]))
        count -= piece.count
    return tuple(kept)
