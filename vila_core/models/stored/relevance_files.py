"""A relevance head in a checkpoint directory: `relevance_head/config.json` and its weights beside it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vila_core.config import from_mapping
from vila_core.errors import CheckpointError, ConfigError
from vila_core.files.json_object import read_object
from vila_core.files.writing import written_whole
from vila_core.models.config import CheckpointConfig
from vila_core.models.encoders import frame_tokens
from vila_core.models.relevance import RelevanceConfig, RelevanceHead
from vila_core.models.stored.stored_layers import WithoutInit
from vila_core.models.stored.weights import stored_tensors

FOLDER = "relevance_head"


def load_relevance(checkpoint: Path, config: CheckpointConfig, device: torch.device | str) -> RelevanceHead | None:
    """Load the checkpoint's head in float32, None if it has none.

    Raises CheckpointError if a file cannot be read or does not fit the rest of the checkpoint.
    """
    folder = checkpoint / FOLDER
    if not folder.is_dir():
        return None
    sizes = _read_config(folder / "config.json")
    if sizes.visual_width != config.language.hidden_size or sizes.text_width != config.language.hidden_size:
        raise CheckpointError(
            f"{folder / 'config.json'}: made for visual tokens and embeddings visual_width {sizes.visual_width} and "
            f"text_width {sizes.text_width} wide, the decoder's are {config.language.hidden_size}"
        )
    if sizes.visual_tokens != frame_tokens(config):
        raise CheckpointError(
            f"{folder / 'config.json'}: visual_tokens {sizes.visual_tokens}, but a frame has {frame_tokens(config)}"
        )
    file = folder / "model.safetensors"
    _require_shapes(file, sizes)
    head = RelevanceHead(sizes)
    try:
        head.load_state_dict({name: value.float() for name, value in load_file(file).items()})
    except (OSError, SafetensorError, RuntimeError) as err:
        raise CheckpointError(f"{file} cannot be loaded: {err}") from err
    return head.to(device).eval().requires_grad_(False)


def _require_shapes(file: Path, sizes: RelevanceConfig) -> None:
    """Compare a head of these sizes, which takes no memory, with what the file holds."""
    with torch.device("meta"), WithoutInit():
        expected = {name: tuple(value.shape) for name, value in RelevanceHead(sizes).state_dict().items()}
    found = {tensor.name: tensor.shape for tensor in stored_tensors(file)}
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            shapes = [None if shape is None else list(shape) for shape in (expected.get(name), found.get(name))]
            raise CheckpointError(
                f"{file}: {name}: expected shape {shapes[0]}, got {shapes[1]}, by the sizes in config.json"
            )


def save_relevance(head: RelevanceHead, checkpoint: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write the head into the checkpoint directory, whole or not at all; OutputError where it cannot be written."""
    tensors = {name: value.detach().to("cpu", dtype).contiguous() for name, value in head.state_dict().items()}
    text = json.dumps(dataclasses.asdict(head.config), indent=2)
    with written_whole(checkpoint / FOLDER) as made:
        made.mkdir()
        save_file(tensors, made / "model.safetensors", metadata={"format": "pt"})
        (made / "config.json").write_text(text + "\n", encoding="utf-8")


def _read_config(file: Path) -> RelevanceConfig:
    given = read_object(file)
    try:
        return from_mapping(RelevanceConfig, given.raw)
    except (ConfigError, CheckpointError) as err:
        raise CheckpointError(f"{file}: {err}") from err
