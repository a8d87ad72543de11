"""Products in 8-bit floats (E4M3 forward, E5M2 backward; arXiv:2209.05433), where a GPU computes them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vila_core.errors import ConfigError

FORWARD, BACKWARD = torch.float8_e4m3fn, torch.float8_e5m2
_LEAST_CAPABILITY = (8, 9)  # Ada; Hopper and later have it too
_MULTIPLE = 16  # of both sides of a matrix


def require_float8(device: torch.device) -> None:
    """Raise ConfigError for a device that does not multiply 8-bit floats, as the device itself tells."""
    if device.type != "cuda" or not torch.cuda.is_available():
        raise ConfigError(f"precision 'float8': {device.type} does not multiply 8-bit floats; take bfloat16 or float32")
    capability = torch.cuda.get_device_capability(device)
    if capability < _LEAST_CAPABILITY:
        raise ConfigError(
            f"precision 'float8': {torch.cuda.get_device_name(device)} has compute capability "
            f"{capability[0]}.{capability[1]}, and 8-bit floats begin at 8.9; take bfloat16"
        )


def to_float8(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return a tensor in 8 bits, and the scale that it is multiplied by to be itself again, float32 []."""
    largest = x.abs().amax().float().clamp(min=1e-12)
    scale = largest / torch.finfo(dtype).max
    return (x.float() / scale).to(dtype), scale


class Float8Linear(nn.Module):
    """A frozen linear layer whose weight lies in 8 bits."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        with torch.no_grad():
            values, scale = to_float8(linear.weight, FORWARD)
        self.weight: Tensor
        self.scale: Tensor
        self.register_buffer("weight", values, persistent=False)
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] -> [..., N] bfloat16."""
        made = _Product.apply(x.to(torch.bfloat16), self.weight, self.scale)
        return made if self.bias is None else made + self.bias.to(made.dtype)


class _Product(torch.autograd.Function):
    """x @ weight.T, and the gradient of x alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scale)
        values, own = to_float8(x.reshape(-1, x.shape[-1]), FORWARD)
        made = torch._scaled_mm(values, weight.t(), scale_a=own, scale_b=scale, out_dtype=torch.bfloat16)
        return made.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        weight, scale = ctx.saved_tensors
        grad = grads[0]
        values, own = to_float8(grad.reshape(-1, grad.shape[-1]), BACKWARD)
        column_major = weight.t().contiguous().t()  # as the second factor must lie
        made = torch._scaled_mm(values, column_major, scale_a=own, scale_b=scale, out_dtype=torch.bfloat16)
        return made.view(*grad.shape[:-1], -1), None, None


def use_float8(root: nn.Module) -> int:
    """Put a Float8Linear in the place of each frozen linear layer below root that can be one; returns how many."""
    count = 0
    for owner in [module for module in root.modules() if not isinstance(module, Float8Linear)]:
        for name, child in list(owner.named_children()):
            if type(child) is nn.Linear and not child.weight.requires_grad and _fits(child):
                setattr(owner, name, Float8Linear(child))
                count += 1
    return count


def _fits(linear: nn.Linear) -> bool:
    return linear.in_features % _MULTIPLE == 0 and linear.out_features % _MULTIPLE == 0
