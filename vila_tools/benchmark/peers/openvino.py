"""OpenVINO, as its users run it: modules converted from transformers, the cache as the model's own state."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
import torch
import transformers
from torch import Tensor

from vila_core.types import Frame
from vila_tools.benchmark.job import StepJob
from vila_tools.benchmark.peers.exportable import TensorDecoder, example, reading
from vila_tools.benchmark.peers.hugging_face import Encoder, decoder
from vila_tools.benchmark.peers.naive import NaivePeer
from vila_tools.benchmark.peers.openvino_model import HINTS, converted, keep_state, name_ports

_OPTIONS = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}


class OpenVinoPeer(NaivePeer):
    """Weights and arithmetic in the job's precision, tensors between the models in float32."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        self._options = _OPTIONS | {
            "INFERENCE_NUM_THREADS": str(job.threads),
            "INFERENCE_PRECISION_HINT": HINTS[job.precision],
        }
        self._core = openvino.Core()
        self._encoder = self._compiled_encoder()
        self._table, self._decoder = self._compiled_decoder()
        self.facts = {
            "precision": job.precision,
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
        model = converted(Encoder(self.config, self.dtype), (pixels,))
        model.reshape([-1, 3, size, size])
        return self._core.compile_model(model, "CPU", self._options)

    def _compiled_decoder(self) -> tuple[Tensor, Any]:
        language = self.config.language
        module = decoder(language, self.dtype)
        table = module.get_input_embeddings().weight.detach()
        model = converted(TensorDecoder(module), example(language, torch.float32))
        name_ports(model, language)
        keep_state(model, language)
        return table, self._core.compile_model(model, "CPU", self._options).create_infer_request()
