"""Hugging Face transformers, as its users run it: generate on embeddings with the pictures' among them."""

from __future__ import annotations

import torch
import transformers

from vila_core.types import Frame
from vila_tools.benchmark.job import StepJob
from vila_tools.benchmark.peers.hugging_face import Encoder, decoder
from vila_tools.benchmark.peers.naive import NaivePeer


class TransformersPeer(NaivePeer):
    """Tower, projector and decoder in torch, eagerly."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        self.encoder = Encoder(self.config, self.dtype)
        self.decoder = decoder(self.config.language, self.dtype)
        self.facts = {
            "precision": job.precision,
            "versions": {"transformers": transformers.__version__, "torch": torch.__version__},
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
