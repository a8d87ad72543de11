"""llama.cpp through llama-cpp-python's own functions, its decoder in Q4_0."""

from __future__ import annotations

from pathlib import Path

import gguf
import llama_cpp
import numpy as np
from numpy.typing import NDArray

from vila_core.models.config import CheckpointConfig
from vila_tools.benchmark.job import StepJob
from vila_tools.benchmark.parts.conversion import Conversion, converted_folder
from vila_tools.benchmark.parts.turns import DecoderTurns, rows_needed
from vila_tools.benchmark.peers.gguf_file import write_gguf

_FILE = "decoder.gguf"
_ROUND = 256  # llama.cpp takes contexts of a multiple of it


class Decoder(DecoderTurns):
    """Weights in Q4_0, the cache in float16; llama.cpp's own sizes of batches."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        llama_cpp.llama_backend_init()
        file = converted_folder(job, __name__) / _FILE
        self._model = llama_cpp.llama_model_load_from_file(str(file).encode(), llama_cpp.llama_model_default_params())
        if not self._model:
            raise RuntimeError("llama.cpp cannot load the GGUF file")
        self._context, self._spare = self._made_context(), self._made_context()
        self.facts = {
            "precision": "Q4_0, float32",
            "versions": {"llama_cpp_python": llama_cpp.__version__, "gguf": getattr(gguf, "__version__", "unknown")},
        }

    def rewind(self) -> None:
        """Drop the cells behind the prompt."""
        memory = llama_cpp.llama_get_memory(self._context)
        llama_cpp.llama_memory_seq_rm(memory, 0, self.job.prompt_tokens, -1)

    def read(self, count: int) -> NDArray[np.float32]:
        """One batch behind what the context holds."""
        return self._decode(self._context, self.ids[self.read_tokens :][:count])

    def prefill(self, count: int) -> NDArray[np.float32]:
        """One batch in an empty context."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._spare), True)
        return self._decode(self._spare, self.ids[:count])

    def _decode(self, context: llama_cpp.llama_context_p, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read a batch, whose last token alone gives logits."""
        tokens = (llama_cpp.llama_token * len(ids))(*ids.tolist())
        status = llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, len(ids)))
        if status:
            raise RuntimeError(f"llama_decode failed with status {status}")
        logits = llama_cpp.llama_get_logits_ith(context, -1)
        return np.ctypeslib.as_array(logits, (self.config.language.vocab_size,))

    def _made_context(self) -> llama_cpp.llama_context_p:
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = _ROUND * -(-rows_needed(self.job) // _ROUND)
        parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED  # passes of 8 take a third longer with it
        parameters.n_threads = parameters.n_threads_batch = self.job.threads
        return llama_cpp.llama_init_from_model(self._model, parameters)


def convert(job: StepJob) -> Conversion:
    """Write the GGUF file."""
    return Conversion(job, __name__, _write)


def _write(config: CheckpointConfig, folder: Path) -> None:
    write_gguf(folder / _FILE, config.language, "Q4_0")
