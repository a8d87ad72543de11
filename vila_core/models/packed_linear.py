"""Linear layers whose weights lie as the CPU's matrix kernels want them, instead of being laid out anew at each call.

oneDNN, which torch multiplies bfloat16 with on CPUs, reorders a plain weight every time. For one token that costs more
than the product itself. In float32 its packed weights are 5 to 25 % quicker than what torch calls, if they are large.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vila_core.kernels.library import kernels
from vila_core.kernels.linear import FloatKernelLinear, fits
from vila_core.machine.memory import trim_heap

_TRIM_BYTES = 64 << 20
_SMALL = 1 << 22  # weights of all layers: with more of them torch's products are quicker than calls take
_LARGE = 1 << 18  # values of a float32 weight: below it packing costs more than it saves


class PackedLinear(nn.Module):
    """A bfloat16 or float32 nn.Linear for inference on a CPU; the same result, the plain weight is gone."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.bias = linear.bias
        with torch.no_grad():
            self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


def can_pack(dtype: torch.dtype) -> bool:
    """Tell if this torch on this CPU has kernels of this type that take packed weights."""
    ops = torch.ops.mkldnn
    needed = ("_is_mkldnn_bf16_supported", "_reorder_linear_weight", "_linear_pointwise")
    if not torch.backends.mkldnn.is_available() or not all(hasattr(ops, name) for name in needed):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and _has_bf16())


def _has_bf16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pack_linears(module: nn.Module) -> int:
    """Replace bfloat16 and large float32 nn.Linears below the module by PackedLinears, one at a time; returns how many.

    Leaves those for which can_pack() says no. The module can only be run afterwards, not saved or trained. Takes little
    more memory than the weights: each plain weight is freed when its packed one is there.
    """
    count, freed = 0, 0
    for parent, name in _places(module):
        plain = parent.get_submodule(name)
        assert isinstance(plain, nn.Linear)
        setattr(parent, name, PackedLinear(plain))
        count, freed = count + 1, freed + plain.weight.nbytes
        del plain
        if freed > _TRIM_BYTES:  # packed weights are aligned, and so do not fit the holes that plain ones leave
            trim_heap()
            freed = 0
    trim_heap()
    return count


def lay_out_small(layers: nn.Module, *, times: float = 1.0) -> bool:
    """Replace the float32 nn.Linears of few and small layers by the package's kernels, which run them in one call.

    times: how many such make up all layers of the model, which are to be small. Returns False, and changes nothing,
    where there are no kernels, the layers are not small, or not all are taken.
    """
    found = kernels()
    plain = [
        (parent, name) for parent in layers.modules() for name, child in parent.named_children() if _is_plain(child)
    ]
    linears = [parent.get_submodule(name) for parent, name in plain]
    sizes = [one.weight.shape for one in linears if isinstance(one, nn.Linear)]
    if found is None or not sizes or times * sum(map(math.prod, sizes)) > _SMALL:
        return False
    if not all(fits(outputs, inputs, inputs) for outputs, inputs in sizes):
        return False
    for parent, name in plain:
        linear = parent.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        setattr(parent, name, FloatKernelLinear(found, linear.weight, linear.bias))
    return True


def _is_plain(child: nn.Module) -> bool:
    return type(child) is nn.Linear and child.weight.dtype == torch.float32 and child.weight.device.type == "cpu"


def _places(module: nn.Module) -> list[tuple[nn.Module, str]]:
    """Parent and name of each linear to pack; holds none of the linears themselves."""
    return [
        (parent, name)
        for parent in module.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Linear and child.weight.device.type == "cpu" and _is_worth(child.weight)
    ]


def _is_worth(weight: Tensor) -> bool:
    return can_pack(weight.dtype) and (weight.dtype == torch.bfloat16 or weight.numel() >= _LARGE)
