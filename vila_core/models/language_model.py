"""The decoder: Llama and Qwen2, with Hugging Face's tensor names below `model.`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vila_core.kernels.decoder import DecoderStack, DecoderWeights
from vila_core.kernels.library import kernels
from vila_core.kernels.linear import KernelLinear, kernel_linears
from vila_core.models.config import LanguageConfig
from vila_core.models.functional import attend, project, rms_norm, rotate, silu_mul
from vila_core.models.kv_cache import AttentionContext
from vila_core.quantization.gpu.linear import GpuInt4Linear, GpuInt8Linear
from vila_core.quantization.int8_linear import Int8Linear
from vila_core.quantization.linear import QuantLinear

QuantizedHead = QuantLinear | Int8Linear | KernelLinear | GpuInt4Linear | GpuInt8Linear


class LanguageModel(nn.Module):
    """Input embeddings -> hidden states -> logits."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = TokenTable(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config, index) for index in range(config.layers))
        self.norm = RMSNorm(config.hidden_size, config.eps)
        self.lm_head: nn.Linear | QuantizedHead | None
        self.lm_head = None if config.tied else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self._stack: DecoderStack | None = None

    def forward(self, embeddings: Tensor, positions: Tensor, *, context: AttentionContext | None = None) -> Tensor:
        """Return the normalised hidden states [B, L, D] of embeddings [B, L, D].

        positions: [L] int64. Without a context attention is causal over the new tokens, and nothing is kept; with one
        B must be 1.
        """
        cos, sin = rotary(positions, self.config, embeddings.dtype)
        stack = self._stack
        if context is not None and stack is not None:
            cache = context.cache
            if stack.takes(embeddings, cache.keys, cache.values, context.mask):
                rows = context.row_numbers()
                return stack.run(embeddings, cos, sin, cache.keys, cache.values, rows, context.extent, context.mask)
        hidden = embeddings
        for layer in self.layers:
            hidden = layer(hidden, cos, sin, context)
        return self.norm(hidden)

    def join_layers(self) -> bool:
        """Have a few tokens run through all layers in one call from now on; tells if the CPU's kernels take them.

        To be called when the weights are in their place: the call knows them by their addresses.
        """
        weights = [layer.kernel_weights() for layer in self.layers if isinstance(layer, DecoderLayer)]
        fit = [layer for layer in weights if layer is not None]
        config = self.config
        self._stack = None
        if len(fit) == len(self.layers):
            self._stack = DecoderStack.of(
                kernels(), fit, self.norm.weight, heads=config.heads, kv_heads=config.kv_heads, eps=config.eps
            )
        return self._stack is not None

    def split_layers(self) -> bool:
        """Have the layers run one by one again; tells if they were joined."""
        was_joined, self._stack = self._stack is not None, None
        return was_joined

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., D] -> [..., V]."""
        return F.linear(hidden, self.embed_tokens.weight) if self.lm_head is None else self.lm_head(hidden)

    def head_rows(self, tokens: Tensor) -> Tensor:
        """Rows [U, D] of the language head for token ids [U]; of a quantized one dequantized."""
        if self.lm_head is None:
            return self.embed_tokens.weight[tokens]
        return self.lm_head.weight[tokens] if isinstance(self.lm_head, nn.Linear) else self.lm_head.rows(tokens)


class TokenTable(nn.Embedding):
    """A row for each token; the rows may be kept in fewer bits than the decoder computes in."""

    given_in: torch.dtype | None = None

    @property
    def dtype(self) -> torch.dtype:
        """What its rows are given in."""
        return self.given_in or self.weight.dtype

    def forward(self, ids: Tensor) -> Tensor:
        """[...] int64 -> [..., D]."""
        return super().forward(ids).to(self.dtype)


class DecoderLayer(nn.Module):
    """Pre-norm attention and gated MLP."""

    def __init__(self, config: LanguageConfig, index: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.eps)
        self.self_attn = Attention(config, index)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.eps)
        self.mlp = GatedMLP(config)

    def forward(self, hidden: Tensor, cos: Tensor, sin: Tensor, context: AttentionContext | None) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), cos, sin, context)
        return hidden + self.mlp(self.post_attention_layernorm(hidden))

    def kernel_weights(self) -> DecoderWeights | None:
        """Return the layer as the CPU's kernels take it, if all its linears are theirs."""
        attention, mlp = self.self_attn, self.mlp
        found = kernel_linears(
            *(attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj),
            *(mlp.gate_proj, mlp.up_proj, mlp.down_proj),
        )
        if found is None:
            return None
        q, k, v, out, gate, up, down = found
        norms = self.input_layernorm.weight, self.post_attention_layernorm.weight
        return DecoderWeights(*norms, (q, k, v), out, (gate, up), down)


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

    def forward(self, hidden: Tensor, cos: Tensor, sin: Tensor, context: AttentionContext | None) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        q, k, v = (
            projected.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for projected in project(hidden, self.q_proj, self.k_proj, self.v_proj)
        )  # [B, H, L, head_dim]
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if context is None:
            out = attend(q, k, v, causal=True)
        else:
            context.cache.write(self.index, context.rows, k[0], v[0])
            keys, values = context.cache.read(self.index, context.extent)
            out = attend(q, keys[None], values[None], context.mask, causal=q.shape[2] > 1)
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
        gate, up = project(hidden, self.gate_proj, self.up_proj)
        return self.down_proj(silu_mul(gate, up))


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a learned scale."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        return rms_norm(hidden, self.weight, self.eps)


def rotary(positions: Tensor, config: LanguageConfig, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines [L, head_dim] of positions [L] (RoPE, arXiv:2104.09864, half-split layout).

    Frequencies are divided by rope_factor ("linear" scaling).
    """
    exponents = torch.arange(0, config.head_dim, 2, device=positions.device).float() / config.head_dim
    angles = positions.float()[:, None] * (1.0 / config.rope_theta**exponents / config.rope_factor)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)
