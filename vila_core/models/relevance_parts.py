"""The layers of the relevance head: what reads a question, sees change, tells how far off things are and is free."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAX_WORDS = 48  # tokens of a question that are read
LAGS = (1, 4)  # frames back, that a small picture is compared with
_CONTRAST = 4.0  # of changes, which are small


def compared_with(number: int) -> tuple[int, ...]:
    """Which pictures of a run its picture of this number is compared with; the first ones with the first."""
    return tuple(max(0, number - lag) for lag in LAGS)


class MotionEncoder(nn.Module):
    """Small pictures and how they differ from earlier ones -> one vector for each cell of a grid."""

    def __init__(self, grid: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3 * (1 + len(LAGS)), 24, 5, stride=3, padding=2),
            nn.GELU(),
            nn.Conv2d(24, width, 3, padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(grid),
        )
        self.back = nn.Linear(width, width)

    def forward(self, thumbnails: Tensor, earlier: Sequence[Tensor]) -> Tensor:
        """[B, T, S, S, 3] uint8 (or float, 0..255), and of each lag what they are compared with -> [B, T, M, F]."""
        pictures, *others = (each.float() / 127.5 - 1.0 for each in (thumbnails, *earlier))
        inputs = torch.cat((pictures, *(_CONTRAST * (pictures - other) for other in others)), dim=-1)
        inputs = inputs.flatten(0, 1).permute(0, 3, 1, 2)  # channels last in memory, which is quicker
        return self.back(self.layers(inputs).flatten(2).transpose(1, 2)).unflatten(0, pictures.shape[:2])


class Neighbours(nn.Module):
    """Let each cell of a square grid see those around it."""

    def __init__(self, grid: int, width: int) -> None:
        super().__init__()
        self.grid = grid
        self.norm = nn.LayerNorm(width)
        self.near = nn.Conv2d(width, width, 3, padding=1)
        self.back = nn.Linear(width, width)

    def forward(self, cells: Tensor) -> Tensor:
        """[B, T, M, F] -> the same shape."""
        rows = self.norm(cells).flatten(0, 1).unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2)
        near = F.gelu(self.near(rows)).permute(0, 2, 3, 1).flatten(1, 2)
        return cells + self.back(near).unflatten(0, cells.shape[:2])


class ColumnReader(nn.Module):
    """What the eyes see of a square grid of cells -> one vector for each of its columns, which sees those beside it.

    Where the floor ends in a column tells the most of how far off things are.
    """

    def __init__(self, grid: int, eyes_width: int, width: int) -> None:
        super().__init__()
        self.grid = grid
        self.norm = nn.LayerNorm(eyes_width)
        self.brief = nn.Linear(eyes_width, width // 4)
        self.column = nn.Conv1d(grid * (width // 4), width, 3, padding=1)
        self.beside = nn.Conv1d(width, width, 3, padding=1)

    def columns(self, cells: Tensor) -> Tensor:
        """Normed features [B, M, E] -> [B, F, columns]."""
        brief = F.gelu(self.brief(cells)).unflatten(1, (self.grid, self.grid)).transpose(2, 3).flatten(1, 2)
        columns = F.gelu(self.column(brief))
        return columns + F.gelu(self.beside(columns))


class DistanceReader(ColumnReader):
    """What the eyes see -> how far off the thing in each cell is, by the cell itself and its column."""

    def __init__(self, grid: int, eyes_width: int, width: int) -> None:
        super().__init__(grid, eyes_width, width)
        self.told = nn.Linear(width, width // 2)
        self.cell = nn.Linear(eyes_width, width // 2)
        self.place = nn.Parameter(torch.zeros(grid**2, width // 2))
        self.score = nn.Linear(width // 2, 1)

    def forward(self, features: Tensor) -> Tensor:
        """[B, M, E] -> [B, M], the logarithm of metres along the floor."""
        cells = self.norm(features)
        told = self.told(self.columns(cells).transpose(1, 2))  # [B, columns, F]
        seen = self.cell(cells) + self.place
        seen = seen + told[:, None].expand(-1, self.grid, -1, -1).flatten(1, 2)
        return self.score(F.gelu(seen))[..., 0]


class FreeSpaceReader(ColumnReader):
    """What the eyes see -> how far the floor is free in the direction of each column."""

    def __init__(self, grid: int, eyes_width: int, width: int) -> None:
        super().__init__(grid, eyes_width, width)
        self.around = nn.Conv1d(width, width, 3, padding=1)
        self.score = nn.Linear(width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """[B, M, E] -> [B, columns], the logarithm of metres; from the left of the picture to the right."""
        columns = self.columns(self.norm(features))
        columns = columns + F.gelu(self.around(columns))
        return self.score(columns.transpose(1, 2))[..., 0]


class QuestionEncoder(nn.Module):
    """A question's tokens -> one vector."""

    def __init__(self, text_width: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.words = nn.Linear(text_width, width)
        self.order = nn.Parameter(torch.zeros(MAX_WORDS, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, words: Tensor, known: Tensor) -> Tensor:
        """[B, L, E] embeddings, [B, L] bool -> [B, D]; tokens beyond MAX_WORDS are not read."""
        words, known = words[:, :MAX_WORDS], known[:, :MAX_WORDS]
        hidden = self.layers(self.words(words) + self.order[: words.shape[1]], src_key_padding_mask=~known)
        weight = known[..., None].to(hidden.dtype)
        return self.norm((hidden * weight).sum(dim=1) / weight.sum(dim=1))


class TemporalBlock(nn.Module):
    """Norm, a convolution along time whose outputs the question scales and shifts, GELU, and back."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.along = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.tune = nn.Linear(width, 2 * width)
        self.back = nn.Linear(width, width)

    def forward(self, frames: Tensor, question: Tensor) -> Tensor:
        """frames: [B, Q, T, D]. question: [B, Q, D]."""
        rows = self.norm(frames).flatten(0, 1).transpose(1, 2)
        along = self.along(rows).transpose(1, 2).unflatten(0, frames.shape[:2])
        scale, shift = self.tune(question)[:, :, None].chunk(2, dim=-1)
        return frames + self.back(F.gelu(along * (1 + scale) + shift))
