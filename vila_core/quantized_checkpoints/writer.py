"""Write a quantized checkpoint in the layout of the one that it was made of; its decoder comes layer by layer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from vila_core.files.writing import written_whole
from vila_core.models.stored.layouts import Json, Layout
from vila_core.models.stored.relevance_files import save_relevance
from vila_core.models.stored.weights import AnyTensor, MadeTensor
from vila_core.models.stored.weights_writer import copy_other_files, write_tensors
from vila_core.models.vlm import VisionLanguageModel
from vila_core.quantized_checkpoints.state import QuantizeState


def write_checkpoint(
    model: VisionLanguageModel,
    state: QuantizeState,
    layout: Layout,
    out: Path,
    quantization: Json,
    dtype: torch.dtype,
) -> None:
    """Write the weights and every other file of the checkpoint; nothing of it is in the directory until all is written.

    state: holds the decoder's layers, which the model has on "meta". dtype: of the matrices that are not quantized.
    Raises OutputError where it cannot be written; what the state holds stays.
    """
    modules: dict[str, tuple[nn.Module, str]] = {
        "vision_tower": (model.vision_tower, "vision_model."),
        "mm_projector": (model.projector, ""),
        "llm": (model.language_model, "model."),
    }
    flat = layout.kind == "hf"
    files: dict[Path, list[AnyTensor]] = {}
    with written_whole(out, aside=state.folder) as made:
        for part, (module, prefix) in modules.items():
            folder = made if flat else made / part
            before = layout.parts[part].prefix
            files.setdefault(folder, []).extend(_in_memory(module, before, prefix, dtype))
            if part == "llm":
                files[folder].extend(_kept(state, len(model.language_model.layers), before + prefix))
            copy_other_files(layout.parts[part].folder, folder)
        for folder, tensors in files.items():
            if tensors:
                write_tensors(folder / "model.safetensors", tensors)
        copy_other_files(layout.root, made)
        if model.relevance_head is not None:
            save_relevance(model.relevance_head, made)
        config = {**layout.top.raw, "quantization_config": quantization}
        (made / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _in_memory(module: nn.Module, before: str, prefix: str, dtype: torch.dtype) -> Iterator[MadeTensor]:
    """Tensors by their stored names: matrices in the checkpoint's dtype, vectors and quantized weights as they are."""
    weights = {name for name, _ in module.named_parameters()}
    for name, value in module.state_dict().items():
        if not value.is_meta:
            key = before + (name if name.startswith("lm_head.") else prefix + name)
            stored = dtype if name in weights and value.dim() > 1 else value.dtype
            yield MadeTensor(Path(), key, stored, tuple(value.shape), value.detach)


def _kept(state: QuantizeState, layers: int, prefix: str) -> Iterator[AnyTensor]:
    for number in range(layers):
        for tensor in state.kept(number):
            yield dataclasses.replace(tensor, name=f"{prefix}layers.{number}.{tensor.name}")
