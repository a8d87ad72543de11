"""`vila bench gpu`: 4-bit decoding, the 8-bit tower and the time to decision on a GPU, beside what they must beat.

Weights are random and made on the device. Each shape's decoder runs beside transformers' eager one in float16, in
rounds that rotate; a ratio compares two times of one round. The floor of decoding is what reading the weights once
takes at the bandwidth that the device was measured at. The last line is one JSON object. With --device cpu --quick
the same code runs a tiny shape, to see that it runs: those figures mean nothing.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from vila_core.errors import BackendError, ConfigError
from vila_core.machine.speeds import measure_bandwidth_gbps
from vila_core.models.config import CheckpointConfig, VisionConfig
from vila_core.models.costs import Storage, decode_bytes
from vila_core.models.language_model import LanguageModel
from vila_core.models.vision_tower import VisionTower
from vila_core.quantization.gpu.convert import GpuConverter, packed_weight
from vila_core.quantization.gpu.int4 import accumulation_error
from vila_core.quantization.gpu.layout import INNER_TILES
from vila_core.quantization.linear import QuantLinear
from vila_core.random_checkpoints.model import fill_random, random_model, with_int8
from vila_core.random_checkpoints.shapes import SHAPES, ModelShape, model_shape, tiny
from vila_tools.benchmark.gpu.decision import measure_decisions
from vila_tools.benchmark.gpu.decode import Run, ours, transformers_eager, why_no_transformers
from vila_tools.benchmark.gpu.tower import measure_towers
from vila_tools.benchmark.rounds import medians, minima, ratio, rotated, rounded
from vila_tools.report import tell

DEFAULT_SHAPES = ("vila1.5-3b", "vila1.5-8b")  # 8B: Llama 3
ASKED = {"of_floor": 0.4, "transformers_over_ours": 3.0, "tower_bfloat16_over_w8a8": 1.4}
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class GpuJob:
    """What to measure. prompt_tokens, tokens: of a decoded reply's prompt and of the reply. buffer_mb: for bandwidth.

    limit_s: no part begins later than so long after the start.
    """

    device: torch.device
    shapes: dict[str, ModelShape]
    rounds: int = 5
    prompt_tokens: int = 1024
    tokens: int = 65
    frames: int = 8
    batches: tuple[int, ...] = (1, 8)
    buffer_mb: int = 2048
    limit_s: float = 540.0


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table, then the result as one JSON object; --json writes that to a file too."""
    args = _parser().parse_args(argv)
    result = bench_gpu(_job(args))
    tell(result, table(result), args.json)
    return 0


@dataclass
class _Bench:
    """The parts that were measured, and those that there was no time for."""

    job: GpuJob
    began: float
    skipped: list[str] = field(default_factory=list)

    def part(self, name: str, measure: Callable[[], Any]) -> Any:
        """What a part gives; None if it was not begun."""
        if time.monotonic() - self.began > self.job.limit_s:
            self.skipped.append(name)
            return None
        with tqdm(desc=name, total=1, disable=None) as bar:
            found = measure()
            bar.update()
        gc.collect()
        if self.job.device.type == "cuda":
            torch.cuda.empty_cache()
        return found


def bench_gpu(job: GpuJob) -> dict[str, Any]:
    """Measure all parts and return what the JSON holds. Raises BackendError for a device that is not there."""
    _require(job.device)
    bench = _Bench(job, time.monotonic())
    bandwidth = measure_bandwidth_gbps(job.buffer_mb * _MIB, job.device)
    shapes = {name: bench.part(name, partial(_shape, job, shape, bandwidth))
              for name, shape in job.shapes.items()}  # fmt: skip
    tower = bench.part("tower", lambda: _tower(job, next(iter(job.shapes.values()))))
    result = {
        "device": _device_name(job.device),
        "torch": torch.__version__,
        "bandwidth_gbps": bandwidth,
        "shapes": {name: row for name, row in shapes.items() if row is not None},
        "tower": tower,
        "skipped": bench.skipped,
        "seconds": time.monotonic() - bench.began,
    }
    asked = asked_of_gpu(result) if job.device.type == "cuda" else {}
    return rounded(result | {"asked": asked}, digits=4)


def _shape(job: GpuJob, shape: ModelShape, bandwidth_gbps: float) -> dict[str, Any]:
    """One shape: our 4-bit model beside transformers', and its decisions."""
    dtype = torch.bfloat16
    with tempfile.TemporaryDirectory(prefix="vila-bench-") as folder:
        model = random_model(Path(folder), shape, job.device, dtype, quantized=True)
    errors = accumulation_of(model.language_model, job.device)
    converter = GpuConverter(dtype)
    began = time.monotonic()
    converted = converter.convert(model)
    convert_s = time.monotonic() - began
    tokens = min(job.prompt_tokens, model.config.language.max_positions // 2)
    missing: dict[str, str] = {}
    runs = {"ours": ours(model, tokens, job.tokens)}
    reason = why_no_transformers()
    if reason is None:
        runs["transformers"] = transformers_eager(model.config.language, job.device, tokens, job.tokens)
    else:
        missing["transformers"] = reason
    row = _decoding(runs, job, model.config, bandwidth_gbps) | {"prompt_tokens": tokens, "missing": missing}
    runs.clear()
    row |= {"decision": measure_decisions(model, "bfloat16", job.rounds, job.frames)}
    row |= {"fp16_accumulation_error": errors, "kernels": converter.report()}
    return row | {"converted_layers": converted, "convert_s": convert_s}


def _decoding(runs: dict[str, Run], job: GpuJob, config: CheckpointConfig, bandwidth_gbps: float) -> dict[str, Any]:
    for run in runs.values():  # kernels are compiled and graphs recorded
        run()
    rows: list[dict[str, dict[str, float]]] = []
    for number in range(job.rounds):
        rows.append({name: runs[name]() for name in rotated(list(runs), number)})
    decode = [{name: part["decode_ms"] for name, part in row.items()} for row in rows]
    prefill = [{name: part["prefill_ms"] for name, part in row.items()} for row in rows]
    weight_bytes = decode_bytes(config.language, Storage(2, language_bits=4))
    floor_ms = weight_bytes / (bandwidth_gbps * 1e6)
    return {
        "decode_ms": medians(decode),
        "decode_min_ms": minima(decode),
        "prefill_ms": medians(prefill),
        "weights_mb": weight_bytes / 1e6,
        "floor_ms": floor_ms,
        "read_gbps": weight_bytes / (medians(decode)["ours"] * 1e6),
        "of_floor": floor_ms / medians(decode)["ours"],
        "transformers_over_ours": ratio(decode, "transformers", "ours"),
        "rounds": rows,
    }


def accumulation_of(language: LanguageModel, device: torch.device) -> dict[str, float]:
    """Errors of sums in float32 and in float16 on the widest 4-bit layer of a decoder, with random inputs.

    {} where this torch cannot add in float16, or the device is none that it does so on.
    """
    if device.type != "cuda" or not hasattr(torch.backends.cuda.matmul, "allow_fp16_accumulation"):
        return {}
    layer = max((m for m in language.layers.modules() if isinstance(m, QuantLinear)), key=lambda m: m.in_features)
    x = torch.randn(256, layer.in_features, device=device, dtype=torch.float16)
    return accumulation_error(x, packed_weight(layer, INNER_TILES[-1]))


def _tower(job: GpuJob, shape: ModelShape) -> dict[str, Any]:
    """The first shape's tower; both have the same random weights, before rounding."""
    with tempfile.TemporaryDirectory(prefix="vila-bench-") as folder:
        config = random_model(Path(folder), shape, torch.device("meta"), torch.bfloat16, quantized=False).config.vision
    plain = _random_tower(config, job.device)
    small = with_int8(_random_tower(config, job.device))
    converter = GpuConverter(torch.bfloat16)
    layers = converter.convert(small)
    rows = measure_towers({"bfloat16": plain, "w8a8": small}, job.batches, job.rounds, torch.bfloat16, job.device)
    return {"image_size": config.image_size, "layers": layers, "kernels": converter.report(), **rows}


def _random_tower(config: VisionConfig, device: torch.device) -> VisionTower:
    with torch.device("meta"):
        tower = VisionTower(config)
    fill_random(tower, device, torch.bfloat16)
    return tower.eval().requires_grad_(False)


def asked_of_gpu(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What was asked of a GPU, and what was measured: of the shapes the worst, of the tower's batches the best."""
    rows, tower = result["shapes"].values(), result["tower"] or {}
    batches = [batch for name, batch in tower.items() if name.startswith("batch")]
    found: dict[str, float | None] = {
        "of_floor": _worst([row["of_floor"] for row in rows]),
        "transformers_over_ours": _worst([row["transformers_over_ours"] for row in rows]),
        "tower_bfloat16_over_w8a8": max(
            (row["bfloat16_over_w8a8"] for batch in batches for row in batch.values()), default=None
        ),
    }
    return {name: _judged(ASKED[name], value) for name, value in found.items()}


def _worst(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return min(known) if known and len(known) == len(values) else None


def _judged(asked: float, measured: float | None) -> dict[str, Any]:
    return {"asked": asked, "measured": measured, "met": None if measured is None else measured >= asked}


def table(result: dict[str, Any]) -> Iterator[str]:
    """Lines for people."""
    yield f"{result['device']}, {result['bandwidth_gbps']:.0f} GB/s measured, torch {result['torch']}"
    for name, row in result["shapes"].items():
        for who, value in row["decode_ms"].items():
            yield f"{name:20}{who:14}decode {value:9.3f} ms a token, prompt of {row['prompt_tokens']} " + (
                f"{row['prefill_ms'][who]:9.1f} ms"
            )
        yield f"{name:20}{'floor':14}decode {row['floor_ms']:9.3f} ms, ours reaches {100 * row['of_floor']:.0f} % of it"
        yield f"{name:20}{'decision':14}{row['decision']['decision_ms']:16.1f} ms with one new frame"
        for who, reason in row["missing"].items():
            yield f"{name:20}{who:14}missing: {reason}"
    for name, entry in result["asked"].items():
        met = {True: "met", False: "not met", None: "not measured"}[entry["met"]]
        yield f"{name:32}asked {entry['asked']:.2f}, measured {entry['measured']}: {met}"
    for name in result["skipped"]:
        yield f"{name}: skipped, no time was left"


def _require(device: torch.device) -> None:
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BackendError(
            f"device 'cuda': torch {torch.__version__} finds no CUDA device; run this on a machine with a GPU, or see "
            "that it runs with --device cpu --quick"
        )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _job(args: argparse.Namespace) -> GpuJob:
    device = torch.device(args.device)
    if device.type == "cpu" and not args.quick:
        raise ConfigError("--device cpu runs only the tiny shapes: give --quick too")
    if args.rounds < 1:
        raise ConfigError(f"--rounds {args.rounds}: must be at least 1")
    names = list(dict.fromkeys(args.like.split(",")))
    shapes = {name: model_shape(name) for name in names}
    if not args.quick:
        return GpuJob(device, shapes, rounds=args.rounds, limit_s=args.limit_s)
    small = {name: tiny(shape) for name, shape in shapes.items()}
    return GpuJob(device, small, args.rounds, 48, 5, 2, (1,), 16, args.limit_s)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila bench gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help="default: %(default)s")
    parser.add_argument(
        "--like",
        default=",".join(DEFAULT_SHAPES),
        metavar="NAMES",
        help=f"shapes joined by commas, of {', '.join(SHAPES)} (default: %(default)s)",
    )
    parser.add_argument("--quick", action="store_true", help="tiny shapes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit-s", type=float, default=540.0, help="begin no part later (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    return parser
