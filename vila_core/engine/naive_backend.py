"""The plain method: every frame encoded and the whole prompt read at each call, the reply decoded token by token.

What the other backends are measured against, in time and in result.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vila_core.engine.backend import CacheCounts
from vila_core.engine.decode import greedy_ids, room_for, whole_pass
from vila_core.engine.finite import traced
from vila_core.engine.frame_encoder import embed_visual
from vila_core.engine.reply_trie import ReplyTrie, choose_reply, make_grammar
from vila_core.engine.torch_backend import load_model, model_info, stop_ids
from vila_core.errors import BackendError
from vila_core.machine.threads import leave_cores_to_torch
from vila_core.models.vlm import VisionLanguageModel
from vila_core.models.working_precision import working_precision
from vila_core.types import Choice, Frame, Prompt


def load_naive_backend(checkpoint: Path, *, device: str, precision: str, check_memory: bool = True) -> NaiveBackend:
    """Load a checkpoint directory; errors as in torch_backend.load_torch_backend."""
    chosen = working_precision(checkpoint, precision, device)
    model = load_model(checkpoint, device, chosen.name, kept_frames=0 if check_memory else None)
    return NaiveBackend(model, chosen.name, precision_reason=chosen.reason)


class NaiveBackend:
    """Runs a vision-language model and keeps nothing between calls."""

    def __init__(self, model: VisionLanguageModel, precision: str, *, precision_reason: str = "") -> None:
        leave_cores_to_torch()
        self.info = model_info(model, precision, precision_reason)
        self._loaded: VisionLanguageModel | None = model

    @property
    def model(self) -> VisionLanguageModel:
        """The model; BackendError once it is closed."""
        if self._loaded is None:
            raise BackendError("the backend is closed; load it again")
        return self._loaded

    @torch.inference_mode()
    def choose(self, prompt: Prompt, replies: Sequence[str]) -> Choice:
        """Score the replies: a pass over the whole prompt for each place where they part."""
        model = self.model
        trie = make_grammar(model, replies).trie
        with traced(model, lambda: whole_pass(model, prompt, trie.tokens)):
            return self._choose(model, prompt, trie)

    def _choose(self, model: VisionLanguageModel, prompt: Prompt, trie: ReplyTrie) -> Choice:
        embeddings, scores = self._embed(prompt), []
        for branching in trie.branchings:
            inputs = torch.cat((embeddings, model.embed_ids(trie.path(branching.node))))
            hidden = model.language_model(inputs[None], torch.arange(len(inputs), device=model.device))[0, -1]
            logits = model.language_model.logits(hidden)[list(branching.tokens)]
            scores.append(logits.float().cpu().numpy())
        return choose_reply(trie, scores)

    def choose_each(self, prompts: Sequence[Prompt], replies: Sequence[Sequence[str]]) -> tuple[Choice, ...]:
        """Choose for one prompt after the other."""
        return tuple(map(self.choose, prompts, replies))

    @torch.inference_mode()
    def generate(self, prompt: Prompt, max_new_tokens: int) -> str:
        """Decode greedily up to a stop token or max_new_tokens."""
        model, embeddings = self.model, self._embed(prompt)
        kv = room_for(model, len(embeddings) + max_new_tokens)
        stop = stop_ids(model, prompt.stop)
        ids: list[int] = []
        with traced(model, lambda: whole_pass(model, prompt, ids)):
            ids.extend(greedy_ids(model, embeddings, kv, max_new_tokens=max_new_tokens, stop_ids=stop))
        return model.tokenizer.decode(ids)

    def encode(self, frame: Frame) -> bool:
        """Do nothing: nothing would be kept."""
        return False

    def prefill(self, prompt: Prompt) -> None:
        """Do nothing: nothing would be kept."""

    def relevance(self, question: str, frames: Sequence[Frame]) -> tuple[float, ...]:
        """Not offered here; see Backend.relevance."""
        raise BackendError(f"{self.info.name} has no relevance head in this backend")

    def cache_counts(self) -> CacheCounts:
        """Return zeros: nothing is kept."""
        return CacheCounts()

    def close(self) -> None:
        """Drop the weights."""
        self._loaded = None

    def _embed(self, prompt: Prompt) -> Tensor:
        model = self.model
        rows = [embed_visual(visual, lambda frame: model.encode_frames([frame])[0]) for visual in prompt.visuals]
        return model.embed(model.segments(prompt.text), rows)
