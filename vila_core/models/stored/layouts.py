"""Where a checkpoint directory keeps its parts: the classic layout, `-hf-preview` and the flat native `-hf`.

What is found here is raw: JSON objects and places of tensors. models.config_reader gives it types.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vila_core.errors import CheckpointError
from vila_core.files.json_object import Json, JsonObject, read_object, show
from vila_core.files.reading import is_file, is_folder, is_there
from vila_core.models.stored.adapters import Adapter, is_adapter, read_adapter

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
class Layout:
    """A checkpoint directory opened, nothing but JSON read.

    kind: "classic" | "hf-preview" | "hf". tokenizer: the folder of its files. parts: by the names in PARTS.
    generation: generation_config.json of the root, an empty object without one. adapter: what is added to the tensors,
    if the directory that was opened is an adapter's; all else is then its base's.
    """

    root: Path
    kind: str
    top: JsonObject
    language: JsonObject
    vision: JsonObject
    pixels: JsonObject
    projector: JsonObject
    generation: JsonObject
    tokenizer: Path
    parts: Mapping[str, Part]
    adapter: Adapter | None = None


def open_layout(path: Path) -> Layout:
    """Find out the directory's layout and read its JSON files.

    A directory `model` with a config.json inside is descended into, as the official code does. Of an adapter's
    directory the layout is that of its base. Raises CheckpointError naming the file that is missing or unreadable, or a
    model_type that is not supported.
    """
    if is_adapter(path):
        adapter = read_adapter(path)
        return dataclasses.replace(_open_base(adapter.base), adapter=adapter)
    return _open_base(path)


def _open_base(path: Path) -> Layout:
    if is_file(path / "model" / "config.json"):
        path = path / "model"
    top = read_json(path / "config.json")
    model_type = top.raw.get("model_type")
    if model_type in FLAT_TYPES:
        return _flat(path, top)
    if model_type not in CLASSIC_TYPES:
        supported = ", ".join(CLASSIC_TYPES + FLAT_TYPES)
        raise CheckpointError(f"{top.file}: model_type {show(model_type)} is not supported; supported: {supported}")
    return _classic(path, top, "hf-preview" if model_type == "vila" else "classic")


def read_json(file: Path) -> JsonObject:
    """Read a JSON object; CheckpointError naming the file if that cannot be done."""
    return read_object(file, remedy=_REMEDY)


_REMEDY = (
    "a checkpoint is a directory with config.json, llm/, vision_tower/ and mm_projector/, or a flat one of model_type "
    "nvila or nvila_lite"
)


def read_json_if_there(file: Path) -> JsonObject:
    """Read a JSON object, an empty one if there is no such file."""
    return read_object(file) if is_there(file) else JsonObject({}, file)


def _classic(path: Path, top: JsonObject, kind: str) -> Layout:
    folders = {part: _component(path, top, part) for part in PARTS}
    llm, vision = folders["llm"], folders["vision_tower"]
    return Layout(
        root=path,
        kind=kind,
        top=top,
        language=read_json(llm / "config.json"),
        vision=read_json(vision / "config.json"),
        pixels=read_json(vision / "preprocessor_config.json"),
        projector=read_json(folders["mm_projector"] / "config.json"),
        generation=read_json_if_there(path / "generation_config.json"),
        tokenizer=llm if is_file(llm / "tokenizer_config.json") else llm / "llm",
        parts={part: Part(folder, "") for part, folder in folders.items()},
    )


def _component(path: Path, top: JsonObject, part: str) -> Path:
    """The component's folder: by its name, or where config.json says it is, if that is a string."""
    key = f"{part}_cfg"
    if top.has(key) and not isinstance(top.raw[key], dict | str):
        raise top.wrong(key, "an object in braces, or the name of a folder")
    place = top.raw.get(key)
    if not isinstance(place, str) or is_folder(path / part):
        return path / part
    for folder in (path / place, path.parent / place):
        if is_file(folder / "config.json"):
            return folder
    raise CheckpointError(
        f"{top.file}: {key} names {show(place)}, which is no local directory; download it to {path / part}"
    )


def _flat(path: Path, top: JsonObject) -> Layout:
    processor = read_json_if_there(path / "processor_config.json")
    pixels = read_json_if_there(path / "preprocessor_config.json")
    lite = top.raw["model_type"] == "nvila_lite"
    kind = "mlp_downsample_3x3_fix" if lite else "mlp_downsample"
    return Layout(
        root=path,
        kind="hf",
        top=top,
        language=_with_defaults(top.object("text_config"), _TEXT_DEFAULTS),
        vision=_with_defaults(top.object("vision_config"), _VISION_DEFAULTS),
        pixels=pixels if pixels.raw else processor.object("image_processor", {}),
        projector=JsonObject({"mm_projector_type": kind}, top.file),
        # the official code decodes greedily whatever this file says: it has no model-level one
        generation=JsonObject({}, path / "generation_config.json"),
        tokenizer=path,
        parts={
            "vision_tower": Part(path, "vision_tower."),
            "mm_projector": Part(path, "mm_projector."),
            "llm": Part(path, "llm."),
        },
    )


def _with_defaults(given: JsonObject, defaults: Json) -> JsonObject:
    return JsonObject({**defaults, **given.raw}, given.file, given.where)
