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
from vila_core.machine.files import written_whole
from vila_core.models.config import CheckpointConfig
from vila_core.models.relevance import RelevanceConfig, RelevanceHead

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
            f"{folder}: made for visual tokens and embeddings {sizes.visual_width} and {sizes.text_width} wide, "
            f"the decoder's are {config.language.hidden_size}"
        )
    head = RelevanceHead(sizes)
    try:
        head.load_state_dict({name: value.float() for name, value in load_file(folder / "model.safetensors").items()})
    except (OSError, SafetensorError, RuntimeError) as err:
        raise CheckpointError(f"{folder / 'model.safetensors'} cannot be loaded: {err}") from err
    return head.to(device).eval().requires_grad_(False)


def save_relevance(head: RelevanceHead, checkpoint: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write the head into the checkpoint directory, whole or not at all; OutputError where it cannot be written."""
    tensors = {name: value.detach().to("cpu", dtype).contiguous() for name, value in head.state_dict().items()}
    text = json.dumps(dataclasses.asdict(head.config), indent=2)
    with written_whole(checkpoint / FOLDER) as made:
        made.mkdir()
        save_file(tensors, made / "model.safetensors", metadata={"format": "pt"})
        (made / "config.json").write_text(text + "\n", encoding="utf-8")


def _read_config(file: Path) -> RelevanceConfig:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return from_mapping(RelevanceConfig, values)
    except (OSError, ValueError, TypeError, AttributeError, ConfigError) as err:
        raise CheckpointError(f"{file} cannot be read: {err}") from err
