"""The graphs of a model with example inputs: what is free in their shapes, and what goes in and out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vila_core.export.decoder_graph import DecoderGraph
from vila_core.export.manifest import GraphSpec, TensorSpec
from vila_core.export.vision_graph import VisionGraph
from vila_core.models.encoders import frame_tokens
from vila_core.models.preprocess import input_size
from vila_core.models.vlm import VisionLanguageModel

INT8_LAYERS = "vision_tower.encoder.layers"
# versions of ONNX's operators
OPSET = 19  # the first whose QuantizeLinear takes float16; TensorRT 10.0 already reads 20
OPSET_INT4 = 21  # the first with 4-bit tensors and blocks


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A module to be exported, its inputs by name in order, the specification to be written and ONNX's version."""

    module: nn.Module
    inputs: dict[str, Tensor]
    spec: GraphSpec
    opset: int = OPSET


def vision_graph(model: VisionLanguageModel, module: nn.Module | None = None, *, name: str = "vision") -> Graph:
    """Normalised pixels -> visual tokens; module stands in place of the model's own VisionGraph."""
    side = input_size(model.config.vision, model.config.images)
    tokens, width = frame_tokens(model.config), model.config.language.hidden_size
    dtype = _name_of(model.dtype)
    spec = GraphSpec(
        f"{name}.onnx",
        (TensorSpec("pixels", dtype, ("batch", 3, side, side)),),
        (TensorSpec("visual_tokens", dtype, ("batch", tokens, width)),),
    )
    return Graph(module or VisionGraph(model), {"pixels": torch.zeros(2, 3, side, side, dtype=model.dtype)}, spec)


def decoder_graph(model: VisionLanguageModel, *, name: str = "decoder", opset: int = OPSET) -> Graph:
    """Embeddings and the cache's keys and values -> hidden states, and the new tokens' keys and values."""
    config, dtype = model.config.language, _name_of(model.dtype)
    heads = (config.layers, config.kv_heads)
    new = (*heads, "tokens", config.head_dim)
    past = (*heads, "rows", config.head_dim)
    spec = GraphSpec(
        f"{name}.onnx",
        (
            TensorSpec("embeddings", dtype, (1, "tokens", config.hidden_size)),
            TensorSpec("positions", "int64", ("tokens",)),
            TensorSpec("past_keys", dtype, past),
            TensorSpec("past_values", dtype, past),
            TensorSpec("mask", dtype, ("tokens", "rows+tokens")),
        ),
        (
            TensorSpec("hidden", dtype, (1, "tokens", config.hidden_size)),
            TensorSpec("new_keys", dtype, new),
            TensorSpec("new_values", dtype, new),
        ),
    )
    sizes = {"tokens": 5, "rows": 7}  # any that differ and are not 1, which the exporter would take for fixed
    inputs = {i.name: torch.zeros(shape_of(i, sizes), dtype=getattr(torch, i.dtype)) for i in spec.inputs}
    return Graph(DecoderGraph(model.language_model), inputs, spec, opset)


def shape_of(spec: TensorSpec, sizes: dict[str, int]) -> tuple[int, ...]:
    """The shape with its free dimensions' sizes put in."""
    return tuple(dim if isinstance(dim, int) else sum(sizes[name] for name in dim.split("+")) for dim in spec.shape)


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
