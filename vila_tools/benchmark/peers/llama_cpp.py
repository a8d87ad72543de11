"""llama.cpp through llama-cpp-python's own functions: pictures can only be given as embeddings, which need those.

llama.cpp has no vision tower of this shape: the pictures are encoded by transformers in the same process, and that
time counts, as it would for whoever puts the two together.
"""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from vila_core.types import Frame
from vila_tools.benchmark.job import StepJob
from vila_tools.benchmark.peers.gguf_file import write_gguf
from vila_tools.benchmark.peers.hugging_face import Encoder
from vila_tools.benchmark.peers.naive import NaivePeer

_TYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_ROUND = 256  # llama.cpp takes contexts of a multiple of it


class LlamaCppPeer(NaivePeer):
    """The decoder in the job's precision, its cache in float16 as llama.cpp has it by default."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        self._encoder = Encoder(self.config, self.dtype)
        self._table = torch.randn(job.prompt_tokens, self.config.language.hidden_size) * 0.02
        file = Path(job.folder) / "decoder.gguf"
        write_gguf(file, self.config.language, _TYPES[job.precision])
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(str(file).encode(), llama_cpp.llama_model_default_params())
        if not self._model:
            raise RuntimeError("llama.cpp cannot load the GGUF file")
        self._context = llama_cpp.llama_init_from_model(self._model, self._parameters())
        self.facts = {
            "precision": job.precision,
            "versions": {
                "llama_cpp_python": llama_cpp.__version__,
                "gguf": getattr(gguf, "__version__", "unknown"),
                "transformers": transformers.__version__,
            },
        }

    @torch.inference_mode()
    def answer(self, frames: list[Frame]) -> int:
        """Encode the frames in one batch, read the prompt as embeddings, decode greedily token by token."""
        visual = self._encoder(self.pixels(frames, self.dtype))
        rows = self.prompt_embeddings(self._table, visual)[0].float().numpy()
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        self._read(rows)
        count = 1
        token = self._best(-1)
        while count < self.job.tokens:
            batch = llama_cpp.llama_batch_get_one((llama_cpp.llama_token * 1)(token), 1)
            self._decode(batch)
            token = self._best(-1)
            count += 1
        return count

    def _parameters(self) -> llama_cpp.llama_context_params:
        parameters = llama_cpp.llama_context_default_params()
        needed = self.job.prompt_tokens + self.job.tokens
        parameters.n_ctx = _ROUND * -(-needed // _ROUND)
        parameters.n_batch = parameters.n_ctx
        parameters.n_threads = parameters.n_threads_batch = self.job.threads
        return parameters

    def _read(self, rows: NDArray[np.float32]) -> None:
        """Read embeddings [L, D]; only the last one's logits are computed."""
        count, width = rows.shape
        batch = llama_cpp.llama_batch_init(count, width, 1)
        with contextlib.ExitStack() as stack:
            stack.callback(llama_cpp.llama_batch_free, batch)
            batch.n_tokens = count
            ctypes.memmove(batch.embd, np.ascontiguousarray(rows).ctypes.data, rows.nbytes)
            for at in range(count):
                batch.pos[at] = at
                batch.n_seq_id[at] = 1
                batch.seq_id[at][0] = 0
                batch.logits[at] = at == count - 1
            self._decode(batch)

    def _decode(self, batch: llama_cpp.llama_batch) -> None:
        status = llama_cpp.llama_decode(self._context, batch)
        if status:
            raise RuntimeError(f"llama_decode failed with status {status}")

    def _best(self, index: int) -> int:
        logits = llama_cpp.llama_get_logits_ith(self._context, index)
        return int(np.ctypeslib.as_array(logits, (self.config.language.vocab_size,)).argmax())
