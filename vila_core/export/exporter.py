"""Export a checkpoint: graphs as ONNX, the embeddings, the tokenizer and JSON files, and a manifest of it all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vila_core.errors import ConfigError
from vila_core.export.compare import example_inputs, relative_errors
from vila_core.export.graphs import INT8_LAYERS, OPSET_INT4, Graph, decoder_graph, vision_graph
from vila_core.export.int4 import has_int4, int4_linears
from vila_core.export.int8 import int8_copy
from vila_core.export.manifest import CHECKPOINT, EMBEDDINGS, MANIFEST, Limits, Manifest, write_manifest
from vila_core.export.onnx_file import require_exporter, write_onnx
from vila_core.export.vision_graph import VisionGraph
from vila_core.files.writing import written_whole
from vila_core.models.preprocess import prepare_image
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.vlm import VisionLanguageModel
from vila_core.quantization.int8_linear import Int8Linear
from vila_core.quantization.linear import QuantLinear
from vila_core.types import Frame

PRECISIONS = ("float16", "float32")
MOST_TOKENS, MOST_ROWS, MOST_FRAMES = 768, 4096, 8
_TEXTS = {".json", ".txt", ".model", ".jinja"}  # of a configuration or a tokenizer


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How to export. Limits of 0: the defaults above, or what the model has positions for.

    keep_int4: whether a decoder that the checkpoint holds in 4 bits stays so, or becomes plain.
    """

    precision: str = "float16"
    batch: int = MOST_FRAMES
    tokens: int = 0
    rows: int = 0
    keep_int4: bool = True

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
    done. Raises CheckpointError as load_checkpoint, ConfigError for a directory in use, MissingDependencyError,
    OutputError where it cannot be written; nothing of the export is there then.
    """
    versions = require_exporter()
    if (out / MANIFEST).exists():
        raise ConfigError(f"{out} holds an export already; give another --out or delete it")
    model = load_checkpoint(checkpoint, precision=options.precision)
    head = quantized_head(model) if options.keep_int4 else None
    graphs = make_graphs(model, calibration, keep_int4=options.keep_int4)
    manifest = Manifest(
        name=model.config.name,
        family=model.config.family,
        precision=options.precision,
        opset=max(graph.opset for graph in graphs.values()),
        limits=limits_of(model, options),
        graphs={name: graph.spec for name, graph in graphs.items()},
        versions=versions,
    )
    with written_whole(out) as made:
        made.mkdir()
        for name, graph in graphs.items():
            on_part(name)
            write_onnx(graph, made)
        on_part("embeddings")
        write_embeddings(model, made / EMBEDDINGS, head)
        copy_texts(checkpoint, made / CHECKPOINT)
        write_manifest(made, manifest)
    return graphs


def make_graphs(
    model: VisionLanguageModel, calibration: Sequence[Frame] = (), *, keep_int4: bool = True
) -> dict[str, Graph]:
    """The model's graphs by name: "vision", with calibration frames "vision_int8" too, "decoder" or "decoder_int4"."""
    graphs = {}
    if calibration:
        quantized = int8_copy(VisionGraph(model), INT8_LAYERS, lambda graph: _run_frames(graph, model, calibration))
        graphs["vision_int8"] = vision_graph(model, quantized, name="vision_int8")
    layers, is_int4 = model.language_model.layers, keep_int4 and has_int4(model.language_model.layers)
    if is_int4:
        int4_linears(layers, model.dtype)
    for part in (model.vision_tower, model.projector, model.language_model):
        plain_linears(part, model.dtype)
    graphs["vision"] = vision_graph(model)
    if is_int4:
        return graphs | {"decoder_int4": decoder_graph(model, name="decoder_int4", opset=OPSET_INT4)}
    return graphs | {"decoder": decoder_graph(model)}


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


def quantized_head(model: VisionLanguageModel) -> QuantLinear | None:
    """The language head if it is kept in 4 bits."""
    head = model.language_model.lm_head
    return head if isinstance(head, QuantLinear) else None


def write_embeddings(model: VisionLanguageModel, file: Path, head: QuantLinear | None = None) -> None:
    """Write what stays with torch: the token embeddings, and the language head if it has weights of its own.

    head: written in 4 bits in place of the model's.
    """
    language = model.language_model
    tensors = {"embed_tokens.weight": language.embed_tokens.weight.detach().contiguous()}
    if head is not None:
        tensors |= {f"lm_head.{name}": value.contiguous() for name, value in head.state_dict().items()}
    elif isinstance(language.lm_head, nn.Linear):
        tensors["lm_head.weight"] = language.lm_head.weight.detach().contiguous()
    elif isinstance(language.lm_head, QuantLinear | Int8Linear):
        tensors["lm_head.weight"] = language.lm_head.dequantized(model.dtype)
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


@runtime_checkable
class Dequantizable(Protocol):
    """A quantized linear layer."""

    in_features: int
    out_features: int
    bias: Tensor | None

    def dequantized(self, dtype: torch.dtype) -> Tensor:
        """Return the whole weight [N, K]."""
        ...


def plain_linears(root: nn.Module, dtype: torch.dtype) -> int:
    """Replace every quantized linear below the module by an nn.Linear of dtype; returns how many."""
    found = [(name, child) for name, child in root.named_modules() if isinstance(child, Dequantizable)]
    for name, child in found:
        with torch.device("meta"):
            linear = nn.Linear(child.in_features, child.out_features, bias=child.bias is not None)
        linear.weight = nn.Parameter(child.dequantized(dtype), requires_grad=False)
        if child.bias is not None:
            linear.bias = nn.Parameter(child.bias.detach().to(dtype), requires_grad=False)
        owner, _, leaf = name.rpartition(".")
        setattr(root.get_submodule(owner), leaf, linear)
    return len(found)
