"""Reads prompts into the key/value cache: only what no branch has read before, a bounded chunk at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vila_core.engine.prefix_cache import Piece, Placement, PrefixCache
from vila_core.engine.static_decoder import StaticDecoder
from vila_core.errors import BackendError
from vila_core.models.kv_cache import KVCache, Reading
from vila_core.models.upload import upload
from vila_core.models.vlm import VisionLanguageModel

CHUNK = 512  # tokens of one forward pass: bounds its memory, and little of the mask lies above the diagonal
_ROWS = 4096  # of the cache, or two full prompts of a model with fewer positions
_MOST_ROWS = 8192  # that the cache grows to so that no branch pushes another one out
_ROUND = 1024  # rows; a longer prompt makes the cache grow to a multiple of it


def cache_rows(needed: int, max_positions: int) -> int:
    """Rows of a cache in which a prompt of `needed` tokens, its reply included, was read."""
    usual = min(_ROWS, 2 * max_positions)
    return usual if needed <= usual else _ROUND * -(-needed // _ROUND)


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """Tokens read behind a prompt in the same pass and not kept: the nodes of a reply trie.

    embeddings: [n, D]. depths: [n], 0 right behind the prompt. sees: [n, n] bool.
    """

    embeddings: Tensor
    depths: NDArray[np.int64]
    sees: NDArray[np.bool_]


Decoder = Callable[[Tensor, Tensor, Reading], Tensor]  # inputs [1, L, D], positions [L] -> hidden states [1, L, D]


class PromptReader:
    """The model's decoder behind a prefix cache. Not thread-safe."""

    def __init__(
        self, model: VisionLanguageModel, *, rows: int = 0, make_decoder: Callable[[KVCache], Decoder] | None = None
    ) -> None:
        """Read with the model's own decoder, or with what make_decoder makes for a cache; rows: of it, 0 for enough."""
        self._model = model
        self._make_decoder = make_decoder
        self._make_cache(rows or cache_rows(0, model.config.language.max_positions))

    @property
    def kv_bytes(self) -> int:
        """What keys and values occupy."""
        return self._kv.bytes

    def read(
        self, branch: str, pieces: Sequence[Piece], embed: Callable[[int], Tensor], tail: Tail | None = None
    ) -> Tensor:
        """Read a prompt and what hangs behind it; returns hidden states [1 + n, D]: its last token's and the tail's.

        embed: number of a piece -> its embeddings [count, D]; asked only for pieces that are not there.
        Raises BackendError for a prompt longer than the model has positions.
        """
        scratch, depth = (0, 0) if tail is None else (len(tail.depths), int(tail.depths.max()) + 1)
        placement = self._place(branch, pieces, scratch, depth)
        hidden = self._run(placement, embed, tail)
        self.prefixes.keep(placement)
        return hidden

    def decode(
        self, branch: str, pieces: Sequence[Piece], embed: Callable[[int], Tensor], max_new_tokens: int
    ) -> Iterator[int]:
        """Read a prompt and yield greedily one token after the other, max_new_tokens at most.

        On a GPU the next token is on its way before the last one is looked at.
        """
        placement = self._place(branch, pieces, max_new_tokens, max_new_tokens)
        hidden = self._run(placement, embed, None)[0]
        self.prefixes.keep(placement)
        steps = self._tokens(placement, hidden)
        if self._model.device.type == "cuda":
            steps = _ahead(steps)
        for token in steps:
            yield int(token)

    def _tokens(self, placement: Placement, hidden: Tensor) -> Iterator[Tensor]:
        """Tokens [1] behind a prompt whose last hidden state is given, one for each row of scratch."""
        language, last = self._model.language_model, len(placement.scratch) - 1
        mask = torch.full((1, placement.extent), float("-inf"), dtype=self._model.dtype, device=self._model.device)
        mask[:, self._tensor(placement.rows)] = 0.0
        for count, row in enumerate(placement.scratch.tolist()):
            token = language.logits(hidden).argmax().view(1)
            yield token
            if count < last:
                mask[:, row] = 0.0
                reading = Reading(self._kv, slice(row, row + 1), placement.extent, mask)
                position = self._tensor(np.array([len(placement.rows) + count]))
                hidden = self._forward(language.embed_tokens(token)[None], position, reading)[0, 0]

    def close(self) -> None:
        """Drop the model and the keys and values."""
        del self._model, self._kv, self._forward, self._make_decoder
        self.prefixes.forget()

    def _make_cache(self, rows: int) -> None:
        model = self._model
        self.prefixes = PrefixCache(rows)
        spare = 1 if self._make_decoder is None else 0  # see StaticDecoder
        self._kv = KVCache(model.config.language, rows + spare, dtype=model.dtype, device=model.device)
        self._forward = self._decoder()

    def _decoder(self) -> Decoder:
        if self._make_decoder is not None:
            return self._make_decoder(self._kv)
        language = self._model.language_model
        if self._model.device.type == "cuda":
            return StaticDecoder(language, self._kv, record=True)
        return lambda inputs, positions, reading: language(inputs, positions, reading=reading)

    def _place(self, branch: str, pieces: Sequence[Piece], scratch: int, depth: int) -> Placement:
        """Find rows, in a larger cache if need be. depth: positions that the scratch takes behind the prompt."""
        length = sum(piece.count for piece in pieces)
        limit = self._model.config.language.max_positions
        if length + depth > limit:
            raise BackendError(
                f"the prompt and its reply need {length + depth} tokens, the model has {limit} positions"
            )
        needed = length + scratch
        if branch in self.prefixes.forgotten and self._make_decoder is None:
            needed = min(needed + self.prefixes.held, max(needed, _MOST_ROWS))
        if needed > self.prefixes.rows:
            self._make_cache(cache_rows(needed, limit))
        return self.prefixes.place(branch, pieces, scratch)

    def _run(self, placement: Placement, embed: Callable[[int], Tensor], tail: Tail | None) -> Tensor:
        """Hidden states [1 + n, D] behind the prompt."""
        length = len(placement.rows)
        for begin in range(placement.shared, length, CHUNK):
            end = min(begin + CHUNK, length)
            behind = tail if end == length else None
            inputs = [_embeddings(placement.pieces, embed, begin, end)]
            if behind is not None:
                inputs.append(behind.embeddings)
            reading, positions = self._reading(placement, begin, end, behind)
            hidden = self._forward(torch.cat(inputs)[None], positions, reading)[0]
        return hidden[end - begin - 1 :]

    def _reading(self, placement: Placement, begin: int, end: int, tail: Tail | None) -> tuple[Reading, Tensor]:
        """Where a prompt's tokens begin..end, and a tail behind them, go and what they see."""
        rows, positions = placement.rows[begin:end], np.arange(begin, end)
        known = placement.rows[:end]
        if tail is None and begin == 0 and np.array_equal(rows, positions):
            return Reading(self._kv, slice(0, end), end), self._tensor(positions)
        if tail is not None:
            rows = np.concatenate((rows, placement.scratch))
            positions = np.concatenate((positions, end + tail.depths))
        extent = int(max(known.max(), rows.max())) + 1
        mask = np.full((len(rows), extent), -np.inf, dtype=np.float32)
        mask[:, placement.rows[:begin]] = 0.0
        mask[: end - begin, placement.rows[begin:end]] = np.triu(np.full((end - begin,) * 2, -np.inf, np.float32), 1)
        if tail is not None:
            mask[end - begin :, placement.rows[begin:end]] = 0.0
            mask[end - begin :, placement.scratch] = np.where(tail.sees, 0.0, -np.inf)
        seen = upload(mask, self._model.device, self._model.dtype)
        return Reading(self._kv, self._rows(rows), extent, seen), self._tensor(positions)

    def _rows(self, rows: NDArray[np.int64]) -> slice | Tensor:
        first, count = int(rows[0]), len(rows)
        if np.array_equal(rows, np.arange(first, first + count)):
            return slice(first, first + count)
        return self._tensor(rows)

    def _tensor(self, values: NDArray[np.int64]) -> Tensor:
        return upload(values, self._model.device)


def _embeddings(pieces: Sequence[Piece], embed: Callable[[int], Tensor], begin: int, end: int) -> Tensor:
    """[end - begin, D] of a prompt's tokens; only the pieces that hold them are asked for."""
    parts, stop = [], 0
    for number, piece in enumerate(pieces):
        start, stop = stop, stop + piece.count
        if start < end and stop > begin:
            parts.append(embed(number)[max(0, begin - start) : end - start])
    return torch.cat(parts)


def _ahead(steps: Iterator[Tensor]) -> Iterator[Tensor]:
    """Ask for each next item before giving the last one out."""
    waiting = next(steps, None)
    while waiting is not None:
        following = next(steps, None)
        yield waiting
        waiting = following
