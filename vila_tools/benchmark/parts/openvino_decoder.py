"""OpenVINO's decoder with weights that NNCF compressed to 4 bits, the cache as the model's own state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino
import torch
from numpy.typing import NDArray

from vila_core.models.config import CheckpointConfig
from vila_tools.benchmark.job import StepJob
from vila_tools.benchmark.parts.conversion import Conversion, converted_folder
from vila_tools.benchmark.parts.turns import DecoderTurns
from vila_tools.benchmark.peers.exportable import TensorDecoder, example, reading
from vila_tools.benchmark.peers.hugging_face import decoder
from vila_tools.benchmark.peers.openvino_model import converted, keep_state, name_ports

_FILE = "decoder.xml"
_GROUP = 128
# A hint of bfloat16 or groups of 32, its defaults, make it decode half as fast.
_OPTIONS = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": "1",
    "INFERENCE_PRECISION_HINT": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(_GROUP),
}


class Decoder(DecoderTurns):
    """It reads embeddings: the table they come from lies beside it in bfloat16."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        options = _OPTIONS | {"INFERENCE_NUM_THREADS": str(job.threads)}
        language = self.config.language
        self._table = torch.empty(language.vocab_size, language.hidden_size, dtype=torch.bfloat16).normal_(std=0.02)
        model = openvino.Core().compile_model(converted_folder(job, __name__) / _FILE, "CPU", options)
        self._request, self._spare = model.create_infer_request(), model.create_infer_request()
        self._prompt: list[Any] = []  # the state behind the prompt
        self.facts = {
            "precision": "int4 in groups of 128, dynamic int8",
            "versions": {"openvino": openvino.__version__, "nncf": nncf.__version__},
        }

    def rewind(self) -> None:
        """Set the state that was there behind the prompt, a copy of it."""
        states = self._request.query_state()
        if not self._prompt:
            self._prompt = [openvino.Tensor(np.array(state.state.data)) for state in states]
            return
        for state, kept in zip(states, self._prompt, strict=True):
            state.state = kept

    def read(self, count: int) -> NDArray[np.float32]:
        """One inference on the state."""
        return self._read(self._request, self.read_tokens, count)

    def prefill(self, count: int) -> NDArray[np.float32]:
        """One inference on the state of another request, reset."""
        self._spare.reset_state()
        return self._read(self._spare, 0, count)

    def _read(self, request: Any, start: int, count: int) -> NDArray[np.float32]:
        embeddings = self._table[torch.from_numpy(self.ids[start : start + count])][None].float()
        mask, positions = reading(count, start, torch.float32)
        inputs = {"embeddings": embeddings, "mask": mask, "positions": positions, "beam": torch.zeros(1).int()}
        return request.infer({name: value.numpy() for name, value in inputs.items()})["logits"][0]


def convert(job: StepJob) -> Conversion:
    """Convert transformers' decoder and compress its weights."""
    return Conversion(job, __name__, _write)


def _write(config: CheckpointConfig, folder: Path) -> None:
    language = config.language
    model = converted(TensorDecoder(decoder(language, torch.bfloat16)), example(language, torch.float32))
    name_ports(model, language)
    keep_state(model, language)
    group = _GROUP if language.hidden_size % _GROUP == 0 else -1
    mode = nncf.CompressWeightsMode.INT4_SYM
    model = nncf.compress_weights(model, mode=mode, group_size=group, ratio=1.0, all_layers=True)
    openvino.save_model(model, folder / _FILE, compress_to_fp16=False)
