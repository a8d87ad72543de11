"""The SigLIP vision transformer, up to the layer whose output the projector reads.

Tensor names are those of Hugging Face's SiglipVisionModel below `vision_model.`. The layers
behind the selected one, the post layernorm and the head never influence the result: they
are neither built nor kept.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from vila_core.kernels.library import kernels
from vila_core.kernels.linear import KernelLinear, kernel_linears
from vila_core.kernels.tower import TowerStack, TowerWeights
from vila_core.models.config import VisionConfig
from vila_core.models.functional import attend, gelu, layer_norm, project


class VisionTower(nn.Module):
    """Pixels [B, 3, S, S], normalised -> patch features [B, grid * grid, C], row-major."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = VisionEmbeddings(config)
        self.encoder = VisionEncoder(config)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the output of the last layer kept, without a layernorm; its first token dropped for "patch"."""
        size = self.config.image_size
        if pixels.shape[1:] != (3, size, size):
            raise ValueError(f"pixels: expected [B, 3, {size}, {size}], got {list(pixels.shape)}")
        hidden = self.encoder(self.embeddings(pixels))
        return hidden[:, 1:] if self.config.feature == "patch" else hidden


class VisionEncoder(nn.Module):
    """The layers that run."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.layers))
        self._stack: TowerStack | None = None

    def join_layers(self) -> bool:
        """Run all layers in one call from now on; tells if the CPU's kernels take them.

        To be called when the weights are in their place: the call knows them by their addresses.
        """
        weights = [layer.kernel_weights() for layer in self.layers if isinstance(layer, VisionLayer)]
        fit = [layer for layer in weights if layer is not None]
        self._stack = None
        if len(fit) == len(self.layers):
            self._stack = TowerStack.of(kernels(), fit, heads=self.config.heads, eps=self.config.eps)
        return self._stack is not None

    def split_layers(self) -> bool:
        """Have the layers run one by one again; tells if they were joined."""
        was_joined, self._stack = self._stack is not None, None
        return was_joined

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        if self._stack is not None and self._stack.takes(hidden):
            return self._stack.run(hidden)
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden


class VisionEmbeddings(nn.Module):
    """Cut pixels into patches, embed them, and add their positions."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(3, config.hidden_size, config.patch_size, stride=config.patch_size)
        self.position_embedding = nn.Embedding(config.grid**2, config.hidden_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, N, C]; pixels beyond a whole patch are unused."""
        size, weight = self.patch_embedding.kernel_size[0], self.patch_embedding.weight.flatten(1)
        patches = F.linear(cut_patches(pixels, size), weight, self.patch_embedding.bias)
        return patches + self.position_embedding.weight


def cut_patches(pixels: Tensor, size: int) -> Tensor:
    """Pixels [B, 3, S, S] -> [B, N, 3 * size * size]: square patches row by row, each as a convolution's weight lies.

    One product with that weight is the convolution, without laying the weight out anew at each call.
    """
    side = pixels.shape[-1] // size * size
    cells = pixels[..., :side, :side].unflatten(3, (-1, size)).unflatten(2, (-1, size))  # [B, 3, g, size, g, size]
    return cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


class VisionLayer(nn.Module):
    """One pre-norm transformer layer with full attention."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = LayerNorm(config.hidden_size, eps=config.eps)
        self.self_attn = VisionAttention(config)
        self.layer_norm2 = LayerNorm(config.hidden_size, eps=config.eps)
        self.mlp = VisionMLP(config)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        hidden = hidden + self.self_attn(self.layer_norm1(hidden))
        return hidden + self.mlp(self.layer_norm2(hidden))

    def kernel_weights(self) -> TowerWeights | None:
        """Return the layer as the CPU's kernels take it, if all its linears are theirs."""
        attention, mlp = self.self_attn, self.mlp
        found = kernel_linears(
            attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj, mlp.fc1, mlp.fc2
        )
        if found is None:
            return None
        q, k, v, out, fc1, fc2 = found
        norms = [(norm.weight, norm.bias) for norm in (self.layer_norm1, self.layer_norm2)]
        return TowerWeights(norms[0], norms[1], (q, k, v), out, fc1, fc2)


class LayerNorm(nn.LayerNorm):
    """Layer normalisation of the last dimension."""

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., C] -> [..., C]."""
        return layer_norm(hidden, self.weight, self.bias, self.eps)


class VisionAttention(nn.Module):
    """Multi-head self-attention without a mask."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        q, k, v = (
            projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projected in project(hidden, self.q_proj, self.k_proj, self.v_proj)
        )
        attended = attend(q, k, v, eight_bits=isinstance(self.q_proj, KernelLinear) and self.q_proj.rounds_inputs)
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class VisionMLP(nn.Module):
    """Two linears around tanh-approximated GELU (gelu_pytorch_tanh)."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        return self.fc2(gelu(self.fc1(hidden)))
