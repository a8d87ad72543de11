"""Which rows of the key/value cache hold which prompt: each cache slot keeps its last one, and all share prefixes.

Only the accounting; the keys and values lie in models.kv_cache.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import BackendError
from vila_core.models.vlm import Segment
from vila_core.types import NAVIGATION_SLOT, Visual

_ROUND = 128  # rows: a history that grows does not push others away at each decision


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

    scratch: rows for what is computed behind the prompt and not kept. extent: one more than the last row of all these.
    """

    cache_slot: str
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
    """Cache slots, each with the rows of its last prompt; a prefix that prompts share lies in the same rows.

    A slot's new prompt takes over the longest prefix that any slot holds; what its old one had besides is free
    at once. When rows run out the slots not used for longest are forgotten. Navigation has the first rows, as if it
    were alone: sums over keys are rounded in the order of their rows, and a decision is to be the same whatever else
    was asked.
    """

    def __init__(self, rows: int) -> None:
        if rows < 1:
            raise ValueError(f"rows {rows}: must be at least 1")
        self.rows = rows
        self.reused = 0  # tokens whose keys and values were there
        self.prefilled = 0  # tokens whose keys and values were computed
        self.forgotten: set[str] = set()  # slots that lost their rows to others
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # the slot used last stands last
        self._reserved = 0  # the most rows that navigation has needed, rounded up: others take them only if they must
        self._needed = 0  # rows that its last prompt needed

    def place(self, cache_slot: str, pieces: Sequence[Piece], scratch: int = 0, *, least_new: int = 1) -> Placement:
        """Find rows for a prompt and for `scratch` more tokens.

        least_new: so many of its last tokens are prefilled again even if they are there. The slot holds nothing until
        `keep` is told that the rows are filled. Raises BackendError if there are too few rows.
        """
        length = sum(piece.count for piece in pieces)
        if length + scratch > self.rows:
            raise BackendError(f"the prompt and its reply need {length + scratch} tokens, the cache has {self.rows}")
        if cache_slot == NAVIGATION_SLOT:
            shared, free = self._first_rows(pieces, length - least_new, length + scratch)
        else:
            shared = self._longest(pieces, length - least_new)
            self._kept.pop(cache_slot, None)
            free = self._free(shared, length - len(shared) + scratch)
        new = free[: length - len(shared)]
        self.reused += len(shared)
        self.prefilled += len(new)
        rows = np.concatenate((shared, new))
        return Placement(cache_slot, tuple(pieces), len(shared), rows, free[len(new) :])

    def keep(self, placement: Placement) -> None:
        """Give the slot the prompt's rows; all of them are filled now."""
        self.forgotten.discard(placement.cache_slot)
        self._kept[placement.cache_slot] = _Kept(placement.pieces, placement.rows)

    @property
    def held(self) -> int:
        """Tokens of all slots' prompts, what they share counted for each."""
        return sum(len(kept.rows) for kept in self._kept.values())

    def forget(self) -> None:
        """Free all rows."""
        self._kept.clear()
        self.forgotten.clear()

    def slots(self) -> tuple[str, ...]:
        """Name the slots that hold something, the one used last at the end."""
        return tuple(self._kept)

    def _first_rows(
        self, pieces: Sequence[Piece], most: int, needed: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first rows: those that hold what navigation's last prompt began with, and those to be filled.

        Slots that have one of the latter are forgotten; as navigation's rows are never fewer than before, that ends.
        """
        last = self._kept.pop(NAVIGATION_SLOT, None)
        count = 0 if last is None else max(0, min(common_tokens(last.pieces, pieces), most))
        for slot in [slot for slot, kept in self._kept.items() if ((kept.rows >= count) & (kept.rows < needed)).any()]:
            del self._kept[slot]
            self.forgotten.add(slot)
        self._needed = needed
        self._reserved = max(self._reserved, _ROUND * -(-needed // _ROUND))
        rows = np.arange(needed)
        return rows[:count], rows[count:]

    def _longest(self, pieces: Sequence[Piece], most: int) -> NDArray[np.int64]:
        """Return the rows of the longest prefix that a slot holds; that slot counts as used."""
        best, rows = "", np.empty(0, np.int64)
        for slot, kept in self._kept.items():
            count = min(common_tokens(kept.pieces, pieces), most)
            if count > len(rows):
                best, rows = slot, kept.rows[:count]
        if best:
            self._kept.move_to_end(best)
        return rows

    def _free(self, shared: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """Return the lowest free rows; slots are forgotten until there are enough."""
        room = self.rows - len(shared) - count
        reserved = next(rows for rows in (self._reserved, self._needed, 0) if rows <= room or not rows)
        while True:
            taken = np.zeros(self.rows, dtype=bool)
            taken[:reserved] = True
            taken[shared] = True
            for kept in self._kept.values():
                taken[kept.rows] = True
            free = np.flatnonzero(~taken)
            if len(free) >= count:
                return free[:count]
            oldest = next(slot for slot in self._kept if slot != NAVIGATION_SLOT or not reserved)
            del self._kept[oldest]
            self.forgotten.add(oldest)


def pieces_of(segments: Sequence[Segment], visuals: Sequence[Visual], visual_tokens: int) -> tuple[Piece, ...]:
    """Describe a segmented prompt as the cache compares it. visual_tokens: of a whole frame."""
    return tuple(
        Piece.of_text(run.ids) if run.visual is None else _piece(visuals[run.visual], visual_tokens) for run in segments
    )


def _piece(visual: Visual, visual_tokens: int) -> Piece:
    return Piece(visual.tokens or visual_tokens, visual=visual.key)


def with_ids(pieces: Sequence[Piece], ids: Sequence[int]) -> tuple[Piece, ...]:
    """Return the pieces of a prompt with more text behind it."""
    if not ids:
        return tuple(pieces)
    if pieces and pieces[-1].ids:
        return (*pieces[:-1], Piece.of_text((*pieces[-1].ids, *ids)))
    return (*pieces, Piece.of_text(ids))


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
