"""Random weights in files: what each part stores, drawn and written a piece at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vila_core.models.config import CheckpointConfig
from vila_core.models.language_model import LanguageModel
from vila_core.models.projector import Projector
from vila_core.models.stored.weights_writer import file_header
from vila_core.models.vision_tower import VisionTower
from vila_core.random_checkpoints.description import write_json


@dataclass(frozen=True, slots=True)
class Blank:
    """A tensor to be drawn: a norm's weight is one, a bias zero, any other normal with deviation 0.02."""

    name: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Its size in bfloat16."""
        return 2 * torch.Size(self.shape).numel()


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


def write_weights(folder: Path, blanks: Sequence[Blank], seed: int, shard_mb: float) -> None:
    """Write the tensors to model.safetensors, or to shards of at most shard_mb and an index; 0 for one file.

    Drawn and written a piece at a time: no tensor is in memory as a whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = torch.Generator().manual_seed(seed)
    shards = list(_shards(blanks, shard_mb))
    if len(shards) == 1:
        _write_file(folder / "model.safetensors", shards[0], rng)
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_file(folder / name, shard, rng)
        weight_map |= {blank.name: name for blank in shard}
    total = sum(blank.bytes for blank in blanks)
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def _shards(blanks: Sequence[Blank], shard_mb: float) -> Iterator[list[Blank]]:
    limit = shard_mb * 1e6 if shard_mb > 0 else float("inf")
    shard: list[Blank] = []
    for blank in blanks:
        if shard and sum(other.bytes for other in shard) + blank.bytes > limit:
            yield shard
            shard = []
        shard.append(blank)
    yield shard


def _write_file(file: Path, blanks: Sequence[Blank], rng: torch.Generator) -> None:
    with file.open("wb") as stream:
        stream.write(file_header((blank.name, torch.bfloat16, blank.shape) for blank in blanks))
        for blank in blanks:
            for piece in _draw(blank, rng):
                stream.write(piece.view(torch.uint8).numpy().data)


def _draw(blank: Blank, rng: torch.Generator, piece: int = 1 << 22) -> Iterator[torch.Tensor]:
    """The tensor's values in bfloat16, a piece at a time."""
    count = blank.bytes // 2
    leaf = blank.name.rpartition(".")[2]
    for begin in range(0, count, piece):
        size = min(piece, count - begin)
        if leaf == "bias":
            yield torch.zeros(size, dtype=torch.bfloat16)
        elif len(blank.shape) == 1:
            yield torch.ones(size, dtype=torch.bfloat16)
        else:
            yield torch.empty(size).normal_(0.0, 0.02, generator=rng).bfloat16()
