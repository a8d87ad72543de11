"""OpenVINO, as its users run it: modules converted from transformers, the cache as the model's own state.

The halves of a quantized model are compressed by NNCF. What only a conversion needs is imported there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vila_core.models.config import CheckpointConfig, LanguageConfig
from vila_core.types import Frame
from vila_tools.benchmark.part_targets import Conversion, DecoderTarget, TowerTarget, picture
from vila_tools.benchmark.peers.exportable import TensorDecoder, example, mask_and_positions, past_names
from vila_tools.benchmark.peers.naive import NaivePeer
from vila_tools.benchmark.target import StepJob, versions

_ENCODER, _DECODER = "encoder.xml", "decoder.xml"
_LATENCY = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}
_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}  # INFERENCE_PRECISION_HINT of a precision
_GROUP = 128
# Of the 4-bit decoder. A hint of bfloat16 or groups of 32, its defaults, make it decode half as fast.
_INT4 = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(_GROUP)}
_ALPHA = 0.3  # of SmoothQuant
_PICTURES = 2  # of calibration: its ranges change no time, nor would correcting the biases


class OpenVinoPeer(NaivePeer):
    """Weights and arithmetic in the job's precision, tensors between the models in float32."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        self._core, self._options = openvino.Core(), _options(job, INFERENCE_PRECISION_HINT=_HINTS[job.precision])
        self._encoder = self._compiled_encoder()
        self._table, self._decoder = self._compiled_decoder()
        self.facts = {
            "precision": job.precision,
            "versions": versions("openvino", "transformers"),
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
        mask, positions = mask_and_positions(embeddings.shape[1], past, torch.float32)
        inputs = {
            "embeddings": embeddings.float().numpy(),
            "mask": mask.numpy(),
            "positions": positions.numpy(),
            "beam": np.zeros(1, np.int32),
        }
        return torch.from_numpy(self._decoder.infer(inputs)["logits"])

    def _compiled_encoder(self) -> Any:
        from vila_tools.benchmark.peers.hugging_face import Encoder

        size = self.config.vision.image_size
        pixels = torch.zeros(2, 3, size, size)
        model = _converted(Encoder(self.config, self.dtype), (pixels,))
        model.reshape([-1, 3, size, size])
        return self._core.compile_model(model, "CPU", self._options)

    def _compiled_decoder(self) -> tuple[Tensor, Any]:
        from vila_tools.benchmark.peers.hugging_face import decoder

        language = self.config.language
        module = decoder(language, self.dtype)
        table = module.get_input_embeddings().weight.detach()
        model = _stateful_decoder(module, language)
        return table, self._core.compile_model(model, "CPU", self._options).create_infer_request()


class Decoder(DecoderTarget):
    """A decoder with weights in 4 bits.

    It reads embeddings: the table they come from lies beside it in bfloat16.
    """

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        language = self.config.language
        self._table = torch.empty(language.vocab_size, language.hidden_size, dtype=torch.bfloat16).normal_(std=0.02)
        model = openvino.Core().compile_model(Path(job.folder) / _DECODER, "CPU", _options(job, **_INT4))
        self._request = model.create_infer_request()  # a second one's logits would not always be written (2026.4)
        self._prompt: list[Any] = []  # the state behind the prompt
        self.facts = {
            "precision": "int4 in groups of 128, dynamic int8",
            "versions": versions("openvino", "nncf"),
        }

    def rewind(self) -> None:
        """Set the state that was there behind the prompt, a copy of it, whatever was read since."""
        states = self._request.query_state()
        if not self._prompt:
            self._prompt = [openvino.Tensor(np.array(state.state.data)) for state in states]
            return
        for state, kept in zip(states, self._prompt, strict=True):
            state.state = kept

    def read(self, count: int) -> NDArray[np.float32]:
        """One inference on the state, emptied if this is the prompt."""
        if self.read_tokens == 0:
            self._request.reset_state()
        return self._read(self.read_tokens, count)

    def prefill(self, count: int) -> NDArray[np.float32]:
        """One inference on an empty state; the prompt's is set again by `rewind`."""
        self._request.reset_state()
        return self._read(0, count)

    def _read(self, start: int, count: int) -> NDArray[np.float32]:
        embeddings = self._table[torch.from_numpy(self.ids[start : start + count])][None].float()
        mask, positions = mask_and_positions(count, start, torch.float32)
        inputs = {"embeddings": embeddings, "mask": mask, "positions": positions, "beam": torch.zeros(1).int()}
        return self._request.infer({name: value.numpy() for name, value in inputs.items()})["logits"][0]


class Tower(TowerTarget):
    """A tower in 8 bits, weights and activations; what is not quantized is in the job's precision."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        options = _options(job, INFERENCE_PRECISION_HINT=_HINTS[job.precision])
        model = openvino.Core().compile_model(Path(job.folder) / _ENCODER, "CPU", options)
        self._request = model.create_infer_request()
        self.facts = {
            "precision": f"W8A8, {job.precision}",
            "versions": versions("openvino", "nncf"),
        }

    def encode(self) -> NDArray[np.float32]:
        """One inference."""
        return self._request.infer([self.pixels.numpy()])[0][0]


def _options(job: StepJob, **options: str) -> dict[str, str]:
    return _LATENCY | {"INFERENCE_NUM_THREADS": str(job.threads)} | options


# --- conversion ----------------------------------------------------------------------------------


def convert_decoder(job: StepJob) -> Conversion:
    """Convert transformers' decoder and compress its weights."""
    return Conversion(job, _write_decoder)


def _write_decoder(config: CheckpointConfig, folder: Path) -> None:
    import nncf

    from vila_tools.benchmark.peers.hugging_face import decoder

    language = config.language
    model = _stateful_decoder(decoder(language, torch.bfloat16), language)
    group = _GROUP if language.hidden_size % _GROUP == 0 else -1
    mode = nncf.CompressWeightsMode.INT4_SYM
    model = nncf.compress_weights(model, mode=mode, group_size=group, ratio=1.0, all_layers=True)
    openvino.save_model(model, folder / _DECODER, compress_to_fp16=False)


def convert_tower(job: StepJob) -> Conversion:
    """Convert transformers' tower and the projector, and quantize both."""
    return Conversion(job, _write_tower)


def _write_tower(config: CheckpointConfig, folder: Path) -> None:
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, AdvancedSmoothQuantParameters

    from vila_tools.benchmark.peers.hugging_face import Encoder

    pictures = [picture(config, number).numpy() for number in range(_PICTURES)]
    model = _converted(Encoder(config, torch.float32), (torch.from_numpy(pictures[0]),))
    model.reshape(list(pictures[0].shape))
    smooth = AdvancedSmoothQuantParameters(matmul=_ALPHA)
    model = nncf.quantize(
        model,
        nncf.Dataset(pictures),
        subset_size=_PICTURES,
        model_type=nncf.ModelType.TRANSFORMER,
        advanced_parameters=AdvancedQuantizationParameters(smooth_quant_alphas=smooth, disable_bias_correction=True),
    )
    openvino.save_model(model, folder / _ENCODER, compress_to_fp16=False)


def _stateful_decoder(module: nn.Module, language: LanguageConfig) -> Any:
    model = _converted(TensorDecoder(module), example(language, torch.float32))
    _name_ports(model, language)
    _keep_state(model, language)
    return model


def _converted(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    """Convert a module whose weights may be in 16 bits: they stay so, and inputs are float32."""
    from openvino.frontend.pytorch.patch_model import __make_16bit_traceable as make_16bit_traceable

    make_16bit_traceable(module)
    with torch.no_grad():
        return openvino.convert_model(module, example_input=inputs)


def _name_ports(model: Any, language: LanguageConfig) -> None:
    """Name a decoder's inputs and outputs as TensorDecoder has them, and leave their lengths open."""
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
    from openvino import opset13 as ops
    from openvino._offline_transformations import apply_make_stateful_transformation

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
