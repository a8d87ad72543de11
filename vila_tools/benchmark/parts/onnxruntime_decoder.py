"""onnxruntime's decoder in 4 bits, on a cache that it writes in place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from vila_core.models.config import CheckpointConfig
from vila_tools.benchmark.job import StepJob
from vila_tools.benchmark.parts.conversion import Conversion, converted_folder
from vila_tools.benchmark.parts.onnx_decoder import write_onnx_decoder
from vila_tools.benchmark.parts.turns import DecoderTurns, rows_needed
from vila_tools.benchmark.peers.past_names import past_names

_FILE = "decoder.onnx"


class Decoder(DecoderTurns):
    """It reads embeddings: the table they come from lies beside it in bfloat16."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        language = self.config.language
        self._table = torch.empty(language.vocab_size, language.hidden_size, dtype=torch.bfloat16).normal_(std=0.02)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = job.threads
        file = converted_folder(job, __name__) / _FILE
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._cache, self._spare = self._made_cache(), self._made_cache()
        self.facts = {
            "precision": "int4 in groups of 128, dynamic int8",
            "versions": {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__},
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


def convert(job: StepJob) -> Conversion:
    """Write the graph."""
    return Conversion(job, __name__, _write)


def _write(config: CheckpointConfig, folder: Path) -> None:
    write_onnx_decoder(folder / _FILE, config.language)
