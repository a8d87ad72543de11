"""Our own halves: what `vila quantize --plain` would write, loaded as the navigator loads it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from vila_core.engine.torch_backend import load_model
from vila_core.models.kv_cache import KVCache, append
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.stored.layouts import open_layout
from vila_core.models.stored.quantized_weights import OWN_METHOD, OWN_VERSION, stored_quantization
from vila_core.models.stored.stored_layers import StoredLayers
from vila_core.models.vlm import VisionLanguageModel
from vila_core.models.working_precision import stored_dtype
from vila_core.quantization.linear import BITS
from vila_core.quantized_checkpoints.quantize import DecoderPlan, quantize_decoder, quantize_tower
from vila_core.quantized_checkpoints.state import QuantizeState
from vila_core.quantized_checkpoints.writer import write_checkpoint
from vila_tools.benchmark.part_targets import PARTS, Conversion, DecoderTarget, TowerTarget, rows_needed
from vila_tools.benchmark.target import StepJob, versions

_GROUP = 128


class Decoder(DecoderTarget):
    """4-bit decoder and head."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        self._model = _load(job)
        alone = max(part.tokens for part in PARTS.values() if not part.behind_prompt)
        self._cache, self._spare = (self._room(rows) for rows in (rows_needed(job), alone))
        self.facts = _facts(job)

    def _room(self, rows: int) -> KVCache:
        return KVCache(self.config.language, rows, dtype=self._model.dtype, device="cpu")

    def rewind(self) -> None:
        """Nothing: a later pass writes over the rows."""

    def read(self, count: int) -> NDArray[np.float32]:
        """One pass of the decoder on its cache."""
        return self._read(self._cache, self.read_tokens, count)

    def prefill(self, count: int) -> NDArray[np.float32]:
        """One pass on a cache of its own."""
        return self._read(self._spare, 0, count)

    @torch.inference_mode()
    def _read(self, cache: KVCache, start: int, count: int) -> NDArray[np.float32]:
        language = self._model.language_model
        inputs = language.embed_tokens(torch.from_numpy(self.ids[start : start + count]))[None]
        positions = torch.arange(start, start + count)
        hidden = language(inputs, positions, context=append(cache, start, count))
        return language.logits(hidden[0, -1]).float().numpy()


class Tower(TowerTarget):
    """W8A8 tower, the projector as the checkpoint has it."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        self._model = _load(job)
        self.pixels = self.pixels.to(self._model.dtype)
        self.facts = _facts(job)

    @torch.inference_mode()
    def encode(self) -> NDArray[np.float32]:
        """As a frame is encoded, once it is resized and normalised."""
        return self._model.projector(self._model.vision_tower(self.pixels))[0].float().numpy()


def convert(job: StepJob) -> Conversion:
    """Quantize the job's checkpoint without calibration: which values come out changes no time."""
    return Conversion(job, lambda _config, folder: _quantize(job, folder))


def _quantize(job: StepJob, folder: Path) -> None:
    layout = open_layout(Path(job.checkpoint))
    layers = StoredLayers()
    model = load_checkpoint(layout.root, precision=job.precision, layers=layers)
    quantize_tower(model, None)
    state = QuantizeState(folder, "")
    progress = partial(tqdm, desc="decoder layers", unit="layer", disable=None)
    quantize_decoder(model.language_model, layers, DecoderPlan(BITS, _GROUP), state, progress=progress)
    description = {"quant_method": OWN_METHOD, "version": OWN_VERSION}
    write_checkpoint(model, state, layout, folder, description, stored_dtype(layout))
    state.remove()


def _load(job: StepJob) -> VisionLanguageModel:
    given = Path(job.checkpoint)
    quantized = stored_quantization(open_layout(given))
    return load_model(given if quantized else Path(job.folder), "cpu", job.precision)


def _facts(job: StepJob) -> dict[str, Any]:
    return {"precision": f"int4 decoder, W8A8 tower, {job.precision}", "versions": versions("torch")}
