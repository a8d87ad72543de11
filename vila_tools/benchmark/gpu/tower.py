"""The vision tower in 8 bits beside the same in bfloat16: eagerly, and as a recorded graph where that can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from vila_core.engine.static_decoder import record_graph
from vila_core.models.vision_tower import VisionTower
from vila_core.quantization.gpu.choice import clock_ms
from vila_tools.benchmark.rounds import medians, minima, ratio, rotated


def measure_towers(
    towers: dict[str, VisionTower], batches: Sequence[int], rounds: int, dtype: torch.dtype, device: torch.device
) -> dict[str, dict[str, object]]:
    """Measure "bfloat16" against "w8a8": {"batch 1": {"eager": {"ms", "min_ms", "bfloat16_over_w8a8"}, "recorded"}}."""
    found: dict[str, dict[str, object]] = {}
    for batch in batches:
        side = next(iter(towers.values())).config.image_size
        pixels = torch.randn(batch, 3, side, side, device=device).to(dtype)
        row: dict[str, object] = {"eager": _compared(towers, pixels, rounds, lambda work: work)}
        if device.type == "cuda":
            row["recorded"] = _compared(towers, pixels, rounds, record_graph)
        found[f"batch {batch}"] = row
    return found


@torch.inference_mode()
def _compared(
    towers: dict[str, VisionTower],
    pixels: Tensor,
    rounds: int,
    prepare: Callable[[Callable[[], None]], Callable[[], None]],
) -> dict[str, object]:
    runs = {name: prepare(partial(_run, tower, pixels)) for name, tower in towers.items()}
    rows = [
        {name: clock_ms(runs[name], pixels.device) for name in rotated(list(runs), number)} for number in range(rounds)
    ]
    return {"ms": medians(rows), "min_ms": minima(rows), "bfloat16_over_w8a8": ratio(rows, "bfloat16", "w8a8")}


def _run(tower: nn.Module, pixels: Tensor) -> None:
    tower(pixels)
