"""Which rows of the key/value cache hold which prompt: each branch keeps its last one, and all share beginnings.

Only the accounting; the keys and values lie in models.kv_cache.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import BackendError


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of a prompt. ids: of text; (): the visual that `visual` names, of `count` tokens."""

    count: int
    ids: tuple[int, ...] = ()
    visual: Hashable = None

    @classmethod
    def of_text(cls, ids: Sequence[int]) -> Piece:
        """Make the piece of a run of text."""
        return cls(len(ids), tuple(ids))


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where a prompt's tokens lie: the first `shared` of its rows [L] are filled, the others to be.

    scratch: rows for what is read behind the prompt and not kept. extent: one more than the last row of all these.
    """

    branch: str
    pieces: tuple[Piece, ...]
    shared: int
    rows: NDArray[np.int64]
    scratch: NDArray[np.int64]

    @property
    def extent(self) -> int:
        """One more than the last row that belongs to it."""
        return int(max(self.rows.max(initial=-1), self.scratch.max(initial=-1))) + 1


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    pieces: tuple[Piece, ...]
    rows: NDArray[np.int64]


class PrefixCache:
    """Branches, each with the rows of its last prompt; beginnings that are equal lie in the same rows.

    A branch's new prompt takes over the longest beginning that any branch holds; what its old one had besides is free
    at once. When rows run out the branches not used for longest are forgotten.
    """

    def __init__(self, rows: int) -> None:
        if rows < 1:
            raise ValueError(f"rows {rows}: must be at least 1")
        self.rows = rows
        self.reused = 0  # tokens that did not have to be read again
        self.read = 0  # tokens that had to be
        self.forgotten: set[str] = set()  # branches that lost their rows to others
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # the branch used last stands last

    def place(self, branch: str, pieces: Sequence[Piece], scratch: int = 0, *, least_new: int = 1) -> Placement:
        """Find rows for a prompt and for `scratch` more tokens.

        least_new: so many of its last tokens are read again even if they are there. The branch holds nothing until
        `keep` is told that the rows are filled. Raises BackendError if there are too few rows.
        """
        length = sum(piece.count for piece in pieces)
        if length + scratch > self.rows:
            raise BackendError(f"the prompt and its reply need {length + scratch} tokens, the cache has {self.rows}")
        shared = self._longest(pieces, length - least_new)
        self._kept.pop(branch, None)
        free = self._free(shared, length - len(shared) + scratch)
        new = free[: length - len(shared)]
        self.reused += len(shared)
        self.read += len(new)
        rows = np.concatenate((shared, new))
        return Placement(branch, tuple(pieces), len(shared), rows, free[len(new) :])

    def keep(self, placement: Placement) -> None:
        """Give the branch the prompt's rows; all of them are filled now."""
        self.forgotten.discard(placement.branch)
        self._kept[placement.branch] = _Kept(placement.pieces, placement.rows)

    @property
    def held(self) -> int:
        """Tokens of all branches' prompts, what they share counted for each."""
        return sum(len(kept.rows) for kept in self._kept.values())

    def forget(self) -> None:
        """Free all rows."""
        self._kept.clear()
        self.forgotten.clear()

    def branches(self) -> tuple[str, ...]:
        """Name the branches that hold something, the one used last at the end."""
        return tuple(self._kept)

    def _longest(self, pieces: Sequence[Piece], most: int) -> NDArray[np.int64]:
        """The rows of the longest beginning that a branch holds; that branch counts as used."""
        best, rows = "", np.empty(0, np.int64)
        for branch, kept in self._kept.items():
            count = min(common_tokens(kept.pieces, pieces), most)
            if count > len(rows):
                best, rows = branch, kept.rows[:count]
        if best:
            self._kept.move_to_end(best)
        return rows

    def _free(self, shared: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """The lowest free rows; branches are forgotten until there are enough."""
        while True:
            taken = np.zeros(self.rows, dtype=bool)
            taken[shared] = True
            for kept in self._kept.values():
                taken[kept.rows] = True
            free = np.flatnonzero(~taken)
            if len(free) >= count:
                return free[:count]
            self.forgotten.add(self._kept.popitem(last=False)[0])


def common_tokens(first: Sequence[Piece], second: Sequence[Piece]) -> int:
    """Return how many tokens two prompts begin alike with; a visual is shared as a whole or not at all."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one == other:
            count += one.count
            continue
        for a, b in zip(one.ids, other.ids, strict=False):
            if a != b:
                break
            count += 1
        return count
    return count
