"""Put empty quantized layers where a checkpoint's tensors say that linears were quantized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from vila_core.errors import CheckpointError
from vila_core.quantization.int8_linear import Int8Linear
from vila_core.quantization.linear import QuantLinear

_INT4, _INT8 = ".weight_int4", ".weight_int8"


def install_quantized(root: nn.Module, shapes: Mapping[str, Sequence[int]]) -> int:
    """Replace the linears below root whose quantized tensors are named; returns how many.

    shapes: of all tensors, by their names below root. The new layers lie on "meta" and wait for their tensors.
    Raises CheckpointError for a layer that is no linear, or scales that do not fit it.
    """
    count = 0
    for name in shapes:
        for suffix in (_INT4, _INT8):
            if name.endswith(suffix):
                layer = name.removesuffix(suffix)
                owner, _, leaf = layer.rpartition(".")
                linear = _linear(root, layer)
                setattr(root.get_submodule(owner), leaf, _empty(linear, suffix, shapes.get(layer + ".scales"), layer))
                count += 1
    return count


def _linear(root: nn.Module, name: str) -> nn.Linear:
    try:
        found = root.get_submodule(name)
    except AttributeError as err:
        raise CheckpointError(f"the quantized layer {name!r} is none of the model's") from err
    if not isinstance(found, nn.Linear):
        raise CheckpointError(f"the quantized layer {name!r} is a {type(found).__name__}, not a linear one")
    return found


def _empty(linear: nn.Linear, suffix: str, scales: Sequence[int] | None, name: str) -> nn.Module:
    bias, width = linear.bias is not None, linear.in_features
    with torch.device("meta"):
        if suffix == _INT8:
            return Int8Linear(width, linear.out_features, bias=bias)
        groups = scales[1] if scales is not None and len(scales) == 2 else 0
        if groups < 1 or width % groups:
            raise CheckpointError(f"{name}: scales {list(scales or ())} do not fit a width of {width}")
        return QuantLinear(width, linear.out_features, width // groups, bias=bias)
