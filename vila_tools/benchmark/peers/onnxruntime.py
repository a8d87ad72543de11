"""onnxruntime, as its users run it: modules exported from transformers for a whole step, its own operators in 4 bits.

A whole step is in float32: its CPU kernels multiply neither bfloat16 nor float16 matrices any quicker. What only a
conversion needs is imported there.
"""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim

from vila_core.models.config import CheckpointConfig
from vila_core.types import Frame
from vila_tools.benchmark.part_targets import Conversion, DecoderTarget, TowerTarget, picture, rows_needed
from vila_tools.benchmark.peers.exportable import TensorDecoder, example, mask_and_positions, past_names
from vila_tools.benchmark.peers.naive import NaivePeer
from vila_tools.benchmark.target import StepJob, versions

_ENCODER, _DECODER = "encoder.onnx", "decoder.onnx"
_OPSET = 20


class OnnxRuntimePeer(NaivePeer):
    """Weights and arithmetic in float32."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        folder = Path(job.folder)
        self._table = self._write_decoder(folder / _DECODER)
        self._write_encoder(folder / _ENCODER)
        gc.collect()  # the modules, before their weights are read again
        self._encoder = _session(folder / _ENCODER, job.threads)
        self._decoder = _session(folder / _DECODER, job.threads)
        self.facts = {
            "precision": "float32",
            "versions": versions("onnxruntime", "onnx", "transformers"),
        }

    def answer(self, frames: list[Frame]) -> int:
        """Encode the frames in one batch, read the prompt, decode greedily."""
        pixels = self.pixels(frames, torch.float32).numpy()
        visual = torch.from_numpy(self._encoder.run(None, {"pixels": pixels})[0])
        embeddings = self.prompt_embeddings(self._table, visual)
        language = self.config.language
        empty = np.zeros((1, language.kv_heads, 0, language.head_dim), np.float32)
        past = [empty] * (2 * language.layers)
        read = 0
        for _ in range(self.job.tokens):
            logits, *past = self._read(embeddings, past)
            read += embeddings.shape[1]
            embeddings = self._table[int(logits.argmax())][None, None]
        return read - self.job.prompt_tokens + 1

    def _read(self, embeddings: Tensor, past: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        mask, positions = mask_and_positions(embeddings.shape[1], past[0].shape[2], torch.float32)
        inputs = {"embeddings": embeddings.numpy(), "mask": mask.numpy(), "positions": positions.numpy()}
        inputs |= dict(zip(past_names(self.config.language, "past"), past, strict=True))
        return self._decoder.run(None, inputs)

    def _write_encoder(self, file: Path) -> None:
        from vila_tools.benchmark.peers.hugging_face import Encoder

        size = self.config.vision.image_size
        module = Encoder(self.config, torch.float32)
        _export(module, (torch.zeros(2, 3, size, size),), file, ["pixels"], ["visual"], ({0: Dim("frames")},))

    def _write_decoder(self, file: Path) -> Tensor:
        """Write the decoder; returns its embeddings [V, D]."""
        from vila_tools.benchmark.peers.hugging_face import decoder

        language = self.config.language
        module = decoder(language, torch.float32)
        new, past, whole = Dim.DYNAMIC, Dim.DYNAMIC, Dim.DYNAMIC
        rows = tuple({2: past} for _ in range(2 * language.layers))
        shapes = ({1: new}, {2: new, 3: whole}, {1: new}, rows)
        inputs = ["embeddings", "mask", "positions", *past_names(language, "past")]
        outputs = ["logits", *past_names(language, "present")]
        _export(TensorDecoder(module), example(language, torch.float32), file, inputs, outputs, shapes)
        return module.get_input_embeddings().weight.detach()


class Decoder(DecoderTarget):
    """A decoder in 4 bits, on a cache that it writes in place.

    It reads embeddings: the table they come from lies beside it in bfloat16.
    """

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        language = self.config.language
        self._table = torch.empty(language.vocab_size, language.hidden_size, dtype=torch.bfloat16).normal_(std=0.02)
        self._session = _session(Path(job.folder) / _DECODER, job.threads)
        self._cache, self._spare = self._made_cache(), self._made_cache()
        self.facts = {
            "precision": "int4 in groups of 128, dynamic int8",
            "versions": versions("onnxruntime", "onnx"),
        }

    def rewind(self) -> None:
        """Nothing: a later pass writes over the rows."""

    def read(self, count: int) -> NDArray[np.float32]:
        """One run on the cache."""
        return self._read(self._cache, self.read_tokens, count)

    def prefill(self, count: int) -> NDArray[np.float32]:
        """One run on a cache of its own."""
        return self._read(self._spare, 0, count)

    def _read(self, cache: list[onnxruntime.OrtValue], start: int, count: int) -> NDArray[np.float32]:
        binding = self._session.io_binding()
        embeddings = self._table[torch.from_numpy(self.ids[start : start + count])][None].float().numpy()
        binding.bind_cpu_input("embeddings", embeddings)
        binding.bind_cpu_input("seen", np.array([start + count - 1], np.int32))
        binding.bind_cpu_input("total", np.array(start + count, np.int32))
        language = self.config.language
        for past, present, rows in zip(
            past_names(language, "past"), past_names(language, "present"), cache, strict=True
        ):
            binding.bind_ortvalue_input(past, rows)
            binding.bind_ortvalue_output(present, rows)
        binding.bind_output("logits")
        self._session.run_with_iobinding(binding)
        return binding.get_outputs()[-1].numpy()[0]

    def _made_cache(self) -> list[onnxruntime.OrtValue]:
        language = self.config.language
        shape = (1, language.kv_heads, rows_needed(self.job), language.head_dim)
        return [
            onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32)) for _ in range(2 * language.layers)
        ]


class Tower(TowerTarget):
    """A tower with 8-bit weights, activations rounded as they come; what is not quantized is in float32."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        self._session = _session(Path(job.folder) / _ENCODER, job.threads)
        self.facts = {
            "precision": "dynamic int8 by channel, float32",
            "versions": versions("onnxruntime", "onnx"),
        }

    def encode(self) -> NDArray[np.float32]:
        """One run."""
        return self._session.run(None, {"pixels": self.pixels.numpy()})[0][0]


def convert_decoder(job: StepJob) -> Conversion:
    """Write the decoder's graph."""
    return Conversion(job, _write_decoder)


def _write_decoder(config: CheckpointConfig, folder: Path) -> None:
    from vila_tools.benchmark.peers.onnx_decoder import write_onnx_decoder

    write_onnx_decoder(folder / _DECODER, config.language)


def convert_tower(job: StepJob) -> Conversion:
    """Export transformers' tower and the projector, and quantize both."""
    return Conversion(job, _write_tower)


def _write_tower(config: CheckpointConfig, folder: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from vila_tools.benchmark.peers.hugging_face import Encoder

    with tempfile.TemporaryDirectory(dir=folder) as plain:
        file = Path(plain) / _ENCODER
        _export(Encoder(config, torch.float32), (picture(config, 0),), file, ["pixels"], ["visual"], ({},))
        quantize_dynamic(
            file,
            folder / _ENCODER,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=True,
        )


def _export(
    module: nn.Module,
    example_inputs: tuple[Tensor, ...],
    file: Path,
    inputs: list[str],
    outputs: list[str],
    shapes: Any,
) -> None:
    """Export with torch's own exporter; weights lie beside the file."""
    with torch.no_grad():
        torch.onnx.export(
            module,
            example_inputs,
            str(file),
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=shapes,
            opset_version=_OPSET,
            external_data=True,
            dynamo=True,
            verbose=False,
        )


def _session(file: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
