"""Hugging Face transformers: generate on embeddings, and its halves with torch's quantized linears.

As its users run it, everything runs eagerly in torch, on transformers' own cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from vila_core.machine.memory import trim_heap
from vila_core.models.stored.checkpoint import DTYPES
from vila_core.types import Frame
from vila_tools.benchmark.part_targets import DecoderTarget, TowerTarget
from vila_tools.benchmark.peers.hugging_face import Encoder, decoder
from vila_tools.benchmark.peers.naive import NaivePeer
from vila_tools.benchmark.peers.torch_linears import Int4Linear, int8_linear, replace_linears
from vila_tools.benchmark.target import StepJob, versions


class TransformersPeer(NaivePeer):
    """Tower, projector and decoder in torch, eagerly."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        self.encoder = Encoder(self.config, self.dtype)
        self.decoder = decoder(self.config.language, self.dtype)
        self.facts = {
            "precision": job.precision,
            "versions": versions("transformers", "torch"),
        }

    @torch.inference_mode()
    def answer(self, frames: list[Frame]) -> int:
        """Encode the frames in one batch and let generate do the rest."""
        visual = self.encoder(self.pixels(frames, self.dtype))
        embeddings = self.prompt_embeddings(self.decoder.get_input_embeddings().weight, visual)
        mask = torch.ones(embeddings.shape[:2], dtype=torch.long)
        reply = self.decoder.generate(
            inputs_embeds=embeddings,
            attention_mask=mask,
            max_new_tokens=self.job.tokens,
            do_sample=False,
        )
        return reply.shape[1]


class _Decoder(DecoderTarget):
    def __init__(
        self, job: StepJob, make: Callable[[nn.Linear], nn.Module], dtype: torch.dtype, precision: str
    ) -> None:
        super().__init__(job)
        model = decoder(self.config.language, torch.bfloat16)
        _untie(model)
        self._model = replace_linears(model, make).to(dtype)
        self._cache = DynamicCache()
        trim_heap()
        self.facts = {
            "precision": precision,
            "versions": versions("torch", "transformers"),
        }

    def rewind(self) -> None:
        """Cut the cache."""
        behind = self._cache.get_seq_length() - self.job.prompt_tokens
        if behind:
            self._cache.crop(-behind)

    def read(self, count: int) -> NDArray[np.float32]:
        """One forward pass on the cache."""
        return self._read(self.ids[self.read_tokens :][:count], self._cache)

    def prefill(self, count: int) -> NDArray[np.float32]:
        """One forward pass on a new cache."""
        return self._read(self.ids[:count], DynamicCache())

    @torch.inference_mode()
    def _read(self, ids: NDArray[np.int64], cache: DynamicCache) -> NDArray[np.float32]:
        inputs = torch.from_numpy(ids)[None]
        out = self._model(input_ids=inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits: Tensor = out.logits[0, -1]
        return logits.float().numpy()


class Int8Decoder(_Decoder):
    """quantized::linear_dynamic, everything else in float32: its linears take nothing else."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job, int8_linear, torch.float32, "dynamic int8, float32")


class Int4Decoder(_Decoder):
    """_weight_int4pack_mm_for_cpu, everything else in the job's precision."""

    def __init__(self, job: StepJob) -> None:
        dtype = DTYPES[job.precision]
        super().__init__(job, partial(Int4Linear, dtype=dtype), dtype, f"int4 in groups of 128, {job.precision}")


def _untie(model: nn.Module) -> None:
    """Give the head a weight of its own: the embedding is looked up and stays as it is."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)


class _Tower(TowerTarget):
    def __init__(self, job: StepJob, dtype: torch.dtype, precision: str) -> None:
        super().__init__(job)
        self._module: nn.Module = Encoder(self.config, dtype)
        self.pixels = self.pixels.to(dtype)
        self.facts = {
            "precision": precision,
            "versions": versions("torch", "transformers"),
        }

    @torch.inference_mode()
    def encode(self) -> NDArray[np.float32]:
        """One forward pass."""
        return self._module(self.pixels)[0].float().numpy()


class Int8Tower(_Tower):
    """quantized::linear_dynamic, everything else in float32."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job, torch.float32, "dynamic int8, float32")
        self._module = replace_linears(self._module, int8_linear)


class PlainTower(_Tower):
    """Nothing is quantized; in the job's precision."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job, DTYPES[job.precision], job.precision)
