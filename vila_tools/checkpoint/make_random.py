"""`vila make-random`: a checkpoint of a released model's shape with random weights, to measure and to test with."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from vila_core.errors import ConfigError
from vila_core.models.config import CheckpointConfig
from vila_core.models.config_reader import read_checkpoint_config
from vila_core.models.language_model import LanguageModel
from vila_core.models.projector import Projector
from vila_core.models.vision_tower import VisionTower
from vila_tools.checkpoint.model_shapes import SHAPES, ModelShape, model_shape, tiny, with_time_tokens
from vila_tools.checkpoint.random_files import (
    Blank,
    language_json,
    pixels_json,
    projector_json,
    top_json,
    vision_json,
    write_json,
    write_tokenizer,
    write_weights,
)

LAYOUTS = ("classic", "hf-preview", "hf")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the checkpoint; the last line on stdout is one JSON object."""
    args = _parser().parse_args(argv)
    shape = with_time_tokens(model_shape(args.like), args.time_tokens)
    out = args.out or Path(f"{args.like}-random")
    make_random(
        out,
        tiny(shape) if args.tiny else shape,
        name=args.like,
        layout=args.layout,
        seed=args.seed,
        shard_mb=args.shard_mb,
    )
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(json.dumps({"checkpoint": str(out), "like": args.like, "layout": args.layout, "mb": round(size / 1e6, 2)}))
    return 0


def make_random(
    out: Path, shape: ModelShape, *, name: str, layout: str = "classic", seed: int = 0, shard_mb: float = 5000.0
) -> None:
    """Write a random checkpoint in bfloat16 to the directory, which must not be there or be empty.

    Raises ConfigError for a directory in use, or a layout that such a model has no form in.
    """
    write_description(out, shape, name=name, layout=layout)
    parts = stored_parts(read_checkpoint_config(out))
    if layout == "hf":
        blanks = [dataclasses.replace(b, name=f"{part}.{b.name}") for part, rows in parts.items() for b in rows]
        write_weights(out, blanks, seed, shard_mb)
        return
    for number, (part, blanks) in enumerate(tqdm(parts.items(), desc="parts", disable=None)):
        write_weights(out / part, blanks, seed + number, shard_mb)


def write_description(out: Path, shape: ModelShape, *, name: str, layout: str = "classic") -> None:
    """Write all of a random checkpoint but its weights: configuration and tokenizer. Raises ConfigError as above."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there and not empty; give another --out or delete it")
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


def stored_parts(config: CheckpointConfig) -> dict[str, list[Blank]]:
    """The tensors that the official code stores for each part, those that never influence the result included."""
    vision = config.vision
    with torch.device("meta"):
        tower = VisionTower(dataclasses.replace(vision, layers=vision.stored_layers or vision.layers))
        projector, language = Projector(config.projector), LanguageModel(config.language)
    norm = [Blank(f"vision_model.post_layernorm.{leaf}", (vision.hidden_size,)) for leaf in ("weight", "bias")]
    return {
        "vision_tower": [*_blanks(tower, "vision_model."), *norm],
        "mm_projector": _blanks(projector, ""),
        "llm": _blanks(language, "model."),
    }


def _blanks(module: torch.nn.Module, prefix: str) -> list[Blank]:
    return [
        Blank(name if name.startswith("lm_head.") else prefix + name, tuple(value.shape))
        for name, value in module.named_parameters()
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila make-random", description=__doc__)
    parser.add_argument("--like", required=True, metavar="NAME", help=f"one of {', '.join(SHAPES)}")
    parser.add_argument("--out", type=Path, help="the directory to write; default NAME-random")
    parser.add_argument("--layout", choices=LAYOUTS, default="classic")
    parser.add_argument("--tiny", action="store_true", help="the same kind of model, small enough for tests")
    parser.add_argument("--shard-mb", type=float, default=5000.0, help="megabytes a file at most; 0 for one file")
    parser.add_argument("--time-tokens", type=int, metavar="N", help="so many, at least 2, whatever the model has")
    parser.add_argument("--seed", type=int, default=0)
    return parser
