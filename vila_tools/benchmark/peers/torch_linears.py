"""torch's own quantized linear layers, as they are put into a model of transformers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

GROUP = 128
_INNER_TILES = 1  # of which the packed form knows nothing on a CPU


class Int4Linear(nn.Module):
    """torch's int4 operator for CPUs: 4 bits in groups along the input, dtype in and out."""

    def __init__(self, linear: nn.Linear, dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        self.group = _group(weight.shape[1])
        groups = weight.unflatten(1, (-1, self.group))
        low, high = groups.amin(-1), groups.amax(-1)
        scales = (high - low).clamp(min=1e-6) / 15
        values = ((groups - low[..., None]) / scales[..., None]).round().clamp(0, 15).flatten(1).to(torch.int32)
        self.packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(values, _INNER_TILES)
        self.scales = torch.stack((scales, low + 8 * scales), dim=-1).transpose(0, 1).to(dtype).contiguous()
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] -> [..., N]."""
        rows = x.reshape(-1, x.shape[-1])
        out = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.packed, self.group, self.scales)
        out = out if self.bias is None else out + self.bias
        return out.view(*x.shape[:-1], -1)


def int8_linear(linear: nn.Linear) -> nn.Module:
    """What torch.ao's quantize_dynamic makes of a linear layer: int8 weights, inputs rounded as they come, float32.

    It is made directly: quantize_dynamic leaves the plain layer to the collector of cycles, which runs too late.
    """
    weight = linear.weight.detach().float()
    scale = float(weight.abs().amax()) / 127
    made = torch.ao.nn.quantized.dynamic.Linear(linear.in_features, linear.out_features, linear.bias is not None)
    bias = None if linear.bias is None else linear.bias.detach().float()
    made.set_weight_bias(torch.quantize_per_tensor(weight, scale, 0, torch.qint8), bias)
    return made


@torch.no_grad()
def replace_linears(module: nn.Module, make: Callable[[nn.Linear], nn.Module]) -> nn.Module:
    """Replace every linear layer, one at a time: a plain one is gone when the next is made."""
    names = [name for name, child in module.named_modules() if type(child) is nn.Linear]
    for name in names:
        plain = module.get_submodule(name)
        assert isinstance(plain, nn.Linear)
        module.set_submodule(name, make(plain))
    return module


def _group(width: int) -> int:
    """The largest group that the operator knows and that divides the width, GROUP at most."""
    return next(size for size in (GROUP, 64, 32) if width % size == 0)
