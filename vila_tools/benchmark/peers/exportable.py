"""transformers' decoder as a function of tensors alone, which OpenVINO and ONNX can take, and its inputs' names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vila_core.models.config import LanguageConfig


class TensorDecoder(nn.Module):
    """Embeddings and each layer's keys and values in; last logits and the longer keys and values out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, embeddings: Tensor, mask: Tensor, positions: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """Return the logits [1, V] of the last token, then keys and values [1, H, P + L, d] layer by layer.

        embeddings: [1, L, D]. mask: [1, 1, L, P + L], 0 where a token is seen. positions: [1, L]. past: [1, H, P, d].
        """
        cache = _cache(past)
        hidden = self.model.model(
            inputs_embeds=embeddings,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        longer = [rows for layer in cache.layers for rows in (layer.keys, layer.values)]
        return (self.model.lm_head(hidden[:, -1]), *longer)


def _cache(past: tuple[Tensor, ...]) -> Any:
    """A cache whose layers hold these rows already: empty ones would be joined with no shape at all."""
    from transformers.cache_utils import Cache, DynamicLayer  # not needed to run what was exported

    layers = []
    for at in range(0, len(past), 2):
        layer = DynamicLayer()
        layer.keys, layer.values = past[at : at + 2]
        layer.dtype, layer.device = layer.keys.dtype, layer.keys.device
        layer.is_initialized = True
        layers.append(layer)
    return Cache(layers=layers)


def example(language: LanguageConfig, dtype: torch.dtype, length: int = 3, past: int = 2) -> tuple[Tensor, ...]:
    """Inputs that the decoder can be traced with; no two are one tensor, or the exporter takes them for one input."""
    rows = [torch.zeros(1, language.kv_heads, past, language.head_dim, dtype=dtype) for _ in range(2 * language.layers)]
    embeddings = torch.zeros(1, length, language.hidden_size, dtype=dtype)
    return (embeddings, *mask_and_positions(length, past, dtype), *rows)


def mask_and_positions(length: int, past: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Mask [1, 1, L, P + L] and positions [1, L] of `length` new tokens behind `past` ones."""
    mask = torch.full((length, past + length), torch.finfo(dtype).min, dtype=dtype).triu(past + 1)
    return mask[None, None], torch.arange(past, past + length)[None]


def past_names(language: LanguageConfig, head: str) -> list[str]:
    """Names of a graph's keys and values, in the decoder's order; head: "past" or "present"."""
    return [f"{head}_{layer}_{kind}" for layer in range(language.layers) for kind in ("key", "value")]
