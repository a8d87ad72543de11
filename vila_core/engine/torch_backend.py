"""The torch backend: visual cache, prefill, one-pass choice, greedy decoding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vila_core.engine.backend import ModelInfo
from vila_core.engine.decode import greedy_ids, room_for
from vila_core.engine.reply_trie import ReplyTrie, build_trie, choose_reply
from vila_core.engine.visual_cache import VisualCache
from vila_core.errors import BackendError
from vila_core.models.checkpoint import load_checkpoint
from vila_core.models.kv_cache import KVCache
from vila_core.models.projector import pool_tokens
from vila_core.models.vlm import VisionLanguageModel
from vila_core.types import Choice, Frame, Prompt, Visual

VISUAL_CACHE_FRAMES = 640  # more than HistoryConfig.capacity: no frame of the history is encoded twice


def load_torch_backend(checkpoint: Path, *, device: str, precision: str) -> TorchBackend:
    """Load a checkpoint directory; errors as in models.checkpoint.load_checkpoint."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise BackendError(f"device {device!r}: torch {torch.__version__} finds no CUDA device; use device 'cpu'")
    return TorchBackend(load_checkpoint(checkpoint, device=device, precision=precision), precision)


class TorchBackend:
    """Runs a vision-language model eagerly. Not thread-safe: one caller at a time."""

    def __init__(self, model: VisionLanguageModel, precision: str) -> None:
        navigation = model.config.navigation
        self.model: VisionLanguageModel | None = model
        self.info = ModelInfo(
            name=model.config.name,
            precision=precision,
            num_frames=navigation.num_frames,
            history_tokens=navigation.history_tokens,
            prompt_style=navigation.prompt_style,
            chat_template=navigation.chat_template,
        )
        self.visual_cache = VisualCache(VISUAL_CACHE_FRAMES)
        self._kv: KVCache | None = None
        self._trie = lru_cache(maxsize=8)(self._build_trie)

    @torch.inference_mode()
    def choose(self, prompt: Prompt, replies: Sequence[str]) -> Choice:
        """Score the replies in one pass behind the prompt; see reply_trie.choose_reply."""
        model = self._model()
        trie, tree_mask = self._trie(tuple(replies))
        embeddings = self._embed(prompt)
        past, count = embeddings.shape[0], len(trie.tokens)
        cache = self._cache(past + count)
        positions = torch.arange(past, device=model.device)
        last = model.language_model(embeddings[None], positions, cache=cache)[0, -1:]
        mask = torch.cat((torch.ones(count, past, dtype=torch.bool, device=model.device), tree_mask), dim=1)
        depths = torch.tensor(trie.depths, device=model.device)
        nodes = model.language_model(model.embed_ids(trie.tokens)[None], past + depths, cache=cache, mask=mask)[0]
        logits = model.language_model.logits(torch.cat((last, nodes)))
        return choose_reply(trie, logits.float().cpu().numpy())

    @torch.inference_mode()
    def generate(self, prompt: Prompt, max_new_tokens: int) -> str:
        """Decode greedily up to a stop token or max_new_tokens."""
        model = self._model()
        embeddings = self._embed(prompt)
        cache = self._cache(embeddings.shape[0] + max_new_tokens)
        ids = greedy_ids(model, embeddings, cache, max_new_tokens=max_new_tokens, stop_ids=self._stop_ids(prompt.stop))
        return model.tokenizer.decode(list(ids))

    @torch.inference_mode()
    def encode(self, frame: Frame) -> bool:
        """Compute and keep the frame's visual tokens; False if they were there."""
        if self.visual_cache.get(frame.key) is not None:
            return False
        self.visual_cache.put(frame.key, self._model().encode_frames([frame])[0])
        return True

    @torch.inference_mode()
    def prefill(self, prompt: Prompt) -> None:
        """Encode the prompt's frames."""
        for visual in prompt.visuals:
            self._visual_tokens(visual)

    def close(self) -> None:
        """Drop the weights and caches."""
        self.model = None
        self._kv = None
        self.visual_cache = VisualCache(1)

    def _model(self) -> VisionLanguageModel:
        if self.model is None:
            raise BackendError("the backend is closed; load it again")
        return self.model

    def _embed(self, prompt: Prompt) -> Tensor:
        model = self._model()
        return model.embed(model.segments(prompt.text), [self._visual_tokens(visual) for visual in prompt.visuals])

    def _visual_tokens(self, visual: Visual) -> Tensor:
        tokens = self.visual_cache.get(visual.frame.key)
        if tokens is None:
            tokens = self._model().encode_frames([visual.frame])[0]
            self.visual_cache.put(visual.frame.key, tokens)
        return tokens if visual.tokens is None else pool_tokens(tokens, visual.tokens)

    def _cache(self, needed: int) -> KVCache:
        self._kv = room_for(self._model(), needed, self._kv)
        return self._kv

    def _stop_ids(self, texts: Sequence[str]) -> frozenset[int]:
        """The checkpoint's own end of text, and the tokens that close a turn of the prompt's chat template."""
        model = self._model()
        closing = (model.tokenizer.id_of(text) for text in texts)
        return frozenset(model.config.language.eos_token_ids) | {id_ for id_ in closing if id_ is not None}

    def _build_trie(self, replies: tuple[str, ...]) -> tuple[ReplyTrie, Tensor]:
        model = self._model()
        stop = model.config.language.eos_token_ids[:1]
        trie = build_trie([(*model.tokenizer.encode(reply), *stop) for reply in replies])
        return trie, torch.from_numpy(np.ascontiguousarray(trie.mask())).to(model.device)
