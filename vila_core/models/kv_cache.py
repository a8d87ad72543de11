"""Keys and values of what the decoder has read: allocated once, cut back at no cost."""

from __future__ import annotations

import torch
from torch import Tensor

from vila_core.models.config import LanguageConfig


class KVCache:
    """One sequence's keys and values, [layers, kv heads, capacity, head_dim] each."""

    def __init__(
        self, config: LanguageConfig, capacity: int, *, dtype: torch.dtype, device: torch.device | str
    ) -> None:
        shape = (config.layers, config.kv_heads, capacity, config.head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.capacity = capacity
        self.length = 0

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store one layer's new keys and values [H, L, head_dim] behind `length`.

        Returns views of all keys and values up to and with the new ones. Does not move
        `length`: `advance` does, once all layers have written. ValueError if they do not fit.
        """
        end = self.length + keys.shape[1]
        if end > self.capacity:
            raise ValueError(f"KV cache holds {self.capacity} tokens, {end} are needed")
        self.keys[layer, :, self.length : end] = keys
        self.values[layer, :, self.length : end] = values
        return self.keys[layer, :, :end], self.values[layer, :, :end]

    def advance(self, count: int) -> None:
        """Count the tokens just written as read."""
        self.length += count

    def truncate(self, length: int) -> None:
        """Forget everything behind `length`; does not touch memory."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot truncate a cache of {self.length} tokens to {length}")
        self.length = length
