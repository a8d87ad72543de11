"""Where a checkpoint directory keeps its parts: the classic layout, `-hf-preview` and the flat native `-hf`.

What is found here is raw: JSON objects and places of tensors. models.config gives it types.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vila_core.errors import CheckpointError

Json = dict[str, Any]

FLAT_TYPES = ("nvila", "nvila_lite")
CLASSIC_TYPES = ("llava_llama", "vila")
PARTS = ("vision_tower", "mm_projector", "llm")

# transformers leaves keys of a nested configuration out when they equal the class's defaults
_TEXT_DEFAULTS: Json = {
    "model_type": "qwen2",
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
}
_VISION_DEFAULTS: Json = {
    "model_type": "siglip_vision_model",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
}


@dataclass(frozen=True, slots=True)
class Part:
    """One part's tensors: the folder of its safetensors files and what its names begin with there."""

    folder: Path
    prefix: str


@dataclass(frozen=True, slots=True)
class Source:
    """A JSON object and the file, for messages, that it came from."""

    raw: Json
    file: Path

    def need(self, key: str) -> Any:
        """Return the key's value; CheckpointError if it is missing or null."""
        if self.raw.get(key) is None:
            raise CheckpointError(f"{self.file} lacks the key {key!r}")
        return self.raw[key]


@dataclass(frozen=True, slots=True)
class Layout:
    """A checkpoint directory opened, nothing but JSON read.

    kind: "classic" | "hf-preview" | "hf". tokenizer: the folder of its files. parts: by the names in PARTS.
    generation: generation_config.json of the root, {} without one.
    """

    root: Path
    kind: str
    top: Source
    language: Source
    vision: Source
    pixels: Json
    projector: Json
    generation: Json
    tokenizer: Path
    parts: Mapping[str, Part]


def open_layout(path: Path) -> Layout:
    """Find out the directory's layout and read its JSON files.

    A directory `model` with a config.json inside is descended into, as the official code does. Raises
    CheckpointError naming the file that is missing or unreadable, or a model_type that is not supported.
    """
    if (path / "model" / "config.json").is_file():
        path = path / "model"
    if (path / "adapter_config.json").is_file():
        raise CheckpointError(f"{path} holds a LoRA adapter, which is not supported; merge it into its base model")
    top = Source(read_json(path / "config.json"), path / "config.json")
    model_type = top.raw.get("model_type")
    if model_type in FLAT_TYPES:
        return _flat(path, top)
    if model_type not in CLASSIC_TYPES:
        supported = ", ".join(CLASSIC_TYPES + FLAT_TYPES)
        raise CheckpointError(f"{top.file}: model_type {model_type!r} is not supported; supported: {supported}")
    return _classic(path, top, "hf-preview" if model_type == "vila" else "classic")


def read_json(file: Path) -> Json:
    """Read a JSON object; CheckpointError naming the file if that cannot be done."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except OSError as err:
        raise CheckpointError(
            f"cannot read {file}: {err.strerror}; a checkpoint is a directory with config.json, llm/, vision_tower/ "
            "and mm_projector/, or a flat one of model_type nvila or nvila_lite"
        ) from err
    except ValueError as err:
        raise CheckpointError(f"{file} is not JSON: {err}") from err
    if not isinstance(value, dict):
        raise CheckpointError(f"{file}: expected an object, got {type(value).__name__}")
    return value


def read_json_if_there(file: Path) -> Json:
    """Read a JSON object, {} if there is no such file."""
    return read_json(file) if file.is_file() else {}


def _classic(path: Path, top: Source, kind: str) -> Layout:
    folders = {part: _component(path, top, part) for part in PARTS}
    llm, vision = folders["llm"], folders["vision_tower"]
    return Layout(
        root=path,
        kind=kind,
        top=top,
        language=Source(read_json(llm / "config.json"), llm / "config.json"),
        vision=Source(read_json(vision / "config.json"), vision / "config.json"),
        pixels=read_json(vision / "preprocessor_config.json"),
        projector=read_json(folders["mm_projector"] / "config.json"),
        generation=read_json_if_there(path / "generation_config.json"),
        tokenizer=llm if (llm / "tokenizer_config.json").is_file() else llm / "llm",
        parts={part: Part(folder, "") for part, folder in folders.items()},
    )


def _component(path: Path, top: Source, part: str) -> Path:
    """The component's folder: by its name, or where config.json says it is, if that is a string."""
    place = top.raw.get(f"{part}_cfg")
    if not isinstance(place, str) or (path / part).is_dir():
        return path / part
    for folder in (path / place, path.parent / place):
        if (folder / "config.json").is_file():
            return folder
    raise CheckpointError(
        f"{top.file}: {part}_cfg names {place!r}, which is no local directory; download it to {path / part}"
    )


def _flat(path: Path, top: Source) -> Layout:
    processor = read_json_if_there(path / "processor_config.json")
    pixels = read_json_if_there(path / "preprocessor_config.json") or processor.get("image_processor", {})
    lite = top.raw["model_type"] == "nvila_lite"
    return Layout(
        root=path,
        kind="hf",
        top=top,
        language=Source({**_TEXT_DEFAULTS, **top.need("text_config")}, top.file),
        vision=Source({**_VISION_DEFAULTS, **top.need("vision_config")}, top.file),
        pixels=pixels,
        projector={"mm_projector_type": "mlp_downsample_3x3_fix" if lite else "mlp_downsample"},
        generation={},  # the official code decodes greedily whatever this file says: it has no model-level one
        tokenizer=path,
        parts={
            "vision_tower": Part(path, "vision_tower."),
            "mm_projector": Part(path, "mm_projector."),
            "llm": Part(path, "llm."),
        },
    )
