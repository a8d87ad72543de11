"""llama.cpp through llama-cpp-python's own functions: pictures can only be given as embeddings, which need those.

llama.cpp has no vision tower of this shape: in a whole step the pictures are encoded by transformers in the same
process, and that time counts, as it would for whoever puts the two together.
"""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

import llama_cpp
import numpy as np
import torch
from numpy.typing import NDArray

from vila_core.models.config import CheckpointConfig
from vila_core.types import Frame
from vila_tools.benchmark.part_targets import Conversion, DecoderTarget, rows_needed
from vila_tools.benchmark.peers.gguf_file import write_gguf
from vila_tools.benchmark.peers.naive import NaivePeer
from vila_tools.benchmark.target import StepJob, versions

_FILE = "decoder.gguf"
_TYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_ROUND = 256  # llama.cpp takes contexts of a multiple of it


class LlamaCppPeer(NaivePeer):
    """The decoder in the job's precision, its cache in float16 as llama.cpp has it by default."""

    def __init__(self, job: StepJob) -> None:
        from vila_tools.benchmark.peers.hugging_face import Encoder

        super().__init__(job)
        self._encoder = Encoder(self.config, self.dtype)
        self._table = torch.randn(job.prompt_tokens, self.config.language.hidden_size) * 0.02
        file = Path(job.folder) / _FILE
        write_gguf(file, self.config.language, _TYPES[job.precision])
        self._model = _loaded(file)
        self._context = llama_cpp.llama_init_from_model(self._model, self._parameters())
        self.facts = {
            "precision": job.precision,
            "versions": versions("llama_cpp_python", "gguf", "transformers"),
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
        parameters = _parameters(self.job.prompt_tokens + self.job.tokens, self.job.threads)
        parameters.n_batch = parameters.n_ctx
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


class Decoder(DecoderTarget):
    """Weights in Q4_0, the cache in float16; llama.cpp's own sizes of batches."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        self._model = _loaded(Path(job.folder) / _FILE)
        self._context, self._spare = self._made_context(), self._made_context()
        self.facts = {
            "precision": "Q4_0, float32",
            "versions": versions("llama_cpp_python", "gguf"),
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
        parameters = _parameters(rows_needed(self.job), self.job.threads)
        parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED  # passes of 8 take a third longer with it
        return llama_cpp.llama_init_from_model(self._model, parameters)


def convert_decoder(job: StepJob) -> Conversion:
    """Write the GGUF file of the decoder."""
    return Conversion(job, _write_decoder)


def _write_decoder(config: CheckpointConfig, folder: Path) -> None:
    write_gguf(folder / _FILE, config.language, "Q4_0")


def _loaded(file: Path) -> llama_cpp.llama_model_p:
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(str(file).encode(), llama_cpp.llama_model_default_params())
    if not model:
        raise RuntimeError(f"llama.cpp cannot load {file}")
    return model


def _parameters(rows: int, threads: int) -> llama_cpp.llama_context_params:
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = _ROUND * -(-rows // _ROUND)
    parameters.n_threads = parameters.n_threads_batch = threads
    return parameters
