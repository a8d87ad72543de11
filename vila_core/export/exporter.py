"""Export a checkpoint: graphs as ONNX, the embeddings, the tokenizer and JSON files, and a manifest of it all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from vila_core.errors import ConfigError
from vila_core.export.compare import example_inputs, relative_errors
from vila_core.export.graphs import INT8_LAYERS, Graph, decoder_graph, vision_graph
from vila_core.export.int8 import int8_copy
from vila_core.export.manifest import CHECKPOINT, EMBEDDINGS, MANIFEST, Limits, Manifest, write_manifest
from vila_core.export.onnx_file import OPSET, require_exporter, write_onnx
from vila_core.export.plain import plain_linears
from vila_core.export.vision_graph import VisionGraph
from vila_core.models.checkpoint import load_checkpoint
from vila_core.models.preprocess import prepare_image
from vila_core.models.vlm import VisionLanguageModel
from vila_core.quantization.int8_linear import Int8Linear
from vila_core.quantization.linear import QuantLinear
from vila_core.types import Frame

PRECISIONS = ("float16", "float32")
MOST_TOKENS, MOST_ROWS, MOST_FRAMES = 768, 4096, 8
_TEXTS = {".json", ".txt", ".model", ".jinja"}  # of a configuration or a tokenizer


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How to export. Limits of 0: the defaults above, or what the model has positions for."""

    precision: str = "float16"
    batch: int = MOST_FRAMES
    tokens: int = 0
    rows: int = 0

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision {self.precision!r} cannot be exported; supported: {', '.join(PRECISIONS)}")


def export_checkpoint(
    checkpoint: Path,
    out: Path,
    options: ExportOptions,
    *,
    calibration: Sequence[Frame] = (),
    on_part: Callable[[str], None] = lambda part: None,
) -> dict[str, Graph]:
    """Export a checkpoint to the directory, which must not hold another export; returns what was exported by name.

    calibration: with frames the vision tower is exported with 8-bit linears too. on_part: told each part before it is
    done. Raises CheckpointError as load_checkpoint, ConfigError for a directory in use, MissingDependencyError.
    """
    versions = require_exporter()
    if (out / MANIFEST).exists():
        raise ConfigError(f"{out} holds an export already; give another --out or delete it")
    model = load_checkpoint(checkpoint, precision=options.precision)
    out.mkdir(parents=True, exist_ok=True)
    graphs = make_graphs(model, calibration)
    for name, graph in graphs.items():
        on_part(name)
        write_onnx(graph, out)
    on_part("embeddings")
    write_embeddings(model, out / EMBEDDINGS)
    copy_texts(checkpoint, out / CHECKPOINT)
    manifest = Manifest(
        name=model.config.name,
        family=model.config.family,
        precision=options.precision,
        opset=OPSET,
        limits=limits_of(model, options),
        graphs={name: graph.spec for name, graph in graphs.items()},
        versions=versions,
    )
    write_manifest(out, manifest)
    return graphs


def make_graphs(model: VisionLanguageModel, calibration: Sequence[Frame] = ()) -> dict[str, Graph]:
    """The model's graphs by name; "vision_int8" only with calibration frames."""
    graphs = {}
    if calibration:
        quantized = int8_copy(VisionGraph(model), INT8_LAYERS, lambda graph: _run_frames(graph, model, calibration))
        graphs["vision_int8"] = vision_graph(model, quantized, name="vision_int8")
    for part in (model.vision_tower, model.projector, model.language_model):
        plain_linears(part, model.dtype)
    return {"vision": vision_graph(model), "decoder": decoder_graph(model)} | graphs


def check_export(graphs: dict[str, Graph], folder: Path, manifest: Manifest) -> dict[str, dict[str, float]]:
    """Compare every exported graph with torch: {graph: {output: relative error}}, the worst of several shapes."""
    cases = {"vision": [{"batch": 1}, {"batch": 3}], "decoder": [{"tokens": 9, "rows": 1}, {"tokens": 1, "rows": 20}]}
    worst: dict[str, dict[str, float]] = {}
    for name, graph in graphs.items():
        for seed, sizes in enumerate(cases[name.partition("_")[0]]):
            found = relative_errors(graph, folder / manifest.graphs[name].file, example_inputs(graph, sizes, seed))
            known = worst.setdefault(name, found)
            worst[name] = {output: max(error, known[output]) for output, error in found.items()}
    return worst


def limits_of(model: VisionLanguageModel, options: ExportOptions) -> Limits:
    """The most that the engines will be made for."""
    positions = model.config.language.max_positions
    rows = options.rows or min(MOST_ROWS, 2 * positions)
    return Limits(options.batch, options.tokens or min(MOST_TOKENS, rows), rows)


def write_embeddings(model: VisionLanguageModel, file: Path) -> None:
    """Write what stays with torch: the token embeddings, and the language head if it has weights of its own."""
    language = model.language_model
    tensors = {"embed_tokens.weight": language.embed_tokens.weight.detach().contiguous()}
    head = language.lm_head
    if isinstance(head, nn.Linear):
        tensors["lm_head.weight"] = head.weight.detach().contiguous()
    elif isinstance(head, QuantLinear | Int8Linear):
        tensors["lm_head.weight"] = head.dequantized(model.dtype)
    save_file(tensors, file, metadata={"format": "pt"})


def copy_texts(checkpoint: Path, out: Path) -> None:
    """Copy a checkpoint's configuration and tokenizer, no weights and nothing from hidden folders."""
    for file in sorted(checkpoint.rglob("*")):
        place = file.relative_to(checkpoint)
        hidden = any(part.startswith(".") for part in place.parts)
        if file.suffix in _TEXTS and file.is_file() and not hidden and not file.name.endswith(".index.json"):
            copy = out / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


@torch.inference_mode()
def _run_frames(graph: nn.Module, model: VisionLanguageModel, frames: Sequence[Frame]) -> None:
    for frame in frames:
        picture = prepare_image(frame.image, model.config.vision, model.config.images, tiled=False)
        graph(picture.tiles.to(model.dtype))
