"""Calibration: the prompts of a few decisions as the decoder reads them, and what the tower's layers gave for them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from vila_core.engine.decode import whole_pass
from vila_core.engine.finite import require_finite, traced
from vila_core.engine.frame_encoder import embed_visual
from vila_core.errors import ConfigError
from vila_core.models.vlm import VisionLanguageModel
from vila_core.quantization.awq_clip import SAMPLED_TOKENS
from vila_core.quantization.w8a8_layer import VISION_FOLDS, largest_activations
from vila_core.types import Frame, FrameKey, Prompt


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What the search runs on.

    embeddings: [L_i, D] of each prompt, in the model's dtype. tower: for each of its layers the largest activations by
    normalisation. sha256: of the prompts' texts and pixels.
    """

    embeddings: tuple[Tensor, ...]
    sha256: str
    tower: tuple[dict[str, Tensor], ...] = field(default=())

    @property
    def tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(map(len, self.embeddings))


@torch.inference_mode()
def calibrate(model: VisionLanguageModel, prompts: Iterable[Prompt], tokens: int) -> Calibration:
    """Embed prompts until there are so many tokens.

    Raises ConfigError if the prompts have fewer than 512 tokens in all, NotFiniteError for embeddings that are not
    finite.
    """
    limit = model.config.language.max_positions
    embeddings: list[Tensor] = []
    digest = hashlib.sha256()
    activations: tuple[dict[str, Tensor], ...] = tuple({} for _ in model.vision_tower.encoder.layers)
    encode = _Encoder(model)
    with ExitStack() as stack:
        for layer, into in zip(model.vision_tower.encoder.layers, activations, strict=True):
            stack.enter_context(largest_activations(layer, tuple(VISION_FOLDS), into))
        for prompt in prompts:
            if sum(map(len, embeddings)) >= tokens:
                break
            rows = [embed_visual(visual, encode) for visual in prompt.visuals]
            with traced(model, partial(whole_pass, model, prompt)):
                embeddings.append(model.embed(model.segments(prompt.text), rows)[:limit])
                require_finite(embeddings[-1], "the embeddings of the calibration")
            _add(digest.update, prompt)
    found = Calibration(tuple(embeddings), digest.hexdigest(), activations)
    if found.tokens < SAMPLED_TOKENS:
        raise ConfigError(
            f"the calibration has {found.tokens} tokens in {len(embeddings)} prompts; at least {SAMPLED_TOKENS} are "
            "needed: give more images or episodes"
        )
    return found


class _Encoder:
    """Frame -> visual tokens, each frame once."""

    def __init__(self, model: VisionLanguageModel) -> None:
        self._model = model
        self._known: dict[FrameKey, Tensor] = {}

    def __call__(self, frame: Frame) -> Tensor:
        if frame.key not in self._known:
            self._known[frame.key] = self._model.encode_frames([frame])[0]
        return self._known[frame.key]


def _add(update: Callable[[bytes], None], prompt: Prompt) -> None:
    update(prompt.text.encode())
    for visual in prompt.visuals:
        update(repr(visual.frame.image.shape).encode())
        update(visual.frame.image.tobytes())
