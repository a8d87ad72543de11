"""Packed weights give what plain ones give."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import nn

from vila_core.models import packed_linear
from vila_core.models.packed_linear import PackedLinear, can_pack, pack_linears


@pytest.mark.skipif(not can_pack(torch.bfloat16), reason="this CPU or torch has no packed bfloat16 kernels")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(48,), (1, 48), (2, 7, 48), (1, 300, 48)])
@torch.inference_mode()
def test_a_packed_linear_equals_the_plain_one(bias, shape):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(48, 80, bias=bias), nn.GELU(), nn.ModuleDict({"in": nn.Linear(80, 16)})["in"])
    model.bfloat16()
    x = torch.randn(shape, dtype=torch.bfloat16)
    wanted = model(x)
    assert pack_linears(model) == 2 and isinstance(model[0], PackedLinear)
    got = model(x)
    assert got.shape == wanted.shape
    assert (got.float() - wanted.float()).abs().max() <= 0.02 * wanted.float().abs().max()


@pytest.mark.skipif(not can_pack(torch.float32), reason="this torch has no packed kernels")
@torch.inference_mode()
def test_large_float32_weights_are_packed_and_small_ones_are_not():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(512, 512), nn.GELU(), nn.Linear(512, 16))
    x = torch.randn(2, 7, 512)
    wanted = model(x)
    assert pack_linears(model) == 1 and isinstance(model[0], PackedLinear) and type(model[2]) is nn.Linear
    assert torch.allclose(model(x), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_what_gains_nothing_stays_as_it_is(dtype):
    model = nn.Sequential(nn.Linear(4, 4)).to(dtype)
    assert pack_linears(model) == 0 and type(model[0]) is nn.Linear


@pytest.mark.skipif(not can_pack(torch.bfloat16), reason="this CPU or torch has no packed bfloat16 kernels")
def test_packing_holds_no_plain_weight_longer_than_its_own_turn(monkeypatch):
    model = nn.Sequential(*(nn.Linear(16, 16) for _ in range(4))).bfloat16()
    plain = [weakref.ref(linear) for linear in model]
    alive = []

    class Watched(PackedLinear):
        def __init__(self, linear):
            super().__init__(linear)
            alive.append(sum(reference() is not None for reference in plain))

    monkeypatch.setattr(packed_linear, "PackedLinear", Watched)
    assert pack_linears(model) == 4
    assert alive == [4, 3, 2, 1] and all(reference() is None for reference in plain)
