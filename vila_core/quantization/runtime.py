"""Quantized layers for the CPU that is there: their reference forward passes give way to the package's kernels."""

from __future__ import annotations

import torch
from torch import nn

from vila_core.kernels.library import Kernels, kernels
from vila_core.kernels.linear import KernelLinear, fits
from vila_core.quantization.formats.nibbles import unpack_pairs
from vila_core.quantization.int8_linear import Int8Linear, quantize_linears
from vila_core.quantization.linear import QuantLinear

_SIGNED = 128  # what signed bytes are off from unsigned ones


def convert_for_cpu(root: nn.Module) -> int:
    """Replace the quantized linears below root by kernels, one at a time; returns how many.

    Those that the kernels do not take, and all where there are no kernels, stay: slow, and right. The module can only
    be run afterwards, not saved.
    """
    found = kernels()
    if found is None:
        return 0
    count = 0
    for owner in [module for module in root.modules() if not isinstance(module, QuantLinear | Int8Linear)]:
        for name, child in list(owner.named_children()):
            made = _converted(found, child)
            if made is not None:
                setattr(owner, name, made)
                count += 1
    return count


def narrow_for_cpu(root: nn.Module) -> bool:
    """Have the plain linears below root multiply 8-bit numbers by the package's kernels.

    Returns False, and changes nothing, where there are no kernels or they do not take all of them.
    """
    linears = [child for child in root.modules() if isinstance(child, nn.Linear)]
    if kernels() is None or not all(fits(one.out_features, one.in_features, one.in_features) for one in linears):
        return False
    quantize_linears(root)
    convert_for_cpu(root)
    return True


def _converted(found: Kernels, layer: nn.Module) -> KernelLinear | None:
    if isinstance(layer, QuantLinear) and fits(layer.out_features, layer.in_features, layer.group_size):
        values = unpack_pairs(layer.weight_int4)
        return KernelLinear(found, values, layer.scales, layer.zeros, bias=layer.bias, bits=4)
    if isinstance(layer, Int8Linear) and fits(layer.out_features, layer.in_features, layer.in_features):
        values = (layer.weight_int8.to(torch.int16) + _SIGNED).to(torch.uint8)
        scales = layer.scales[:, None]
        return KernelLinear(found, values, scales, torch.full_like(scales, _SIGNED), bias=layer.bias, bits=8)
    return None
