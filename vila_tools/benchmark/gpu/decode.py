"""Decoding on a device: our 4-bit decoder as the torch backend runs it, and transformers' eager one of its shape."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vila_core.engine.cached_decoder import CachedDecoder
from vila_core.engine.prefix_cache import Piece
from vila_core.models.config import LanguageConfig
from vila_core.models.vlm import VisionLanguageModel

Run = Callable[[], dict[str, float]]


def ours(model: VisionLanguageModel, prompt_tokens: int, tokens: int) -> Run:
    """Return what prefills a new prompt and decodes behind it: {"prefill_ms", "decode_ms"}, the latter for a token.

    Each prompt is another, so that nothing of it is known. The last token's coming is the end: it is looked at.
    """
    decoder, count = CachedDecoder(model), iter(range(1 << 30))

    @torch.inference_mode()
    def run() -> dict[str, float]:
        first = next(count) % (model.config.language.vocab_size - 1)
        pieces = (Piece.of_text((first, *[1] * (prompt_tokens - 1))),)
        times = [_now(model.device)]
        for _ in decoder.decode("bench", pieces, lambda number: model.embed_ids(pieces[number].ids), tokens):
            times.append(time.perf_counter())
        return _split(times)

    return run


def transformers_eager(config: LanguageConfig, device: torch.device, prompt_tokens: int, tokens: int) -> Run:
    """Return the same by transformers in float16, model.generate on embeddings, nothing compiled or recorded.

    Raises ModuleNotFoundError without transformers.
    """
    from vila_tools.benchmark.peers.hugging_face import decoder

    with torch.device(device):
        peer: Any = decoder(config, torch.float16)
    embeddings = torch.randn(1, prompt_tokens, config.hidden_size, device=device, dtype=torch.float16) * 0.02
    mask = torch.ones(1, prompt_tokens, dtype=torch.long, device=device)

    @torch.inference_mode()
    def run() -> dict[str, float]:
        times = [_generate_s(peer, embeddings, mask, count, device) for count in (1, tokens)]
        return {"prefill_ms": times[0] * 1e3, "decode_ms": (times[1] - times[0]) / max(tokens - 1, 1) * 1e3}

    return run


def why_no_transformers() -> str | None:
    """Why transformers cannot be measured; None if it can."""
    if importlib.util.find_spec("transformers") is None:
        return "not installed: transformers; run `pip install '.[peers]'`"
    return None


def _generate_s(peer: Any, embeddings: Tensor, mask: Tensor, count: int, device: torch.device) -> float:
    began = _now(device)
    peer.generate(inputs_embeds=embeddings, attention_mask=mask, max_new_tokens=count,
                  do_sample=False)  # fmt: skip
    return _now(device) - began


def _split(times: list[float]) -> dict[str, float]:
    """Of moments [begin, first token, ..., last token]."""
    steps = len(times) - 2
    return {
        "prefill_ms": (times[1] - times[0]) * 1e3,
        "decode_ms": (times[-1] - times[1]) / max(steps, 1) * 1e3,
    }


def _now(device: torch.device) -> float:
    """Seconds, once the device has done all it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
