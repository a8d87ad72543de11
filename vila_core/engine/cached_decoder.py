"""The decoder behind a prefix cache: prefills only what no cache slot holds, a bounded chunk at a time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vila_core.engine.prefix_cache import Piece, Placement, PrefixCache, with_ids
from vila_core.engine.sampling import Pick, greedy
from vila_core.engine.static_decoder import StaticDecoder
from vila_core.errors import BackendError, NotFiniteError
from vila_core.models.functional import upload
from vila_core.models.kv_cache import AttentionContext, KVCache
from vila_core.models.language_model import LanguageModel
from vila_core.models.vlm import VisionLanguageModel

CHUNK = 512  # tokens of one forward pass: bounds its memory, and little of the mask lies above the diagonal
_ROWS = 4096  # of the cache, or two full prompts of a model with fewer positions
_MOST_ROWS = 8192  # that the cache grows to so that no slot pushes another one out
_ROUND = 1024  # rows; a longer prompt makes the cache grow to a multiple of it


def cache_rows(needed: int, max_positions: int) -> int:
    """Return the rows of a cache that has held a prompt of `needed` tokens, its reply included."""
    usual = min(_ROWS, 2 * max_positions)
    return usual if needed <= usual else _ROUND * -(-needed // _ROUND)


@dataclass(frozen=True, slots=True, eq=False)
class TokenTree:
    """Tokens that go through the decoder behind a prompt, in the same pass, and are not kept: nodes of a reply trie.

    embeddings: [n, D]. depths: [n], 0 right behind the prompt. sees: [n, n] bool.
    """

    embeddings: Tensor
    depths: NDArray[np.int64]
    sees: NDArray[np.bool_]


class Decoder(Protocol):
    """What runs the layers; it may keep buffers between calls."""

    def __call__(self, inputs: Tensor, positions: Tensor, context: AttentionContext) -> Tensor:
        """Inputs [1, L, D], positions [L] and what they see -> hidden states [1, L, D]."""
        ...

    def clear(self) -> None:
        """Make zeros of what the buffers hold."""
        ...


_Step = tuple[Tensor, Tensor]  # a token and its logit, [1] each


class CachedDecoder:
    """The model's decoder behind a prefix cache. Not thread-safe."""

    def __init__(
        self, model: VisionLanguageModel, *, rows: int = 0, make_decoder: Callable[[KVCache], Decoder] | None = None
    ) -> None:
        """Run the model's own decoder, or what make_decoder makes for a cache; rows: of it, 0 for enough."""
        self._model = model
        self._make_decoder = make_decoder
        self._make_cache(rows or cache_rows(0, model.config.language.max_positions))

    @property
    def kv_bytes(self) -> int:
        """What keys and values occupy."""
        return self._kv.bytes

    def prefill(
        self, cache_slot: str, pieces: Sequence[Piece], embed: Callable[[int], Tensor], tree: TokenTree | None = None
    ) -> Tensor:
        """Prefill a prompt and the tree behind it; returns hidden states [1 + n, D], its last token's and the tree's.

        embed: number of a piece -> its embeddings [count, D]; asked only for pieces that are not there.
        Raises BackendError for a prompt longer than the model has positions.
        """
        # 1. Give the prompt rows of the KV cache: those of its longest prefix that any slot holds, and free ones.
        scratch, depth = (0, 0) if tree is None else (len(tree.depths), int(tree.depths.max()) + 1)
        placement = self._place(cache_slot, pieces, scratch, depth)
        # 2. Run the decoder over the tokens that are new, and over the tree with the last of them.
        hidden = self._run(placement, embed, tree)
        # 3. The rows are filled: from now on other prompts may share them.
        self.prefixes.keep(placement)
        return hidden

    def decode(
        self, cache_slot: str, pieces: Sequence[Piece], embed: Callable[[int], Tensor], max_new_tokens: int
    ) -> Iterator[int]:
        """Prefill a prompt and yield greedily one token after the other, max_new_tokens at most.

        On a GPU the next token is on its way before the last one is looked at. Raises NotFiniteError for logits that
        are NaN or infinite.
        """
        placement = self._place(cache_slot, pieces, max_new_tokens, max_new_tokens)
        hidden = self._run(placement, embed, None)[0]
        self.prefixes.keep(placement)
        steps = self._tokens(placement, hidden)
        if self._model.device.type == "cuda":
            steps = _ahead(steps)
        for token, logit in steps:
            if not math.isfinite(float(logit)):
                raise NotFiniteError("the logits of the next token are not finite")
            yield int(token)

    def continue_reply(
        self,
        cache_slot: str,
        pieces: Sequence[Piece],
        embed: Callable[[int], Tensor],
        most: int,
        pick: Pick,
        tell: Callable[[int], bool],
    ) -> None:
        """Prefill what is new of a prompt and the begin of its reply, and tell each further token, `most` of them.

        tell: takes a token and returns True to have the next one. What was told stays in the slot, so that the reply
        can be continued after other work at the price of one token. Raises NotFiniteError as decode does.
        """
        placement = self._place(cache_slot, pieces, most, most)
        hidden = self._run(placement, embed, None)[0]
        told: list[int] = []
        for token, logit in self._tokens(placement, hidden, pick):
            if not math.isfinite(float(logit)):
                raise NotFiniteError("the logits of the next token are not finite")
            told.append(int(token))
            if not tell(told[-1]):
                break
        read = told[:-1]  # the last one has not been through the decoder
        rows = np.concatenate((placement.rows, placement.scratch[: len(read)]))
        self.prefixes.keep(dataclasses.replace(placement, pieces=with_ids(pieces, read), rows=rows))

    def forget(self) -> None:
        """Drop all prompts, and their keys and values: what is not seen is still multiplied, by zero."""
        self.prefixes.forget()
        self._kv.clear()
        self._forward.clear()

    def close(self) -> None:
        """Drop the model and the keys and values."""
        del self._model, self._kv, self._forward, self._make_decoder
        self.prefixes.forget()

    def _place(self, cache_slot: str, pieces: Sequence[Piece], scratch: int, depth: int) -> Placement:
        """Find rows, in a larger cache if need be. depth: positions that the scratch takes behind the prompt."""
        length = sum(piece.count for piece in pieces)
        limit = self._model.config.language.max_positions
        if length + depth > limit:
            raise BackendError(
                f"the prompt and its reply need {length + depth} tokens, the model has {limit} positions"
            )
        needed = length + scratch
        if cache_slot in self.prefixes.forgotten and self._make_decoder is None:
            needed = min(needed + self.prefixes.held, max(needed, _MOST_ROWS))
        if needed > self.prefixes.rows:
            self._make_cache(cache_rows(needed, limit))
        return self.prefixes.place(cache_slot, pieces, scratch)

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
        return _PlainDecoder(language)

    def _run(self, placement: Placement, embed: Callable[[int], Tensor], tree: TokenTree | None) -> Tensor:
        """Return the hidden states [1 + n, D] behind the prompt; the shared prefix is skipped, the tree goes last."""
        length = len(placement.rows)
        for begin in range(placement.shared, length, CHUNK):
            end = min(begin + CHUNK, length)
            behind = tree if end == length else None
            inputs = [_embeddings(placement.pieces, embed, begin, end)]
            if behind is not None:
                inputs.append(behind.embeddings)
            context, positions = self._context(placement, begin, end, behind)
            hidden = self._forward(torch.cat(inputs)[None], positions, context)[0]
        return hidden[end - begin - 1 :]

    def _context(
        self, placement: Placement, begin: int, end: int, tree: TokenTree | None
    ) -> tuple[AttentionContext, Tensor]:
        """Say where a prompt's tokens begin..end, and a tree behind them, are written and what each of them sees."""
        rows, positions = placement.rows[begin:end], np.arange(begin, end)
        known = placement.rows[:end]
        if tree is None and begin == 0 and np.array_equal(rows, positions):
            return AttentionContext(self._kv, slice(0, end), end), self._tensor(positions)
        if tree is not None:
            rows = np.concatenate((rows, placement.scratch))
            positions = np.concatenate((positions, end + tree.depths))
        extent = int(max(known.max(), rows.max())) + 1
        mask = np.full((len(rows), extent), -np.inf, dtype=np.float32)
        mask[:, placement.rows[:begin]] = 0.0
        mask[: end - begin, placement.rows[begin:end]] = np.triu(np.full((end - begin,) * 2, -np.inf, np.float32), 1)
        if tree is not None:
            mask[end - begin :, placement.rows[begin:end]] = 0.0
            mask[end - begin :, placement.scratch] = np.where(tree.sees, 0.0, -np.inf)
        seen = upload(mask, self._model.device, self._model.dtype)
        return AttentionContext(self._kv, self._rows(rows), extent, seen), self._tensor(positions)

    def _tokens(self, placement: Placement, hidden: Tensor, pick: Pick = greedy) -> Iterator[_Step]:
        """Yield the tokens [1] behind a prompt whose last hidden state is given, one for each row of scratch.

        With each comes its logit [1], the largest: NaN if any is NaN.
        """
        language, last = self._model.language_model, len(placement.scratch) - 1
        mask = torch.full((1, placement.extent), float("-inf"), dtype=self._model.dtype, device=self._model.device)
        mask[:, self._tensor(placement.rows)] = 0.0
        for count, row in enumerate(placement.scratch.tolist()):
            token, logit = pick(language.logits(hidden))
            yield token, logit
            if count < last:
                mask[:, row] = 0.0
                context = AttentionContext(self._kv, slice(row, row + 1), placement.extent, mask)
                position = self._tensor(np.array([len(placement.rows) + count]))
                hidden = self._forward(language.embed_tokens(token)[None], position, context)[0, 0]

    def _rows(self, rows: NDArray[np.int64]) -> slice | Tensor:
        first, count = int(rows[0]), len(rows)
        if np.array_equal(rows, np.arange(first, first + count)):
            return slice(first, first + count)
        return self._tensor(rows)

    def _tensor(self, values: NDArray[np.int64]) -> Tensor:
        return upload(values, self._model.device)


class _PlainDecoder:
    """The language model as it is, without buffers."""

    def __init__(self, language: LanguageModel) -> None:
        self._language = language

    def __call__(self, inputs: Tensor, positions: Tensor, context: AttentionContext) -> Tensor:
        return self._language(inputs, positions, context=context)

    def clear(self) -> None:
        """Do nothing: there are no buffers."""


def _embeddings(pieces: Sequence[Piece], embed: Callable[[int], Tensor], begin: int, end: int) -> Tensor:
    """Return [end - begin, D] of a prompt's tokens; only the pieces that hold them are asked for."""
    parts, stop = [], 0
    for number, piece in enumerate(pieces):
        start, stop = stop, stop + piece.count
        if start < end and stop > begin:
            parts.append(embed(number)[max(0, begin - start) : end - start])
    return torch.cat(parts)


def _ahead(steps: Iterator[_Step]) -> Iterator[_Step]:
    """Ask for each next item before giving the last one out."""
    waiting = next(steps, None)
    while waiting is not None:
        following = next(steps, None)
        yield waiting
        waiting = following
