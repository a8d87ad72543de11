"""The decoder at a few fixed shapes, each recorded once as a CUDA graph: a step is then one launch, not thousands.

Batch-one decoding of a small model on a GPU is bound by launches, not by bytes (NVILA-2B at 4 bits is no faster than
at 16 on an Orin where each kernel is launched by hand).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vila_core.models.kv_cache import AttentionContext, KVCache
from vila_core.models.language_model import LanguageModel

LENGTHS = (1, 16, 32, 64, 128, 256, 512, 768)  # tokens of a pass; the last holds a chunk and a reply trie
EXTENT_STEP = 512  # rows that are looked at: a multiple of it
_WARM_UPS = 2  # passes before recording: libraries choose their kernels and workspaces in them


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """The buffers of one shape, and what runs it."""

    inputs: Tensor  # [1, L, D]
    positions: Tensor  # [L]
    rows: Tensor  # [L]
    mask: Tensor  # [L, E]
    output: Tensor  # [1, L, D]
    replay: Callable[[], None]


class StaticDecoder:
    """Runs the decoder on buffers whose shape and place never change.

    cache: has one row more than is ever given out, the last: padding writes there. record: whether to record CUDA
    graphs; without, the same buffers are run as they are, on any device.
    """

    def __init__(self, model: LanguageModel, cache: KVCache, *, record: bool) -> None:
        self._model = model
        self._cache = cache
        self._record = record
        self._shapes: dict[tuple[int, int], _Shape] = {}

    def __call__(self, inputs: Tensor, positions: Tensor, context: AttentionContext) -> Tensor:
        """As LanguageModel.forward with B = 1; the result is valid until the next call."""
        count = inputs.shape[1]
        length = next((bucket for bucket in LENGTHS if bucket >= count), None)
        if length is None:
            return self._model(inputs, positions, context=context)
        extent = min(self._cache.rows, EXTENT_STEP * -(-context.extent // EXTENT_STEP))
        if (length, extent) not in self._shapes:
            self._shapes[length, extent] = self._make(length, extent)
        shape = self._shapes[length, extent]
        self._fill(shape, inputs, positions, context)
        shape.replay()
        return shape.output[:, :count]

    def clear(self) -> None:
        """Make the inputs zeros: padding is computed with what is left in them."""
        for shape in self._shapes.values():
            shape.inputs.zero_()

    def _fill(self, shape: _Shape, inputs: Tensor, positions: Tensor, context: AttentionContext) -> None:
        count = inputs.shape[1]
        shape.inputs[:, :count].copy_(inputs)
        shape.positions[:count].copy_(positions)
        shape.rows.fill_(self._cache.rows - 1)
        shape.rows[:count].copy_(context.row_numbers())
        shape.mask.fill_(float("-inf"))
        shape.mask[:, 0] = 0.0  # padding must see something; what it sees does not matter
        context.fill_mask(shape.mask[:count, : context.extent])

    def _make(self, length: int, extent: int) -> _Shape:
        device, dtype = self._cache.keys.device, self._cache.keys.dtype
        width = self._model.config.hidden_size
        inputs = torch.zeros(1, length, width, dtype=dtype, device=device)
        positions = torch.zeros(length, dtype=torch.long, device=device)
        rows = torch.full((length,), self._cache.rows - 1, dtype=torch.long, device=device)
        mask = torch.zeros(length, extent, dtype=dtype, device=device)
        output = torch.zeros_like(inputs)
        context = AttentionContext(self._cache, rows, extent, mask)

        def run() -> None:
            output.copy_(self._model(inputs, positions, context=context))

        return _Shape(inputs, positions, rows, mask, output, record_graph(run) if self._record else run)


def record_graph(run: Callable[[], None]) -> Callable[[], None]:
    """Record what `run` launches as a CUDA graph, warmed up before; returns what launches it again."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UPS):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay
