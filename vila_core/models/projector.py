"""From patch features to visual tokens: space-to-channel, then an MLP to the decoder's width.

Tensor names are `layers.<index in the official Sequential>`, parameter-free modules counted.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from vila_core.errors import CheckpointError
from vila_core.models.config import ProjectorConfig, TokenOrder


def downsample_rate(kind: str) -> int:
    """Cells per side that become one visual token.

    Raises CheckpointError for a projector that is not supported.
    """
    rates = {"mlp_downsample": 2, "mlp_downsample_2x2_fix": 2, "mlp_downsample_3x3_fix": 3}
    if kind not in rates:
        raise CheckpointError(f"mm_projector_type {kind!r} is not supported; supported: {', '.join(rates)}")
    return rates[kind]


class Projector(nn.Module):
    """Patch features [B, g * g, C] -> visual tokens [B, ceil(g / k) ** 2, D]."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.rate = downsample_rate(config.kind)
        self.order = config.order
        width, out = config.input_size, config.output_size
        cell = width * self.rate**2
        if self.rate == 2:
            stack = [nn.LayerNorm(cell), nn.Linear(cell, out), nn.GELU(), nn.Linear(out, out)]
        else:
            stack = [
                nn.LayerNorm(cell),
                nn.Linear(cell, 3 * width),
                nn.GELU(),
                nn.LayerNorm(3 * width),
                nn.Linear(3 * width, out),
                nn.GELU(),
                nn.Linear(out, out),
            ]
        self.layers = nn.Sequential(nn.Identity(), *stack)  # index 0 is the official downsample block

    def forward(self, features: Tensor) -> Tensor:
        """Return the visual tokens in the checkpoint's token order."""
        return self.layers(space_to_channel(features, self.rate, self.order))


def space_to_channel(features: Tensor, rate: int, order: TokenOrder = "row") -> Tensor:
    """Merge rate x rate cells of a square token grid into channels.

    features: [B, g * g, C], row-major; the grid is zero-padded at the bottom and right to a
    multiple of rate. Returns [B, ceil(g / rate) ** 2, rate * rate * C]; channels run over the
    rows, then the columns of a cell. Tokens run row by row, or column by column.
    """
    batch, count, channels = features.shape
    side = round(count**0.5)
    if side * side != count:
        raise ValueError(f"expected a square number of tokens, got {count}")
    pad = -side % rate
    grid = F.pad(features.view(batch, side, side, channels), (0, 0, 0, pad, 0, pad))
    cells = (side + pad) // rate
    grid = grid.view(batch, cells, rate, cells, rate, channels)
    axes = (0, 1, 3, 2, 4, 5) if order == "row" else (0, 3, 1, 2, 4, 5)
    return grid.permute(axes).reshape(batch, cells * cells, rate * rate * channels)


def pool_tokens(tokens: Tensor, count: int) -> Tensor:
    """Average a square grid of visual tokens [..., N, D] down to count tokens, [..., count, D].

    Both grids must be square, and the larger side a multiple of the smaller (ValueError).
    """
    side, target = round(tokens.shape[-2] ** 0.5), round(count**0.5)
    if side * side != tokens.shape[-2] or target * target != count or side % target:
        raise ValueError(f"cannot pool {tokens.shape[-2]} visual tokens to {count}: both must be square and divide")
    step = side // target
    grid = tokens.unflatten(-2, (target, step, target, step))
    return grid.mean(dim=(-4, -2)).flatten(-3, -2)
