"""Modules of transformers in a checkpoint's shape, with random weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig
from transformers import SiglipVisionModel as SiglipTower

from vila_core.models.config import CheckpointConfig, LanguageConfig, VisionConfig
from vila_core.models.projector import Projector


class Encoder(nn.Module):
    """Pixels [B, 3, S, S] -> visual tokens [B, N, D]: transformers' SigLIP, then the official projector's layers."""

    def __init__(self, config: CheckpointConfig, dtype: torch.dtype) -> None:
        super().__init__()
        self.tower = _tower(config.vision, dtype)
        self.projector = Projector(config.projector).to(dtype).eval()
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the visual tokens."""
        return self.projector(self.tower(pixels).last_hidden_state)


def _tower(vision: VisionConfig, dtype: torch.dtype) -> nn.Module:
    """The layers that run, one fewer than are stored: the same work as ours, and a last layernorm."""
    config = SiglipVisionConfig(
        hidden_size=vision.hidden_size,
        intermediate_size=vision.intermediate_size,
        num_hidden_layers=vision.layers,
        num_attention_heads=vision.heads,
        image_size=vision.image_size,
        patch_size=vision.patch_size,
        layer_norm_eps=vision.eps,
        vision_use_head=False,
    )
    return _built(SiglipTower, config, dtype)


def decoder(language: LanguageConfig, dtype: torch.dtype) -> Any:
    """Qwen2ForCausalLM or LlamaForCausalLM of the shape; it never says that a reply has ended."""
    qwen = language.model_type == "qwen2"
    config = (Qwen2Config if qwen else LlamaConfig)(
        vocab_size=language.vocab_size,
        hidden_size=language.hidden_size,
        intermediate_size=language.intermediate_size,
        num_hidden_layers=language.layers,
        num_attention_heads=language.heads,
        num_key_value_heads=language.kv_heads,
        max_position_embeddings=language.max_positions,
        rms_norm_eps=language.eps,
        rope_parameters={"rope_type": "default", "rope_theta": language.rope_theta},
        tie_word_embeddings=language.tied,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return _built(Qwen2ForCausalLM if qwen else LlamaForCausalLM, config, dtype)


def _built(kind: Any, config: Any, dtype: torch.dtype) -> Any:
    torch.manual_seed(0)
    config._attn_implementation = "sdpa"
    return kind._from_config(config, dtype=dtype).eval()
