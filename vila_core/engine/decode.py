"""One prompt read from its first token on, nothing reused, and decoded greedily."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from vila_core.engine.finite import require_finite, require_stage
from vila_core.engine.frame_encoder import embed_visual
from vila_core.errors import BackendError
from vila_core.models.kv_cache import KVCache, append
from vila_core.models.vlm import VisionLanguageModel
from vila_core.types import Prompt


def whole_pass(model: VisionLanguageModel, prompt: Prompt, ids: Sequence[int] = ()) -> None:
    """Compute a prompt's logits, with ids of a reply behind it, all of it anew; for traces, see engine.finite.

    Raises StageError where something is not finite that no layer tells of.
    """
    rows = []
    for visual in prompt.visuals:
        rows.append(embed_visual(visual, lambda frame: model.encode_frames([frame])[0]))
        require_stage(rows[-1], "the vision tower or the projector")
    embeddings = model.embed(model.segments(prompt.text), rows)
    read_through(model, torch.cat((embeddings, model.embed_ids(ids))) if len(ids) else embeddings)


def read_through(model: VisionLanguageModel, embeddings: Tensor) -> None:
    """Compute the logits behind embeddings [L, D]. Raises StageError as whole_pass."""
    hidden = model.language_model(embeddings[None], torch.arange(len(embeddings), device=model.device))
    require_stage(model.language_model.logits(hidden[0, -1]), "the language head")


def room_for(model: VisionLanguageModel, needed: int) -> KVCache:
    """Make a cache for `needed` tokens. Raises BackendError if the model has fewer positions."""
    limit = model.config.language.max_positions
    if needed > limit:
        raise BackendError(f"the prompt and its reply need {needed} tokens, the model has {limit} positions")
    return KVCache(model.config.language, needed, dtype=model.dtype, device=model.device)


def greedy_steps(model: VisionLanguageModel, embeddings: Tensor, kv: KVCache) -> Iterator[tuple[int, Tensor]]:
    """Yield token after token with the logits [V] it was taken from, for ever or until the cache is full.

    embeddings: [L, D] of the prompt; kv: filled on the way. Raises NotFiniteError for logits that are NaN or infinite.
    """
    length = 0
    while True:
        context = append(kv, length, len(embeddings))
        positions = torch.arange(length, context.extent, device=model.device)
        hidden = model.language_model(embeddings[None], positions, context=context)[0, -1]
        length = context.extent
        logits = model.language_model.logits(hidden)
        token = int(logits.argmax())
        require_finite(logits[token], "the logits of the next token")
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
