"""`vila fit CHECKPOINT --device NAME`: will it fit there, and how long will a step take? Nothing is loaded.

On this machine a few layers of the checkpoint's shape are made with random weights and timed; a small model whole.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from vila_core.config import HISTORY_POLICIES, HistoryConfig
from vila_core.engine.memory import tokenizer_bytes
from vila_core.errors import CheckpointError, ConfigError
from vila_core.machine.arithmetic import DTYPES
from vila_core.machine.precision import AUTO, Precision, choose_precision
from vila_core.models.costs import count_weights
from vila_core.models.stored.config_reader import config_of
from vila_core.models.stored.layouts import Layout, open_layout
from vila_core.models.working_precision import stored_dtype
from vila_tools.fit.devices import DEVICES, HERE, Device
from vila_tools.fit.here import device_here
from vila_tools.fit.libraries import libraries_mb
from vila_tools.fit.predict import (
    EFFICIENCY,
    PRECISIONS,
    Prediction,
    predict,
    slower_than_float32,
    storage_on,
)
from vila_tools.fit.probe import Measured, measure_decision, measure_parts, stays_in_caches, with_whole_decisions
from vila_tools.fit.steps import missions
from vila_tools.fit.training_table import fit_training
from vila_tools.report import with_kernels


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row for each precision and policy, then one JSON object; 1 if nothing that was asked for fits."""
    args = _parser().parse_args(argv)
    device = _device(args.device, args.other_mb)
    if args.train:
        return fit_training(args.checkpoint, device, samples=args.batch, frames=args.frames)
    policies, measure = _chosen(args.policy, HISTORY_POLICIES), _chosen(args.precision, tuple(PRECISIONS))
    auto = auto_precision(open_layout(args.checkpoint), device)
    rows = fit(args.checkpoint, device, auto.name, policies=policies, num_frames=args.frames, measure=measure)
    asked = [row for row in rows if args.precision in (None, row.precision)]
    for line in (*_heading(device), *_table(asked), *_notes(asked, auto), *_explanation(asked, rows)):
        print(line)
    report = _report(args.checkpoint, device, asked) | {"auto": dataclasses.asdict(auto)}
    print(json.dumps(with_kernels(report)))
    return int(not any(row.fits for row in asked))


def fit(
    checkpoint: Path,
    device: Device,
    auto: str,
    *,
    policies: Sequence[str] = HISTORY_POLICIES,
    num_frames: int | None = None,
    measure: Sequence[str] = (),
) -> list[Prediction]:
    """Predict every precision under each policy; of the weights at most the files' headers are read.

    auto: what `precision: auto` takes. measure: precisions whose parts are timed, on a device that is here. Raises as
    missions and open_layout do.
    """
    layout = open_layout(checkpoint)
    config, files = config_of(layout), tokenizer_bytes(layout)
    counted, libraries = missions(layout, policies, num_frames), libraries_mb() if device.unified else 0.0
    parts = _measured(layout, device, auto, measure) if device.kind == "cpu" else {}
    return [
        predict(
            config,
            precision,
            mission,
            device,
            tokenizer=files,
            libraries_mb=libraries,
            auto=auto,
            measured=parts.get(precision),
        )
        for precision in PRECISIONS
        for mission in counted
    ]


def auto_precision(layout: Layout, device: Device) -> Precision:
    """Return what `precision: auto` takes for the checkpoint there; without weight files they are taken for 16 bits."""
    try:
        is_16_bits = stored_dtype(layout).itemsize == 2
    except CheckpointError:
        is_16_bits = True
    weights, where = count_weights(config_of(layout)), torch.device(device.kind)
    return choose_precision(AUTO, where, weights=weights, is_16_bits=is_16_bits, measure=lambda _: device.arithmetic)


def _measured(layout: Layout, device: Device, auto: str, precisions: Sequence[str]) -> dict[str, Measured]:
    """Time the parts in each precision; what is emulated would take minutes and is told from float32."""
    config = config_of(layout)
    found: dict[str, Measured] = {}
    decision_ms: dict[str, float] = {}
    slower = {name: slower_than_float32(device, name) for name in precisions}
    wanted = dict.fromkeys("float32" if slower[name] else name for name in precisions)
    for name in tqdm(wanted, desc="measuring", unit="precision", disable=None, leave=False):
        computed = name if name in DTYPES else auto
        if computed not in decision_ms:
            decision_ms[computed] = measure_decision(layout, computed)
        storage = storage_on(device, name, auto)
        found[name] = measure_parts(layout, computed, storage, decision_ms[computed])
        if stays_in_caches(config, storage):
            (mission,) = missions(layout, (HistoryConfig().policy,))
            found[name] = with_whole_decisions(found[name], layout, computed, storage, mission)
    return {name: found["float32"].slower(slower[name]) if slower[name] else found[name] for name in precisions}


def _device(name: str, other_mb: float | None) -> Device:
    device = device_here(name) if name in HERE else DEVICES[name]
    if other_mb is None:
        return device
    if other_mb < 0:
        raise ConfigError(f"--other-mb {other_mb}: must be 0 or more")
    return dataclasses.replace(device, other_mb=other_mb)


def _chosen(name: str | None, known: Sequence[str]) -> Sequence[str]:
    return known if name is None else (name,)


def _heading(device: Device) -> list[str]:
    left = device.memory_mb - device.other_mb
    return [
        f"{device.name}: {left:.0f} MB left of {device.memory_mb:.0f} MB, {device.other_mb:.0f} MB are others'; "
        f"{device.bandwidth_gbps:.1f} GB/s, {device.float32:.2f} TFLOP/s in float32, {device.half:.2f} in half "
        f"precision, {device.int8:.2f} TOP/s in int8",
        "",
    ]


def _table(rows: Sequence[Prediction]) -> list[str]:
    head = ("precision", "history", "fits", "MB", "weights", "caches", "rest", "step ms", "floor", "worst", "token ms")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _cells(row: Prediction) -> tuple[str, ...]:
    memory, times = row.memory, row.times
    weights = memory.vision_tower + memory.projector + memory.language_model
    caches = memory.kv_cache + memory.visual_cache + memory.camera_frames
    return (
        row.precision + _mark(row),
        row.policy,
        "yes" if row.fits else "NO",
        f"{memory.total:.0f}",
        f"{weights:.0f}",
        f"{caches:.0f}",
        f"{memory.total - weights - caches:.0f}",
        "-".join(dict.fromkeys(f"{value:.0f}" for value in _step_ms(row))),
        f"{times.step_ms:.1f}",
        f"{times.worst_ms:.1f}",
        "-".join(dict.fromkeys(f"{value:.1f}" for value in _decode_ms(row))),
    )


def _mark(row: Prediction) -> str:
    return " (auto)" if row.is_auto else f" (emulated, {row.slower:.0f}x slower)" if row.slower else ""


def _step_ms(row: Prediction) -> tuple[float, float]:
    """From least to most."""
    return _likely(row.times.step_ms) if row.expected is None else (row.expected.step_ms,) * 2


def _decode_ms(row: Prediction) -> tuple[float, float]:
    return _likely(row.times.decode_ms) if row.expected is None else (row.expected.decode_ms,) * 2


def _likely(floor_ms: float) -> tuple[float, float]:
    low, high = EFFICIENCY
    return floor_ms / high, floor_ms / low


def _notes(rows: Sequence[Prediction], auto: Precision) -> list[str]:
    low, high = (100 * part for part in EFFICIENCY)
    here = any(row.expected is not None for row in rows)
    lines = [
        "",
        "MB: when all caches are full. floor and worst: the least ms, by bytes and FLOPs, of the average and the "
        "longest step that keeps one new frame and scores the ten actions in one pass.",
        "step ms and token ms: added up from a few layers of this shape, which were timed just now; a prediction, not "
        "a measurement. token: of a free reply."
        if here
        else f"step ms and token ms: the floor at {high:.0f} % and at {low:.0f} % of the device's figures, what "
        "TinyChat reaches on an Orin; a prediction, not a measurement. token: of a free reply.",
        f"auto: what `precision: auto` takes, {auto}. What a quantized model does not quantize is in that too.",
    ]
    if any(row.slower for row in rows):
        lines.append("emulated: this processor has no such arithmetic; use it only for a comparison of results.")
    return lines


def _explanation(asked: Sequence[Prediction], rows: Sequence[Prediction]) -> list[str]:
    """Why nothing that was asked for fits, and what would."""
    if any(row.fits for row in asked):
        return []
    least = min(asked, key=lambda row: row.memory.total)
    parts = ", ".join(
        f"{name.replace('_', ' ')} {value:.0f}" for name, value in dataclasses.asdict(least.memory).items()
    )
    fitting = [f"{row.precision} with {row.policy} ({row.memory.total:.0f} MB)" for row in rows if row.fits]
    return [
        "",
        f"{least.precision} with {least.policy} does not fit: {least.reason}. MB: {parts}.",
        f"What would fit: {', '.join(fitting) or 'nothing; take a smaller checkpoint or another device'}.",
    ]


def _report(checkpoint: Path, device: Device, rows: Sequence[Prediction]) -> dict[str, Any]:
    return {
        "checkpoint": str(checkpoint),
        "device": dataclasses.asdict(device),
        "left_mb": round(device.memory_mb - device.other_mb, 1),
        "efficiency": EFFICIENCY,
        "rows": [_row(row) for row in rows],
    }


def _row(row: Prediction) -> dict[str, Any]:
    return {
        "precision": row.precision,
        "policy": row.policy,
        "fits": row.fits,
        "reason": row.reason,
        "total_mb": round(row.memory.total, 1),
        "memory_mb": {name: round(value, 1) for name, value in dataclasses.asdict(row.memory).items()},
        "floor_ms": {name: round(value, 3) for name, value in dataclasses.asdict(row.times).items()},
        "expected_ms": None
        if row.expected is None
        else {name: round(value, 3) for name, value in dataclasses.asdict(row.expected).items()},
        "step_ms": [round(value, 1) for value in _step_ms(row)],
        "auto": row.is_auto,
        "times_slower_than_float32": round(row.slower, 1),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila fit", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="a checkpoint directory; its weights need not be there")
    parser.add_argument("--device", choices=(*DEVICES, *HERE), default="auto", help="default: %(default)s")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), help="default: all")
    parser.add_argument("--policy", choices=HISTORY_POLICIES, help="history policy; default: all")
    parser.add_argument(
        "--frames", type=int, help="frames of a prompt, the current one among them; default: as trained"
    )
    parser.add_argument("--other-mb", type=float, help="what other programs hold of the device's memory")
    parser.add_argument("--train", action="store_true", help="the memory of finetuning instead, by `vila finetune`")
    parser.add_argument("--batch", type=int, default=4, help="samples at a time, of --train (%(default)s)")
    return parser
