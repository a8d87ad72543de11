"""The decoder as an engine on preallocated buffers: reads the cache where it lies and appends what it computed.

Passes are padded to a few lengths, so that the engine's shapes seldom change, and longer ones are cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vila_core.engine.static_decoder import LENGTHS
from vila_core.engine.tensorrt.runner import Runner
from vila_core.errors import BackendError
from vila_core.export.manifest import Limits
from vila_core.models.config import LanguageConfig
from vila_core.models.kv_cache import AttentionContext, KVCache

_NEVER = float("-inf")


@dataclass(frozen=True, slots=True, eq=False)
class _Buffers:
    """One length's views of the memory that all lengths share; names are the graph's."""

    embeddings: Tensor  # [1, L, D]
    positions: Tensor  # [L]
    mask: Tensor  # [L, S + L]
    hidden: Tensor  # [1, L, D]
    new_keys: Tensor  # [layers, kv heads, L, head_dim]
    new_values: Tensor


class EngineDecoder:
    """Called as LanguageModel.forward with B = 1; the result is valid until the next call.

    limits: what the engine was made for. profiles: numbers of its profiles for "prefill" and "decode" (of one token).
    Raises BackendError for a cache with more rows than the engine takes.
    """

    def __init__(
        self, runner: Runner, config: LanguageConfig, cache: KVCache, limits: Limits, profiles: Mapping[str, int]
    ) -> None:
        if cache.rows > limits.rows:
            raise BackendError(
                f"the prompts need {cache.rows} rows of keys and values, the engines are made for {limits.rows}; "
                "export with a larger --rows and build again"
            )
        self._runner, self._config, self._cache = runner, config, cache
        self._profiles = dict(profiles)
        self._lengths = [*(length for length in LENGTHS if length < limits.tokens), limits.tokens]
        self._memory = self._allocate(limits.tokens)
        self._buffers: dict[int, _Buffers] = {}

    def __call__(self, inputs: Tensor, positions: Tensor, context: AttentionContext) -> Tensor:
        """Read the tokens and write their keys and values to the cache."""
        count, most = inputs.shape[1], self._lengths[-1]
        mask, rows = self._mask(context, count), context.row_numbers()
        if count <= most:
            return self._run(inputs, positions, rows, mask)
        parts = []
        for at in range(0, count, most):
            now = slice(at, at + most)
            part = self._run(inputs[:, now], positions[now], rows[now], mask[now])
            parts.append(part.clone())  # the next one is written to the same place
        return torch.cat(parts, dim=1)

    def clear(self) -> None:
        """Make all buffers zeros: padding is computed with what is left in them."""
        for memory in self._memory.values():
            memory.zero_()

    def _run(self, inputs: Tensor, positions: Tensor, rows: Tensor, mask: Tensor) -> Tensor:
        """One pass of at most the engine's tokens. mask: [count, S] of the cache as it will be."""
        count = inputs.shape[1]
        length = next(length for length in self._lengths if length >= count)
        buffers = self._views(length)
        buffers.embeddings[:, :count].copy_(inputs)
        buffers.positions[:count].copy_(positions)
        self._fill_mask(buffers.mask, mask, rows)
        tensors = {
            "embeddings": buffers.embeddings,
            "positions": buffers.positions,
            "past_keys": self._cache.keys,
            "past_values": self._cache.values,
            "mask": buffers.mask,
            "hidden": buffers.hidden,
            "new_keys": buffers.new_keys,
            "new_values": buffers.new_values,
        }
        self._runner.run(tensors, self._profiles["decode" if length == 1 else "prefill"])
        self._cache.write(slice(None), rows, buffers.new_keys[:, :, :count], buffers.new_values[:, :, :count])
        return buffers.hidden[:, :count]

    def _fill_mask(self, target: Tensor, mask: Tensor, rows: Tensor) -> None:
        """Move the columns of the new tokens' rows [count] behind the cache's, where the graph looks for them."""
        count, size = mask.shape
        target.fill_(_NEVER)
        target[:, 0] = 0.0  # padding must see something; what it sees does not matter
        target[:count, :size].copy_(mask)
        target[:count, :size].index_fill_(1, rows, _NEVER)
        target[:count, size : size + count].copy_(mask[:, rows])

    def _mask(self, context: AttentionContext, count: int) -> Tensor:
        """What each of the tokens sees of the cache's rows: [count, S]."""
        mask = torch.full((count, self._cache.rows), _NEVER, dtype=self._cache.keys.dtype, device=self._device)
        context.fill_mask(mask[:, : context.extent])
        return mask

    def _views(self, length: int) -> _Buffers:
        if length not in self._buffers:
            shapes = self._shapes(length)
            views = {name: self._memory[name][: shape.numel()].view(shape) for name, shape in shapes.items()}
            self._buffers[length] = _Buffers(**views)
        return self._buffers[length]

    def _allocate(self, length: int) -> dict[str, Tensor]:
        """Flat memory for the longest pass; zeros, since padding is read too."""
        dtypes = {"positions": torch.long}
        return {
            name: torch.zeros(shape.numel(), dtype=dtypes.get(name, self._cache.keys.dtype), device=self._device)
            for name, shape in self._shapes(length).items()
        }

    def _shapes(self, length: int) -> dict[str, torch.Size]:
        config = self._config
        rows = (1, length, config.hidden_size)
        new = (config.layers, config.kv_heads, length, config.head_dim)
        mask = (length, self._cache.rows + length)
        shapes = {"embeddings": rows, "positions": (length,), "mask": mask, "hidden": rows}
        return {name: torch.Size(shape) for name, shape in (shapes | {"new_keys": new, "new_values": new}).items()}

    @property
    def _device(self) -> torch.device:
        return self._cache.keys.device
