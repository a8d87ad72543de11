"""Keys and values of what the decoder has prefilled or decoded: one row for each token, allocated once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vila_core.models.config import LanguageConfig

Rows = slice | Tensor


class KVCache:
    """Rows of keys and values, [layers, kv heads, rows, head_dim] each.

    Keys are stored turned by their token's position, so it does not matter which row a token has. Who owns
    which rows is the caller's business.
    """

    def __init__(self, config: LanguageConfig, rows: int, *, dtype: torch.dtype, device: torch.device | str) -> None:
        shape = (config.layers, config.kv_heads, rows, config.head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.rows = rows

    @property
    def bytes(self) -> int:
        """What it occupies."""
        return 2 * self.keys.numel() * self.keys.element_size()

    def clear(self) -> None:
        """Make all zeros."""
        self.keys.zero_()
        self.values.zero_()

    def write(self, layers: int | slice, rows: Rows, keys: Tensor, values: Tensor) -> None:
        """Store keys and values [..., H, L, head_dim] of one layer or of several in the rows, L of them."""
        if isinstance(rows, slice):
            self.keys[layers][..., rows, :] = keys
            self.values[layers][..., rows, :] = values
        else:
            self.keys[layers].index_copy_(-2, rows, keys)
            self.values[layers].index_copy_(-2, rows, values)

    def read(self, layer: int, extent: int) -> tuple[Tensor, Tensor]:
        """Return views [H, extent, head_dim] of the first rows of one layer's keys and values."""
        return self.keys[layer, :, :extent], self.values[layer, :, :extent]


@dataclass(frozen=True, slots=True, eq=False)
class AttentionContext:
    """Where one forward pass writes its tokens' keys and values, and what each token sees.

    rows: of the new tokens. extent: rows from 0 on that are looked at. mask: [L, extent] of the model's dtype, added
    to the scores: 0 where a token is seen, -inf elsewhere; None: every token sees the rows up to its own, which are
    the last of the extent.
    """

    cache: KVCache
    rows: Rows
    extent: int
    mask: Tensor | None = None

    def row_numbers(self) -> Tensor:
        """Rows of the new tokens, [L] int64."""
        if isinstance(self.rows, slice):
            return torch.arange(self.rows.start, self.rows.stop, device=self.cache.keys.device)
        return self.rows

    def fill_mask(self, target: Tensor) -> None:
        """Write the mask, spelled out where it is None, to target [L, extent]."""
        if self.mask is not None:
            target.copy_(self.mask)
            return
        seen = torch.ones(target.shape, dtype=torch.bool, device=target.device).tril(self.extent - len(target))
        target.fill_(float("-inf")).masked_fill_(seen, 0.0)


def append(cache: KVCache, start: int, count: int) -> AttentionContext:
    """Put count tokens into the rows from start on, behind all that is there. ValueError if they do not fit."""
    end = start + count
    if end > cache.rows:
        raise ValueError(f"the KV cache has {cache.rows} rows, {end} are needed")
    mask = None
    if start and count > 1:
        later = torch.ones(count, end, dtype=torch.bool, device=cache.keys.device).triu(start + 1)
        mask = torch.zeros(count, end, dtype=cache.keys.dtype, device=cache.keys.device)
        mask.masked_fill_(later, float("-inf"))
    return AttentionContext(cache, slice(start, end), end, mask)
