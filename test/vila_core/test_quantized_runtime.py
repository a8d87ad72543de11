"""Quantized layers on the CPU's kernels: the same weights, inputs rounded to 8 bits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vila_core.kernels.library import kernels
from vila_core.kernels.linear import KernelLinear
from vila_core.models.working_precision import quantized_as
from vila_core.quantization.int8_linear import Int8Linear
from vila_core.quantization.linear import QuantLinear, quantize_linear
from vila_core.quantization.runtime import convert_for_cpu

has_kernels = pytest.mark.skipif(kernels() is None, reason="no compiler, or not an x86-64 processor with AVX2")


def make(kind, outputs=48, inputs=64):
    torch.manual_seed(0)
    linear = nn.Linear(inputs, outputs)
    return nn.Sequential(quantize_linear(linear, 32) if kind is QuantLinear else Int8Linear.of(linear))


@has_kernels
@pytest.mark.parametrize(("kind", "label"), [(QuantLinear, "w4a8"), (Int8Linear, "w8a8")])
@torch.inference_mode()
def test_kernels_give_what_the_reference_gives(kind, label):
    reference, model = make(kind), make(kind)
    assert convert_for_cpu(model) == 1 and isinstance(model[0], KernelLinear) and quantized_as(model) == label
    x = torch.randn(3, 5, 64)
    wanted = reference(x)
    assert (model(x) - wanted).norm() <= 0.01 * wanted.norm()
    numbers = torch.tensor([0, 47, 3])
    assert torch.allclose(model[0].rows(numbers), reference[0].rows(numbers), atol=1e-4)


@has_kernels
def test_what_does_not_fit_stays():
    model = make(QuantLinear, outputs=40)
    assert convert_for_cpu(model) == 0 and isinstance(model[0], QuantLinear)


def test_without_kernels_all_stays(monkeypatch):
    monkeypatch.setattr("vila_core.quantization.runtime.kernels", lambda: None)
    model = make(Int8Linear)
    assert convert_for_cpu(model) == 0 and isinstance(model[0], Int8Linear)
