"""Write a quantized checkpoint in the layout of the one that it was made of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vila_core.models.layouts import Json, Layout
from vila_core.models.vlm import VisionLanguageModel

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".safetensors.index.json")


def write_checkpoint(model: VisionLanguageModel, layout: Layout, out: Path, quantization: Json) -> None:
    """Write the weights, every other file of the checkpoint, and last config.json, without which nothing loads."""
    modules: dict[str, tuple[nn.Module, str]] = {
        "vision_tower": (model.vision_tower, "vision_model."),
        "mm_projector": (model.projector, ""),
        "llm": (model.language_model, "model."),
    }
    flat = layout.kind == "hf"
    files: dict[Path, dict[str, Tensor]] = {}
    for part, (module, prefix) in modules.items():
        folder = out if flat else out / part
        tensors = _tensors(module, layout.parts[part].prefix, prefix, model.dtype)
        files.setdefault(folder, {}).update(tensors)
        _copy_files(layout.parts[part].folder, folder)
    for folder, tensors in files.items():
        if tensors:
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _copy_files(layout.root, out)
    config = {**layout.top.raw, "quantization_config": quantization}
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _tensors(module: nn.Module, before: str, prefix: str, dtype: torch.dtype) -> Mapping[str, Tensor]:
    """By their stored names: matrices in the checkpoint's dtype, vectors and quantized weights as they are."""
    found: dict[str, Tensor] = {}
    weights = {name for name, _ in module.named_parameters()}
    for name, value in module.state_dict().items():
        key = before + (name if name.startswith("lm_head.") else prefix + name)
        found[key] = (
            value.detach().to("cpu", dtype if name in weights and value.dim() > 1 else value.dtype).contiguous()
        )
    return found


def _copy_files(source: Path, target: Path) -> None:
    """Copy what is no weight and no folder; a tokenizer in a folder of its own below llm/ is copied with it."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        if entry.is_dir():
            if entry.name == "llm" and source.name == "llm":
                shutil.copytree(entry, target / entry.name, dirs_exist_ok=True, copy_function=shutil.copyfile)
        elif not entry.name.endswith(_WEIGHTS) and not (entry.name == "config.json" and target / "llm" == source):
            shutil.copyfile(entry, target / entry.name)
