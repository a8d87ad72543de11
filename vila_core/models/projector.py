"""From patch features to visual tokens: space-to-channel, then an MLP to the decoder's width.

Tensor names are `layers.<index in the official Sequential>`, parameter-free modules counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from math import isqrt

from torch import Tensor, nn
from torch.nn import functional as F

from vila_core.errors import CheckpointError
from vila_core.models.config import ProjectorConfig, TokenOrder

# Of each projector that merges cells: cells per side, and the widths behind the first layernorm, from
# the tower's width. The decoder's width follows twice.
DOWNSAMPLE: dict[str, tuple[int, Callable[[int], list[int]]]] = {
    "mlp_downsample": (2, lambda width: [4 * width]),
    "mlp_downsample_2x2_fix": (2, lambda width: [4 * width]),
    "mlp_downsample_3x3_fix": (3, lambda width: [9 * width, 3 * width]),
    "mlp_downsample_3x3_s2": (3, lambda width: [9 * width, 3 * width, width, width // 3]),
    "mlp_downsample_3x3_s2_new": (3, lambda width: [9 * width, 4 * width, 2 * width, width, width // 3]),
}
MLP = re.compile(r"mlp([1-9]\d*)x_gelu")


def downsample_rate(kind: str) -> int:
    """Cells per side that become one visual token.

    Raises CheckpointError for a projector that is not supported.
    """
    if kind in DOWNSAMPLE:
        return DOWNSAMPLE[kind][0]
    if kind in ("linear", "identity") or MLP.fullmatch(kind):
        return 1
    supported = ", ".join((*DOWNSAMPLE, "linear", "identity", "mlp<N>x_gelu"))
    raise CheckpointError(f"mm_projector_type {kind!r} is not supported; supported: {supported}")


def visual_token_count(kind: str, grid: int) -> int:
    """Visual tokens that a grid x grid map of patches becomes."""
    return (-(-grid // downsample_rate(kind))) ** 2


class Projector(nn.Module):
    """Patch features [B, g * g, C] -> visual tokens [B, ceil(g / k) ** 2, D]."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.rate = downsample_rate(config.kind)
        self.order = config.order
        self.layers = _layers(config)

    def forward(self, features: Tensor) -> Tensor:
        """Return the visual tokens in the checkpoint's token order."""
        if self.rate > 1:
            features = space_to_channel(features, self.rate, self.order)
        return self.layers(features)


def _layers(config: ProjectorConfig) -> nn.Module:
    width, out = config.input_size, config.output_size
    if config.kind == "identity":
        if width != out:
            raise CheckpointError(f"mm_projector_type 'identity' joins widths {width} and {out}: they must be equal")
        return nn.Identity()
    if config.kind == "linear":
        return nn.Linear(width, out)
    if depth := MLP.fullmatch(config.kind):
        return _mlp(width, out, int(depth[1]))
    return _downsample_mlp(DOWNSAMPLE[config.kind][1](width), out)


def _mlp(width: int, out: int, depth: int) -> nn.Sequential:
    stack: list[nn.Module] = [nn.Linear(width, out)]
    for _ in range(depth - 1):
        stack += [nn.GELU(), nn.Linear(out, out)]
    return nn.Sequential(*stack)


def _downsample_mlp(widths: list[int], out: int) -> nn.Sequential:
    stack: list[nn.Module] = [nn.Identity()]  # index 0 is the official downsample block
    for before, after in pairwise([*widths, out]):
        stack += [nn.LayerNorm(before), nn.Linear(before, after), nn.GELU()]
    return nn.Sequential(*stack, nn.Linear(out, out))


def space_to_channel(features: Tensor, rate: int, order: TokenOrder = "row") -> Tensor:
    """Merge rate x rate cells of a square token grid into channels.

    features: [B, g * g, C], row-major; the grid is zero-padded at the bottom and right to a
    multiple of rate. Returns [B, ceil(g / rate) ** 2, rate * rate * C]; channels run over the
    rows, then the columns of a cell. Tokens run row by row, or column by column.
    """
    batch, count, channels = features.shape
    side = square_side(count)
    pad = -side % rate
    grid = F.pad(features.view(batch, side, side, channels), (0, 0, 0, pad, 0, pad))
    cells = (side + pad) // rate
    grid = grid.view(batch, cells, rate, cells, rate, channels)
    axes = (0, 1, 3, 2, 4, 5) if order == "row" else (0, 3, 1, 2, 4, 5)
    return grid.permute(axes).reshape(batch, cells * cells, rate * rate * channels)


def square_side(count: int) -> int:
    """Side of a square grid of count tokens; ValueError if they make none."""
    side = isqrt(count)
    if side * side != count:
        raise ValueError(f"expected a square number of tokens, got {count}")
    return side


def pool_tokens(tokens: Tensor, count: int) -> Tensor:
    """Average a square grid of visual tokens [..., N, D] down to count tokens, [..., count, D].

    Both grids must be square, the second no larger (ValueError). Where its side does not divide the first, cells share
    the rows and columns at their edges (adaptive average pooling).
    """
    side, target = round(tokens.shape[-2] ** 0.5), round(count**0.5)
    if side * side != tokens.shape[-2] or target * target != count or not 1 <= target <= side:
        raise ValueError(f"cannot pool {tokens.shape[-2]} visual tokens to {count}: both must be square")
    if side % target:
        planes = tokens.unflatten(-2, (side, side)).movedim(-1, -3)
        pooled = F.adaptive_avg_pool2d(planes.reshape(-1, *planes.shape[-3:]).float(), target).to(tokens.dtype)
        return pooled.view(*planes.shape[:-2], target, target).movedim(-3, -1).flatten(-3, -2)
    step = side // target
    grid = tokens.unflatten(-2, (target, step, target, step))
    return grid.mean(dim=(-4, -2)).flatten(-3, -2)
