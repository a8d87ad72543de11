"""Checkpoints of every layout, each value of their JSON files by its place, and what people write there by mistake."""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.models.stored.checkpoint import build_model
from vila_core.models.stored.config_reader import config_of
from vila_core.models.stored.layouts import open_layout
from vila_core.models.stored.quantized_weights import stored_group_size
from vila_core.models.stored.relevance_files import load_relevance
from vila_core.models.tokenizer import Tokenizer
from vila_core.random_checkpoints.make import write_description
from vila_core.random_checkpoints.shapes import SHAPES, tiny

LAYOUTS = {
    "classic-vila15": ("vila1.5-3b-s2", "classic"),
    "classic-nvila": ("nvila-8b-video", "classic"),
    "hf-preview": ("nvila-8b", "hf-preview"),
    "hf": ("nvila-lite-2b", "hf"),
    "vila-nano": ("", ""),
}
BAD = ("word", "", [], ["word"], {}, {"key": 1}, None, True, False, 0, -1, 2.5, math.nan, math.inf, 10**13, 10**400)

# keys that are read where they are, beside those that write_description writes
_MORE: dict[str, dict[str, Any]] = {
    "config.json": {
        "ps3": False,
        "dynamic_s2": False,
        "min_tiles": 1,
        "max_tiles": 12,
        "video_max_tiles": 1,
        "s2_resize_output_to_scale_idx": 0,
        "transformers_version": "4.46.0",
        "chat_template": "qwen2",
        "vila_nav": {
            "name": "x",
            "prompt_style": "vila",
            "family": "nvila",
            "history_tokens": 1,
            "chat_template": "qwen2",
        },
        "quantization_config": {
            "quant_method": "awq",
            "version": "gemm",
            "bits": 4,
            "group_size": 128,
            "zero_point": True,
        },
        "image_encoder": {"_target_": "a.BasicImageEncoder", "start_tokens": "a", "end_tokens": "b", "sep_tokens": "c"},
    },
    "decoder": {
        "head_dim": 16,
        "attention_bias": False,
        "use_sliding_window": False,
        "model_max_length": 2048,
        "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    },
    "generation_config.json": {
        "max_length": 30,
        "do_sample": True,
        "temperature": 0.5,
        "top_p": 0.5,
        "top_k": 5,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": [2],
    },
}


def write_checkpoint(folder: Path, name: str) -> Path:
    """Write all of a layout's checkpoint but its weights, with every key that is read."""
    like, layout = LAYOUTS[name]
    if not like:
        shutil.copytree(EMBEDDED_CHECKPOINT, folder, ignore=shutil.ignore_patterns("*.md"))
        return folder
    write_description(folder, tiny(SHAPES[like]), name=name, layout=layout)
    _extend(folder / "config.json", _MORE["config.json"])
    if layout == "hf":
        raw = json.loads((folder / "config.json").read_text())
        raw["text_config"] |= _MORE["decoder"]
        (folder / "config.json").write_text(json.dumps(raw))
    else:
        _extend(folder / "llm" / "config.json", _MORE["decoder"])
        _extend(folder / "generation_config.json", _MORE["generation_config.json"])
    special = {"bos_token": {"content": "a"}, "pad_token": "a"}
    _extend((folder if layout == "hf" else folder / "llm") / "special_tokens_map.json", special)
    return folder


def _extend(file: Path, more: dict[str, Any]) -> None:
    raw = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(more | raw))


def places(folder: Path) -> Iterator[tuple[Path, tuple[Any, ...]]]:
    """Yield the file and the keys of each value of a checkpoint's JSON files."""
    for file in sorted(folder.rglob("*.json")):
        if file.name not in ("tokenizer.json", "vocab.json"):
            yield from ((file, keys) for keys in _keys(json.loads(file.read_text())) if len(keys) < 6)


def _keys(value: Any) -> Iterator[tuple[Any, ...]]:
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in rows:
        yield (key,)
        yield from ((key, *rest) for rest in _keys(inner))


def replaced(raw: Any, keys: tuple[Any, ...], value: Any) -> Any:
    """Return a copy with another value at the place."""
    made = copy.deepcopy(raw)
    inner = made
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return made


def read_all(folder: Path, *, relevance: bool = False) -> None:
    """Read all that a checkpoint's JSON files say, and build its model without memory; its relevance head if asked."""
    layout = open_layout(folder)
    config = config_of(layout)
    stored_group_size(layout)
    tokenizer = Tokenizer(layout.tokenizer, slow=config.generation == "native")
    build_model(config, tokenizer, device="meta")
    if relevance:
        load_relevance(folder, config, "cpu")
