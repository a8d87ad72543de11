"""Greedy decoding, one token at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor

from vila_core.errors import BackendError
from vila_core.models.kv_cache import KVCache
from vila_core.models.vlm import VisionLanguageModel

_ROUND = 256  # tokens; a cache that has grown to a multiple of it serves the next prompt too


def room_for(model: VisionLanguageModel, needed: int, kv: KVCache | None = None) -> KVCache:
    """Return an empty cache for `needed` tokens: the given one if it is large enough.

    Raises BackendError if the model has fewer positions.
    """
    limit = model.config.language.max_positions
    if needed > limit:
        raise BackendError(f"the prompt and its reply need {needed} tokens, the model has {limit} positions")
    if kv is None or kv.capacity < needed:
        capacity = min(limit, _ROUND * -(-needed // _ROUND))
        kv = KVCache(model.config.language, capacity, dtype=model.dtype, device=model.device)
    kv.truncate(0)
    return kv


def greedy_steps(model: VisionLanguageModel, embeddings: Tensor, kv: KVCache) -> Iterator[tuple[int, Tensor]]:
    """Yield token after token with the logits [V] it was taken from, for ever or until the cache is full.

    embeddings: [L, D] of the prompt; kv: empty, and filled on the way.
    """
    while True:
        positions = torch.arange(kv.length, kv.length + embeddings.shape[0], device=model.device)
        hidden = model.language_model(embeddings[None], positions, cache=kv)[0, -1]
        logits = model.language_model.logits(hidden)
        token = int(logits.argmax())
        yield token, logits
        embeddings = model.embed_ids([token])


def greedy_ids(
    model: VisionLanguageModel, embeddings: Tensor, kv: KVCache, *, max_new_tokens: int, stop_ids: Collection[int]
) -> Iterator[int]:
    """Yield at most max_new_tokens tokens of the reply; the stop token that ends it is not among them."""
    if max_new_tokens < 1:
        return
    for count, (token, _) in enumerate(greedy_steps(model, embeddings, kv), start=1):
        if token in stop_ids:
            return
        yield token
        if count == max_new_tokens:
            return
