"""Quantized layers for the GPU that is there: each kind and size is measured once, then all of it are replaced."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from vila_core.quantization.formats.nibbles import unpack_pairs
from vila_core.quantization.gpu.choice import Chooser, Clock, Problem, clock_ms
from vila_core.quantization.gpu.int4 import exact_int4, int4_candidates, run_tinygemm, takes_tinygemm
from vila_core.quantization.gpu.int8 import (
    Int8Weight,
    exact_int8,
    int8_candidates,
    plain_is_quicker,
    without_plain,
)
from vila_core.quantization.gpu.layout import INNER_TILES, Int4Weight, fits_tiles, pack_int4
from vila_core.quantization.gpu.linear import GpuInt4Linear, GpuInt8Linear
from vila_core.quantization.int8_linear import Int8Linear
from vila_core.quantization.linear import QuantLinear

_PACKED_AT_ONCE = 1 << 24  # weights, spelled out by the byte meanwhile


@dataclass(frozen=True, slots=True)
class GpuOptions:
    """How to multiply. fp16_accumulation: sums in float16 where cuBLAS offers them; see accumulation_error."""

    fp16_accumulation: bool = False


class GpuConverter:
    """Replaces quantized layers by those of this device, for inputs of one dtype; its choices last as long as it.

    Raises ConfigError for an option that this torch does not know. clock: replaced in tests.
    """

    def __init__(self, dtype: torch.dtype, options: GpuOptions | None = None, *, clock: Clock | None = None) -> None:
        options = options or GpuOptions()
        self._dtype, self._clock = dtype, clock
        self._inner_tiles: dict[Problem, int] = {}
        self.int4 = Chooser(int4_candidates(fp16_accumulation=options.fp16_accumulation), exact_int4, clock)
        self.int8 = Chooser(int8_candidates(), exact_int8, clock)

    @torch.no_grad()
    def convert(self, root: nn.Module) -> int:
        """Replace the quantized linears below root, one at a time; returns how many.

        4-bit ones of a size that the layout does not hold stay: slow, and right. The module can only be run
        afterwards, not saved. Raises BackendError if no kernel gives the right result.
        """
        count = 0
        for owner in [module for module in root.modules() if not isinstance(module, QuantLinear | Int8Linear)]:
            for name, child in list(owner.named_children()):
                made = self._converted(child)
                if made is not None:
                    setattr(owner, name, made)
                    count += 1
        return count

    def report(self) -> dict[str, dict[str, object]]:
        """What was chosen: {"4 bits N x K / group": {"by_rows", "ms", "rejected"}}."""
        found: dict[str, dict[str, object]] = {}
        for bits, chooser in ((4, self.int4), (8, self.int8)):
            for problem, choice in chooser.choices.items():
                found[f"{bits} bits {problem.outputs} x {problem.inputs} / {problem.group}"] = {
                    "by_rows": choice.names(),
                    "ms": list(choice.times_ms),
                    "rejected": dict(choice.rejected),
                }
        return found

    def _converted(self, layer: nn.Module) -> nn.Module | None:
        if isinstance(layer, QuantLinear) and fits_tiles(layer.out_features, layer.in_features, layer.group_size):
            return self._int4(layer)
        return self._int8(layer) if isinstance(layer, Int8Linear) else None

    def _int4(self, layer: QuantLinear) -> GpuInt4Linear:
        problem = Problem(layer.scales.device, self._dtype, layer.out_features, layer.in_features, layer.group_size)
        if problem not in self._inner_tiles:
            self._inner_tiles[problem] = self._quickest_tiles(problem, layer)
        weight = packed_weight(layer, self._inner_tiles[problem])
        return GpuInt4Linear(weight, layer.bias, self.int4.choose(problem, weight), self._dtype)

    def _quickest_tiles(self, problem: Problem, layer: QuantLinear) -> int:
        """How many tiles torch's kernel multiplies one row quickest with; the most where it does not run."""
        fitting = [tiles for tiles in INNER_TILES if not layer.in_features % (16 * tiles)]
        if len(fitting) == 1 or not takes_tinygemm(problem):
            return fitting[0]
        x = torch.ones(1, layer.in_features, dtype=problem.dtype, device=problem.device)
        times = {
            tiles: (self._clock or clock_ms)(partial(run_tinygemm, x, packed_weight(layer, tiles)), problem.device)
            for tiles in fitting
        }
        return min(times, key=times.__getitem__)

    def _int8(self, layer: Int8Linear) -> nn.Module:
        bias = None if layer.bias is None else layer.bias.detach().to(self._dtype)
        problem = Problem(layer.scales.device, self._dtype, layer.out_features, layer.in_features, layer.in_features)
        plain = layer.dequantized(self._dtype) if problem not in self.int8.choices else None
        choice = self.int8.choose(problem, Int8Weight(layer.weight_int8, layer.scales, bias, plain))
        if plain_is_quicker(choice):
            return _linear(layer.dequantized(self._dtype), bias)
        return GpuInt8Linear(Int8Weight(layer.weight_int8, layer.scales, bias), without_plain(choice), self._dtype)


def packed_weight(layer: QuantLinear, inner_tiles: int) -> Int4Weight:
    """The layer's weight in the GPU's layout, made some rows at a time."""
    step = max(8, _PACKED_AT_ONCE // layer.in_features // 8 * 8)
    parts = [
        pack_int4(
            unpack_pairs(layer.weight_int4[at : at + step]),
            layer.scales[at : at + step],
            layer.zeros[at : at + step],
            inner_tiles,
        )
        for at in range(0, layer.out_features, step)
    ]
    return Int4Weight(torch.cat([part.packed for part in parts]), torch.cat([part.table for part in parts], dim=1))


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    with torch.device("meta"):
        made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    made.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias, requires_grad=False)
    return made
