"""Low-rank adaptation of linear layers (LoRA, arXiv:2106.09685), for training alone.

Not peft's layers: a robot must read adapters without peft and what peft brings (transformers, accelerate), so the
arithmetic of reading them is ours in any case, and one more of it for training could only differ.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

DECODER_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TOWER_LINEARS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


class LoraLinear(nn.Module):
    """A linear layer that stays as it is, and beside it a trained product of two narrow matrices."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        self.linear = linear
        self.scale, self.dropout = alpha / rank, dropout
        where = linear.weight.device
        self.down = nn.Parameter(torch.empty(rank, linear.in_features, device=where))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank, device=where))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] -> [..., N]."""
        dropped = nn.functional.dropout(x, self.dropout, training=self.dropout > 0 and torch.is_grad_enabled())
        narrow = nn.functional.linear(dropped.to(self.down.dtype), self.down)
        return self.linear(x) + self.scale * nn.functional.linear(narrow, self.up)


def add_lora(root: nn.Module, names: tuple[str, ...], rank: int, alpha: float, dropout: float) -> list[nn.Parameter]:
    """Put a LoraLinear in the place of each linear layer below root that bears one of the names; what is to train."""
    trained: list[nn.Parameter] = []
    for owner in [module for module in root.modules() if not isinstance(module, LoraLinear)]:
        for name, child in list(owner.named_children()):
            if name in names and type(child) is nn.Linear:
                made = LoraLinear(child, rank, alpha, dropout)
                setattr(owner, name, made)
                trained += [made.down, made.up]
    return trained
