"""Modules of torch as OpenVINO's models, and a decoder whose cache is the model's own state."""

from __future__ import annotations

from typing import Any

import openvino
import torch
from openvino import opset13 as ops
from openvino._offline_transformations import apply_make_stateful_transformation
from openvino.frontend.pytorch.patch_model import __make_16bit_traceable as make_16bit_traceable
from torch import Tensor, nn

from vila_core.models.config import LanguageConfig
from vila_tools.benchmark.peers.past_names import past_names

HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}  # INFERENCE_PRECISION_HINT of a precision


def converted(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    """Convert a module whose weights may be in 16 bits: they stay so, and inputs are float32."""
    make_16bit_traceable(module)
    with torch.no_grad():
        return openvino.convert_model(module, example_input=inputs)


def name_ports(model: Any, language: LanguageConfig) -> None:
    """Name a decoder's inputs and outputs as exportable.TensorDecoder has them, and leave their lengths open."""
    inputs = ["embeddings", "mask", "positions", *past_names(language, "past")]
    for port, name in zip(model.inputs, inputs, strict=True):
        port.get_tensor().set_names({name})
    for port, name in zip(model.outputs, ["logits", *past_names(language, "present")], strict=True):
        port.get_tensor().set_names({name})
    heads, width = language.kv_heads, language.head_dim
    shapes = {"embeddings": [1, -1, language.hidden_size], "mask": [1, 1, -1, -1], "positions": [1, -1]}
    rows = {name: [1, heads, -1, width] for name in past_names(language, "past")}
    model.reshape({name: openvino.PartialShape(shape) for name, shape in (shapes | rows).items()})


def keep_state(model: Any, language: LanguageConfig) -> None:
    """Turn keys and values into state, in the form that the plugin fuses with attention: reordered by beam."""
    beam = ops.parameter([-1], dtype=openvino.Type.i32, name="beam")
    beam.output(0).get_tensor().set_names({"beam"})
    model.add_parameters([beam])
    names = past_names(language, "past")
    for name in names:
        port = model.input(name)
        users = port.get_target_inputs()
        rows = ops.gather(port, beam, ops.constant(0))
        for user in users:
            user.replace_source_output(rows.output(0))
    model.validate_nodes_and_infer_types()
    apply_make_stateful_transformation(model, dict(zip(names, past_names(language, "present"), strict=True)))
    empty = ops.constant([1, language.kv_heads, 0, language.head_dim])
    for node in model.get_ops():
        if node.get_type_name() == "ReadValue":
            zero = ops.constant(0.0, dtype=node.get_output_element_type(0))
            node.set_arguments([ops.broadcast(zero, empty)])
    model.validate_nodes_and_infer_types()
