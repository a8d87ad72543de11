"""A checkpoint whose vision tower, projector and decoder layers are engines; embeddings and head stay with torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NoReturn, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vila_core.engine.tensorrt.runner import Runner
from vila_core.errors import BackendError, CheckpointError
from vila_core.export.manifest import CHECKPOINT, EMBEDDINGS, Manifest
from vila_core.files.reading import require_file
from vila_core.models.config import CheckpointConfig
from vila_core.models.encoders import frame_tokens
from vila_core.models.language_model import LanguageModel
from vila_core.models.preprocess import normalise_pixels
from vila_core.models.projector import Projector
from vila_core.models.stored.checkpoint import DTYPES
from vila_core.models.stored.config_reader import config_of
from vila_core.models.stored.layouts import open_layout
from vila_core.models.tokenizer import Tokenizer
from vila_core.models.vision_tower import VisionTower
from vila_core.models.vlm import VisionLanguageModel
from vila_core.quantization.gpu.convert import GpuConverter
from vila_core.quantization.install import install_quantized


class EngineModel(VisionLanguageModel):
    """The model as the torch backend uses it, frames one tile each; pictures cut into tiles are not encoded."""

    def __init__(
        self, config: CheckpointConfig, tokenizer: Tokenizer, language: LanguageModel, vision: Runner, batch: int
    ) -> None:
        """Make one. batch: frames that the vision engine takes at once."""
        absent = _InEngine()
        super().__init__(config, tokenizer, cast(VisionTower, absent), cast(Projector, absent), language)
        self._vision = vision
        self._batch = batch

    def encode_squares(self, pixels: Tensor) -> Tensor:
        """Visual tokens [B, N, D] of uint8 images [B, S, S, 3] of the tower's size."""
        inputs = normalise_pixels(pixels, self.config.vision, self.dtype)
        return torch.cat([self._encode(some) for some in inputs.split(self._batch)])

    def _encode(self, pixels: Tensor) -> Tensor:
        shape = (len(pixels), frame_tokens(self.config), self.config.language.hidden_size)
        tokens = torch.empty(shape, dtype=self.dtype, device=self.device)  # kept by the visual cache: a new one each
        self._vision.run({"pixels": pixels.contiguous(), "visual_tokens": tokens})
        return tokens


class _InEngine(nn.Module):
    def forward(self, *_: Tensor) -> NoReturn:
        raise BackendError("the vision engine encodes whole frames; for pictures cut into tiles use the backend torch")


def load_engine_model(folder: Path, manifest: Manifest, vision: Runner, device: torch.device) -> EngineModel:
    """Load what an export holds beside its graphs. Raises CheckpointError for files that are missing or do not fit."""
    layout = open_layout(folder / CHECKPOINT)
    config = config_of(layout)
    tokenizer = Tokenizer(layout.tokenizer, slow=config.generation == "native")
    language = _language(config, folder / EMBEDDINGS, DTYPES[manifest.precision], device)
    return EngineModel(config, tokenizer, language, vision, manifest.limits.batch).eval().requires_grad_(False)


def _language(config: CheckpointConfig, file: Path, dtype: torch.dtype, device: torch.device) -> LanguageModel:
    """Embeddings and head, no layers: they and the last normalisation are in the engine."""
    require_file(file, remedy="export the checkpoint again")
    try:
        tensors = load_file(file, device=str(device))
    except (OSError, ValueError, SafetensorError) as err:
        raise CheckpointError(f"{file} cannot be read: {err}; export the checkpoint again") from err
    tied = not any(name.startswith("lm_head.") for name in tensors)
    with torch.device("meta"):
        language = LanguageModel(dataclasses.replace(config.language, layers=0, tied=tied))
    language.norm = nn.Identity()  # type: ignore[assignment]
    install_quantized(language, {name: value.shape for name, value in tensors.items()})
    kept = {name: value if name.startswith(_QUANTIZED_HEAD) else value.to(dtype) for name, value in tensors.items()}
    try:
        language.load_state_dict(kept, assign=True)
    except RuntimeError as err:
        raise CheckpointError(f"{file} does not fit the checkpoint: {err}") from err
    if device.type == "cuda":
        GpuConverter(dtype).convert(language)
    return language


_QUANTIZED_HEAD = ("lm_head.scales", "lm_head.zeros", "lm_head.weight_int4")
