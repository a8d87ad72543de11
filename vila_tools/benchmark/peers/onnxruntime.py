"""onnxruntime, as its users run it: modules exported from transformers, keys and values handed from pass to pass.

float32: its CPU kernels multiply neither bfloat16 nor float16 matrices any quicker.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim

from vila_core.types import Frame
from vila_tools.benchmark.job import StepJob
from vila_tools.benchmark.peers.exportable import TensorDecoder, example, reading
from vila_tools.benchmark.peers.hugging_face import Encoder, decoder
from vila_tools.benchmark.peers.naive import NaivePeer
from vila_tools.benchmark.peers.past_names import past_names

_OPSET = 20


class OnnxRuntimePeer(NaivePeer):
    """Weights and arithmetic in float32."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        folder = Path(job.folder)
        self._table = self._write_decoder(folder / "decoder.onnx")
        self._write_encoder(folder / "encoder.onnx")
        gc.collect()  # the modules, before their weights are read again
        self._encoder = self._session(folder / "encoder.onnx")
        self._decoder = self._session(folder / "decoder.onnx")
        self.facts = {
            "precision": "float32",
            "versions": {
                "onnxruntime": onnxruntime.__version__,
                "onnx": onnx.__version__,
                "transformers": transformers.__version__,
            },
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
        mask, positions = reading(embeddings.shape[1], past[0].shape[2], torch.float32)
        inputs = {"embeddings": embeddings.numpy(), "mask": mask.numpy(), "positions": positions.numpy()}
        inputs |= dict(zip(past_names(self.config.language, "past"), past, strict=True))
        return self._decoder.run(None, inputs)

    def _write_encoder(self, file: Path) -> None:
        size = self.config.vision.image_size
        module = Encoder(self.config, torch.float32)
        export(module, (torch.zeros(2, 3, size, size),), file, ["pixels"], ["visual"], ({0: Dim("frames")},))

    def _write_decoder(self, file: Path) -> Tensor:
        """Write the decoder; returns its embeddings [V, D]."""
        language = self.config.language
        module = decoder(language, torch.float32)
        new, past, whole = Dim.DYNAMIC, Dim.DYNAMIC, Dim.DYNAMIC
        rows = tuple({2: past} for _ in range(2 * language.layers))
        shapes = ({1: new}, {2: new, 3: whole}, {1: new}, rows)
        inputs = ["embeddings", "mask", "positions", *past_names(language, "past")]
        outputs = ["logits", *past_names(language, "present")]
        export(TensorDecoder(module), example(language, torch.float32), file, inputs, outputs, shapes)
        return module.get_input_embeddings().weight.detach()

    def _session(self, file: Path) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.job.threads
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def export(
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
