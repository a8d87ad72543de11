"""`vila fit --train` as a table and a JSON object."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from vila_core.errors import CheckpointError, ConfigError
from vila_core.models.stored.config_reader import config_of
from vila_core.models.stored.layouts import open_layout
from vila_core.models.working_precision import stored_dtype
from vila_tools.fit.devices import Device
from vila_tools.fit.libraries import libraries_mb
from vila_tools.fit.training import TrainingMemory, rows_of, usual_batch
from vila_tools.report import with_kernels

_HALF = 2  # bytes of a weight, where there are no files to tell


def fit_training(checkpoint: Path, device: Device, *, samples: int, frames: int | None) -> int:
    """Print a row for each way to finetune, then one JSON object; 1 if none fits the device.

    Raises ConfigError for impossible numbers, CheckpointError for a configuration that cannot be read.
    """
    for name, value in (("--batch", samples), ("--frames", 1 if frames is None else frames)):
        if value < 1:
            raise ConfigError(f"{name} {value}: must be at least 1")
    layout = open_layout(checkpoint)
    config = config_of(layout)
    try:
        stored = stored_dtype(layout).itemsize
    except CheckpointError:
        stored = _HALF
    left = device.memory_mb - device.other_mb
    libraries = device.libraries_mb + (libraries_mb() if device.unified else 0.0)
    batch = usual_batch(config, samples, frames)
    rows = rows_of(config, batch, stored_bytes=stored, libraries_mb=libraries)
    print(
        f"{device.name}: {left:.0f} MB left; a batch of {batch.samples} prompts of {batch.frames} frames, "
        f"{batch.prompt_tokens} tokens each\n"
    )
    for line in _table([(*row, row[3].total <= left) for row in rows]):
        print(line)
    print("\nMB when all is there at once; what is trained lies in float32, with its gradient and Adam's two means.")
    report = {
        "checkpoint": str(checkpoint),
        "device": dataclasses.asdict(device),
        "left_mb": round(left, 1),
        "batch": dataclasses.asdict(batch),
        "rows": [
            {
                "way": way,
                "precision": precision,
                "saves_memory": saves,
                "fits": memory.total <= left,
                "total_mb": round(memory.total, 1),
                "memory_mb": {name: round(value, 1) for name, value in dataclasses.asdict(memory).items()},
            }
            for way, precision, saves, memory in rows
        ],
    }
    print(json.dumps(with_kernels(report)))
    return int(all(memory.total > left for *_, memory in rows))


def _table(rows: list[tuple[str, str, bool, TrainingMemory, bool]]) -> list[str]:
    head = ("trained", "precision", "--save-memory", "fits", "MB", "weights", "gradients, Adam", "activations")
    lines = [head] + [
        (
            way,
            precision,
            "yes" if saves else "no",
            "yes" if fits else "NO",
            f"{memory.total:.0f}",
            f"{memory.frozen_weights + memory.trained_weights:.0f}",
            f"{memory.gradients + memory.optimizer:.0f}",
            f"{memory.activations:.0f}",
        )
        for way, precision, saves, memory, fits in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
