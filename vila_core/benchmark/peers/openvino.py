"""OpenVINO, as its users run it: modules converted from transformers, the cache as the model's own state."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
import torch
import transformers
from openvino import opset13 as ops
from openvino._offline_transformations import apply_make_stateful_transformation
from openvino.frontend.pytorch.patch_model import __make_16bit_traceable as make_16bit_traceable
from torch import Tensor, nn

from vila_core.benchmark.job import StepJob
from vila_core.benchmark.peers.exportable import TensorDecoder, example, past_names, reading
from vila_core.benchmark.peers.hugging_face import Encoder, decoder
from vila_core.benchmark.peers.naive import NaivePeer
from vila_core.models.config import LanguageConfig
from vila_core.types import Frame

_OPTIONS = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "bf16"}


class OpenVinoPeer(NaivePeer):
    """Weights and arithmetic in bfloat16, tensors between the models in float32."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        self._options = _OPTIONS | {"INFERENCE_NUM_THREADS": str(job.threads)}
        self._core = openvino.Core()
        self._encoder = self._compiled_encoder()
        self._table, self._decoder = self._compiled_decoder()
        self.facts = {
            "precision": "bfloat16",
            "versions": {"openvino": openvino.__version__, "transformers": transformers.__version__},
        }

    def answer(self, frames: list[Frame]) -> int:
        """Encode the frames in one batch, read the prompt, decode greedily on the model's own state."""
        visual = torch.from_numpy(self._encoder(self.pixels(frames, torch.float32).numpy())[0])
        embeddings = self.prompt_embeddings(self._table, visual)
        self._decoder.reset_state()
        read = 0
        for _ in range(self.job.tokens):
            logits = self._read(embeddings, read)
            read += embeddings.shape[1]
            embeddings = self._table[logits.argmax(-1)][None]
        return read - self.job.prompt_tokens + 1

    def _read(self, embeddings: Tensor, past: int) -> Tensor:
        mask, positions = reading(embeddings.shape[1], past, torch.float32)
        inputs = {
            "embeddings": embeddings.float().numpy(),
            "mask": mask.numpy(),
            "positions": positions.numpy(),
            "beam": np.zeros(1, np.int32),
        }
        return torch.from_numpy(self._decoder.infer(inputs)["logits"])

    def _compiled_encoder(self) -> Any:
        size = self.config.vision.image_size
        pixels = torch.zeros(2, 3, size, size)
        model = _converted(Encoder(self.config, self.dtype), (pixels,))
        model.reshape([-1, 3, size, size])
        return self._core.compile_model(model, "CPU", self._options)

    def _compiled_decoder(self) -> tuple[Tensor, Any]:
        language = self.config.language
        module = decoder(language, self.dtype)
        table = module.get_input_embeddings().weight.detach()
        model = _converted(TensorDecoder(module), example(language, torch.float32))
        _name(model, language)
        _keep_state(model, language)
        return table, self._core.compile_model(model, "CPU", self._options).create_infer_request()


def _converted(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    """Convert a module whose weights may be in 16 bits: they stay so, and inputs are float32."""
    make_16bit_traceable(module)
    with torch.no_grad():
        return openvino.convert_model(module, example_input=inputs)


def _name(model: Any, language: LanguageConfig) -> None:
    inputs = ["embeddings", "mask", "positions", *past_names(language, "past")]
    for port, name in zip(model.inputs, inputs, strict=True):
        port.get_tensor().set_names({name})
    for port, name in zip(model.outputs, ["logits", *past_names(language, "present")], strict=True):
        port.get_tensor().set_names({name})
    heads, width = language.kv_heads, language.head_dim
    shapes = {"embeddings": [1, -1, language.hidden_size], "mask": [1, 1, -1, -1], "positions": [1, -1]}
    rows = {name: [1, heads, -1, width] for name in past_names(language, "past")}
    model.reshape({name: openvino.PartialShape(shape) for name, shape in (shapes | rows).items()})


def _keep_state(model: Any, language: LanguageConfig) -> None:
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
