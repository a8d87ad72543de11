"""The decoder as one graph for prefill and decode: the cache's keys and values in, those of the new tokens out.

Who writes them to the cache is whoever runs the graph. Attention takes the scores over the cache and over the new
tokens apart and joins the scores, not the keys: the cache, much the larger, is read where it lies and never copied.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vila_core.models.functional import rotate
from vila_core.models.language_model import Attention, DecoderLayer, LanguageModel, rotary


class DecoderGraph(nn.Module):
    """Embeddings of new tokens -> normalised hidden states, and the new tokens' keys and values."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.config = model.config
        self.layers = model.layers
        self.norm = model.norm

    def forward(
        self, embeddings: Tensor, positions: Tensor, past_keys: Tensor, past_values: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return hidden states [1, L, D] and keys and values [layers, kv heads, L, head_dim].

        embeddings: [1, L, D]. positions: [L] int64. past_keys, past_values: [layers, kv heads, S, head_dim], keys
        already turned. mask: [L, S + L], added to the scores: 0 where a token is seen, -inf elsewhere; the new tokens
        stand behind the S rows of the cache. Every row must see something.
        """
        cos, sin = rotary(positions, self.config, embeddings.dtype)
        hidden, keys, values = embeddings, [], []
        for layer, k, v in zip(self.layers, past_keys, past_values, strict=True):
            assert isinstance(layer, DecoderLayer)
            normed = layer.input_layernorm(hidden)
            attended, new_k, new_v = _attention(layer.self_attn, normed, (cos, sin), (k, v), mask)
            hidden = hidden + attended
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
            keys.append(new_k)
            values.append(new_v)
        return self.norm(hidden), torch.stack(keys), torch.stack(values)


def _attention(
    attention: Attention, hidden: Tensor, angles: tuple[Tensor, Tensor], past: tuple[Tensor, Tensor], mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """[1, L, D] -> [1, L, D], keys and values [kv heads, L, head_dim]."""
    q, k, v = (
        proj(hidden).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        for proj in (attention.q_proj, attention.k_proj, attention.v_proj)
    )  # [1, H, L, head_dim]
    q, k, v = rotate(q, *angles)[0], rotate(k, *angles)[0], v[0]
    out = _attend(q * attention.head_dim**-0.5, past, (k, v), mask)
    return attention.o_proj(out.transpose(0, 1).flatten(1)[None]), k, v


def _attend(q: Tensor, past: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
    """Queries [H, L, head_dim], scaled, over past [kv heads, S, ..] and new [kv heads, L, ..]: [H, L, head_dim].

    Softmax is taken in float32: sums of scores that half precision has no room for.
    """
    heads, size = past[0].shape[0], past[0].shape[1]
    grouped = q.unflatten(0, (heads, -1))  # [kv heads, groups, L, head_dim]
    scores = torch.cat([grouped @ keys[:, None].transpose(-1, -2) for keys in (past[0], new[0])], dim=-1)
    shares = (scores.float() + mask.float()).softmax(-1).to(q.dtype)
    out = shares[..., :size] @ past[1][:, None] + shares[..., size:] @ new[1][:, None]
    return out.flatten(0, 1)
