"""Make a checkpoint of a released model's shape with random weights, to measure and to test with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from vila_core.errors import ConfigError
from vila_core.files.writing import require_unused, written_whole
from vila_core.models.stored.config_reader import read_checkpoint_config
from vila_core.random_checkpoints.description import (
    language_json,
    pixels_json,
    projector_json,
    top_json,
    vision_json,
    write_json,
)
from vila_core.random_checkpoints.shapes import ModelShape
from vila_core.random_checkpoints.tokenizer import write_tokenizer
from vila_core.random_checkpoints.weights import stored_parts, write_weights

LAYOUTS = ("classic", "hf-preview", "hf")


def make_random(
    out: Path,
    shape: ModelShape,
    *,
    name: str,
    layout: str = "classic",
    seed: int = 0,
    shard_mb: float = 5000.0,
    progress: Callable[[Sequence[str]], Iterable[str]] = iter,
) -> None:
    """Write a random checkpoint in bfloat16 to the directory, which must not be there or be empty.

    progress: passes the parts' names on as they are written, tqdm for one; not asked for the one file of "hf".
    Raises ConfigError for a directory in use, or a layout that such a model has no form in; OutputError where it cannot
    be written. Nothing of it is in the directory until all is written.
    """
    require_unused(out)
    with written_whole(out) as made:
        _write(made, shape, name, layout, seed, shard_mb, progress)


def _write(
    out: Path,
    shape: ModelShape,
    name: str,
    layout: str,
    seed: int,
    shard_mb: float,
    progress: Callable[[Sequence[str]], Iterable[str]],
) -> None:
    write_description(out, shape, name=name, layout=layout)
    parts = stored_parts(read_checkpoint_config(out))
    if layout == "hf":
        blanks = [dataclasses.replace(b, name=f"{part}.{b.name}") for part, rows in parts.items() for b in rows]
        write_weights(out, blanks, seed, shard_mb)
        return
    for number, part in enumerate(progress(list(parts))):
        write_weights(out / part, parts[part], seed + number, shard_mb)


def write_description(out: Path, shape: ModelShape, *, name: str, layout: str = "classic") -> None:
    """Write all of a random checkpoint but its weights: configuration and tokenizer. Raises ConfigError as above."""
    require_unused(out)
    if layout == "hf" and (shape.native or shape.time_tokens or shape.pool_sizes):
        raise ConfigError(f"{name} has no form in the layout 'hf'; only the NVILA and NVILA-Lite image models have")
    flat = layout == "hf"
    write_json(out / "config.json", top_json(shape, name, layout))
    write_tokenizer(out if flat else out / "llm", shape)
    write_json((out if flat else out / "vision_tower") / "preprocessor_config.json", pixels_json(shape))
    if not flat:
        write_json(out / "llm" / "config.json", language_json(shape))
        write_json(out / "vision_tower" / "config.json", vision_json(shape))
        write_json(out / "mm_projector" / "config.json", projector_json(shape))
