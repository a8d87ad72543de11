"""The decoder: Llama and Qwen2, with Hugging Face's tensor names below `model.`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vila_core.models.config import LanguageConfig
from vila_core.models.kv_cache import KVCache


class LanguageModel(nn.Module):
    """Input embeddings -> hidden states -> logits."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config, index) for index in range(config.layers))
        self.norm = RMSNorm(config.hidden_size, config.eps)
        self.lm_head = None if config.tied else nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(
        self,
        embeddings: Tensor,
        positions: Tensor,
        *,
        cache: KVCache | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the normalised hidden states [B, L, D] of embeddings [B, L, D].

        positions: [L] int64. Without a mask attention is causal over the cache (B must be 1
        with one) and the new tokens. mask: [L, cache.length + L] bool, True where a token is
        seen. The cache takes the new keys and values and advances by L.
        """
        cos, sin = rotary(positions, self.config, embeddings.dtype)
        if mask is None and cache is not None and cache.length and embeddings.shape[1] > 1:
            mask = causal_mask(cache.length, embeddings.shape[1], embeddings.device)
        hidden = embeddings
        for layer in self.layers:
            hidden = layer(hidden, cos, sin, cache, mask)
        if cache is not None:
            cache.advance(embeddings.shape[1])
        return self.norm(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., D] -> [..., V]."""
        weight = self.embed_tokens.weight if self.lm_head is None else self.lm_head.weight
        return F.linear(hidden, weight)


class DecoderLayer(nn.Module):
    """Pre-norm attention and gated MLP."""

    def __init__(self, config: LanguageConfig, index: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.eps)
        self.self_attn = Attention(config, index)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.eps)
        self.mlp = GatedMLP(config)

    def forward(self, hidden: Tensor, cos: Tensor, sin: Tensor, cache: KVCache | None, mask: Tensor | None) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), cos, sin, cache, mask)
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


class Attention(nn.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, config: LanguageConfig, index: int) -> None:
        super().__init__()
        self.index = index
        self.head_dim = config.head_dim
        width, bias = config.hidden_size, config.qkv_bias
        self.q_proj = nn.Linear(width, config.heads * config.head_dim, bias=bias)
        self.k_proj = nn.Linear(width, config.kv_heads * config.head_dim, bias=bias)
        self.v_proj = nn.Linear(width, config.kv_heads * config.head_dim, bias=bias)
        self.o_proj = nn.Linear(config.heads * config.head_dim, width, bias=False)
        self.grouped = config.heads != config.kv_heads

    def forward(self, hidden: Tensor, cos: Tensor, sin: Tensor, cache: KVCache | None, mask: Tensor | None) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        q, k, v = (
            proj(hidden).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )  # [B, H, L, head_dim]
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        causal = mask is None and q.shape[2] > 1
        if cache is not None:
            keys, values = cache.write(self.index, k[0], v[0])
            k, v = keys[None], values[None]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=self.grouped)
        return self.o_proj(out.transpose(1, 2).flatten(2))


class GatedMLP(nn.Module):
    """SwiGLU."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        return self.down_proj(F.silu(self.gate_proj(hidden)) * self.up_proj(hidden))


class RMSNorm(nn.Module):
    """Root-mean-square normalisation, computed in float32 as the reference does."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        wide = hidden.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(hidden.dtype)


def rotary(positions: Tensor, config: LanguageConfig, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines [L, head_dim] of positions [L] (RoPE, arXiv:2104.09864, half-split layout).

    Frequencies are divided by rope_factor ("linear" scaling).
    """
    exponents = torch.arange(0, config.head_dim, 2, device=positions.device).float() / config.head_dim
    angles = positions.float()[:, None] * (1.0 / config.rope_theta**exponents / config.rope_factor)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn queries or keys [B, H, L, head_dim] by their positions."""
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat((-second, first), dim=-1) * sin


def causal_mask(past: int, count: int, device: torch.device) -> Tensor:
    """[count, past + count] bool: each new token sees the past, itself and the new ones before it."""
    return torch.ones(count, past + count, dtype=torch.bool, device=device).tril(past)
