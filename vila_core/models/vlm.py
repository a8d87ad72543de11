"""The vision-language model: the three parts joined, and a prompt turned into embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vila_core.models.config import CheckpointConfig
from vila_core.models.language_model import LanguageModel
from vila_core.models.preprocess import normalise_pixels, resize_image
from vila_core.models.projector import Projector
from vila_core.models.tokenizer import Tokenizer
from vila_core.models.vision_tower import VisionTower
from vila_core.types import IMAGE_TOKEN, Frame


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A run of a prompt: token ids, or the number of the visual whose tokens stand here."""

    ids: tuple[int, ...] = ()
    visual: int | None = None


class VisionLanguageModel(nn.Module):
    """Vision tower, projector, decoder and tokenizer of one checkpoint."""

    def __init__(
        self,
        config: CheckpointConfig,
        tokenizer: Tokenizer,
        vision_tower: VisionTower,
        projector: Projector,
        language_model: LanguageModel,
    ) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.vision_tower = vision_tower
        self.projector = projector
        self.language_model = language_model
        self.image_end_ids = tuple(tokenizer.encode(config.image_end_text)) if config.image_end_text else ()

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.language_model.embed_tokens.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The weights' dtype."""
        return self.language_model.embed_tokens.weight.dtype

    def encode_frames(self, frames: Sequence[Frame]) -> Tensor:
        """Visual tokens [B, N, D] of frames, each squashed to the tower's input."""
        size = self.config.vision.image_size
        pixels = torch.stack([torch.tensor(resize_image(frame.image, size)) for frame in frames])
        pixels = normalise_pixels(pixels.to(self.device), self.config.vision, self.dtype)
        return self.projector(self.vision_tower(pixels))

    def segments(self, text: str) -> list[Segment]:
        """Split a prompt's text at its image tokens and tokenise what lies between.

        The tokenizer's automatic BOS, if it has one, stands once before all (spec: Llama-3
        prompts so begin with two). The image's end tokens follow each visual.
        """
        runs: list[Segment] = []
        for index, chunk in enumerate(text.split(IMAGE_TOKEN)):
            if index:
                runs.append(Segment(visual=index - 1))
            head = tuple(self.tokenizer.bos_ids) if index == 0 else self.image_end_ids
            ids = head + tuple(self.tokenizer.encode(chunk))
            if ids:
                runs.append(Segment(ids=ids))
        return runs

    def embed(self, segments: Sequence[Segment], visual_tokens: Sequence[Tensor]) -> Tensor:
        """Input embeddings [L, D] of a segmented prompt; visual_tokens: [N_i, D] for each visual."""
        return torch.cat(
            [self.embed_ids(run.ids) if run.visual is None else visual_tokens[run.visual] for run in segments]
        )

    def embed_ids(self, ids: Sequence[int]) -> Tensor:
        """Embeddings [L, D] of token ids."""
        return self.language_model.embed_tokens(torch.tensor(ids, device=self.device))
