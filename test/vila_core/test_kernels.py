"""The CPU kernels against the plain arithmetic."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from vila_core.kernels.library import Kernels, kernels
from vila_core.kernels.linear import FloatKernelLinear, KernelLinear, fits, linear_together
from vila_core.models.functional import project

pytestmark = pytest.mark.skipif(kernels() is None, reason="no compiler")

SETS = ("scalar",) if kernels() is None else kernels().sets


def exact(x, values, scales, zeros, bias):
    """The same arithmetic in float64: activations rounded to 8 bits by token and group."""
    outputs, groups = scales.shape
    weight = (values.double().view(outputs, groups, -1) - zeros.double()[..., None]) * scales.double()[..., None]
    grouped = x.double().view(len(x), groups, -1)
    step = grouped.abs().amax(-1, keepdim=True) / 127
    rounded = torch.where(step > 0, (grouped / step).round(), torch.zeros_like(grouped)) * step
    return rounded.flatten(1) @ weight.flatten(1).T + bias.double()


def layer(outputs, groups, group, bits, seed, scale_type=torch.float32):
    rng = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 2**bits, (outputs, groups * group), generator=rng, dtype=torch.uint8)
    scales = (torch.rand(outputs, groups, generator=rng) * 0.02 + 1e-3).to(scale_type)
    zeros = torch.randint(0, 2**bits, (outputs, groups), generator=rng)
    return values, scales, zeros, torch.randn(outputs, generator=rng)


@settings(deadline=None, max_examples=40)
@given(
    tokens=st.integers(1, 60),
    outputs=st.integers(1, 5).map(lambda n: 16 * n),
    groups=st.integers(1, 4),
    group=st.sampled_from([16, 32, 48, 128]),
    bits=st.sampled_from([4, 8]),
    scale_type=st.sampled_from([torch.float32, torch.float16]),
    seed=st.integers(0, 9),
)
@pytest.mark.parametrize("set_name", SETS)
def test_every_shape_equals_the_arithmetic(set_name, tokens, outputs, groups, group, bits, scale_type, seed):
    values, scales, zeros, bias = layer(outputs, groups, group, bits, seed, scale_type)
    module = KernelLinear(Kernels(kernels().file, set_name), values, scales, zeros, bias=bias, bits=bits)
    x = torch.randn(tokens, groups * group, generator=torch.Generator().manual_seed(seed))
    wanted = exact(x, values, scales, zeros, bias)
    assert (module(x).double() - wanted).norm() <= 2e-3 * wanted.norm()  # a rounding may fall the other way
    short = x.bfloat16()
    wanted = exact(short.float(), values, scales, zeros, bias)
    assert (module(short).double() - wanted).norm() <= 6e-3 * wanted.norm()


@settings(deadline=None, max_examples=40)
@given(
    tokens=st.integers(1, 70),
    outputs=st.integers(1, 7).map(lambda n: 16 * n),
    inputs=st.integers(1, 9).map(lambda n: 16 * n),
    has_bias=st.booleans(),
    seed=st.integers(0, 9),
)
@pytest.mark.parametrize("set_name", SETS)
def test_in_float32_nothing_is_rounded(set_name, tokens, outputs, inputs, has_bias, seed):
    rng = torch.Generator().manual_seed(seed)
    weight, x = torch.randn(outputs, inputs, generator=rng), torch.randn(tokens, inputs, generator=rng)
    bias = torch.randn(outputs, generator=rng) if has_bias else None
    module = FloatKernelLinear(Kernels(kernels().file, set_name), weight, bias)
    wanted = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    assert (module(x).double() - wanted).norm() <= 1e-6 * wanted.norm()
    assert torch.equal(module(x)[-1], module(x[-1])), "a token's result depends on those beside it"
    short = x.bfloat16()
    wanted = F.linear(short.double(), weight.double(), None if bias is None else bias.double())
    assert (module(short).double() - wanted).norm() <= 4e-3 * wanted.norm()
    assert torch.equal(module.rows(torch.tensor([outputs - 1, 0])), weight[[-1, 0]])


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("set_name", SETS)
def test_the_largest_sums_are_exact(set_name, bits):
    values = torch.full((16, 512), 2**bits - 1, dtype=torch.uint8)
    x = torch.ones(70, 512) * torch.where(torch.arange(70) % 2 > 0, 1.0, -1.0)[:, None]
    for zero in (0, 2**bits - 1):
        scales, zeros = torch.ones(16, 2), torch.full((16, 2), zero)
        module = KernelLinear(Kernels(kernels().file, set_name), values, scales, zeros, bias=None, bits=bits)
        for tokens in (1, 3, 13, 70):
            wanted = x[:tokens].sum(-1, keepdim=True).expand(-1, 16) * (2**bits - 1 - zero)
            assert torch.allclose(module(x[:tokens]), wanted, rtol=1e-6, atol=0)


@settings(deadline=None, max_examples=20)
@given(tokens=st.integers(1, 30), sizes=st.sampled_from([(127,), (0, 127), (0, 1, 64, 127)]), seed=st.integers(0, 99))
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("set_name", SETS)
def test_whole_numbers_are_multiplied_exactly(set_name, bits, tokens, sizes, seed):
    rng = torch.Generator().manual_seed(seed)
    choices = torch.tensor([sign * size for size in sizes for sign in (-1, 1)])
    x = choices[torch.randint(len(choices), (tokens, 96), generator=rng)]
    x[:, ::48] = 127  # a step of 1 in both groups
    values, zeros = (torch.randint(0, 2**bits, shape, generator=rng) for shape in ((32, 96), (32, 2)))
    extreme = torch.where(torch.rand(values.shape, generator=rng) < 0.5, values, (2**bits - 1) * (values % 2)).byte()
    module = KernelLinear(Kernels(kernels().file, set_name), extreme, torch.ones(32, 2), zeros, bias=None, bits=bits)
    assert torch.equal(module(x.float()), (x @ (extreme.long() - zeros.repeat_interleave(48, 1)).T).float())


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("set_name", SETS)
def test_what_is_not_finite_is_not_rounded_to_a_number(set_name, bits, dtype, value):
    values, scales, zeros, bias = layer(32, 2, 48, bits, 0)
    module = KernelLinear(Kernels(kernels().file, set_name), values, scales, zeros, bias=bias, bits=bits)
    for tokens in (1, 3, 13, 70):
        for place in (0, 5, 16, 47, 95):
            x = torch.ones(tokens, 96, dtype=dtype)
            x[tokens // 2, place] = value
            finite = module(x).isfinite()
            assert not finite[tokens // 2].any() and finite.sum() == 32 * (tokens - 1)


@pytest.mark.parametrize("bits_of_nan", [0x7E00, 0x7C01, -1], ids=["usual", "signalling", "all bits"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("set_name", SETS)
def test_any_nan_among_the_scales_is_kept(set_name, dtype, bits_of_nan):
    values, scales, zeros, bias = layer(32, 2, 48, 4, 0, torch.float16)
    scales.view(torch.int16)[7, 1] = bits_of_nan
    module = KernelLinear(Kernels(kernels().file, set_name), values, scales, zeros, bias=bias, bits=4)
    finite = module(torch.ones(3, 96, dtype=dtype)).isfinite()
    assert not finite[:, 7].any() and finite.sum() == 3 * 31


@pytest.mark.parametrize("tokens", [1, 7, 30])
@pytest.mark.parametrize("bits", [4, 8])
def test_layers_that_read_one_input_together_give_what_each_gives(bits, tokens):
    made = []
    for outputs in (48, 16, 80):
        values, scales, zeros, bias = layer(outputs, 2, 32, bits, outputs)
        made.append(KernelLinear(kernels(), values, scales, zeros, bias=bias if outputs > 16 else None, bits=bits))
    x = torch.randn(2, tokens, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    for got, module in zip(linear_together(x, made), made, strict=True):
        assert torch.equal(got, module(x))


def test_only_kernels_of_one_kind_are_run_together():
    first, wider, plain = (
        KernelLinear(kernels(), *layer(32, 2, 16, 4, 0)[:3], bias=None, bits=4),
        KernelLinear(kernels(), *layer(32, 1, 32, 8, 0)[:3], bias=None, bits=8),
        torch.nn.Linear(32, 5),
    )
    assert not first.takes_with(wider)
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    for got, module in zip(project(x, first, wider, plain), (first, wider, plain), strict=True):
        assert torch.equal(got, module(x))


def test_zeros_that_the_bits_do_not_hold_are_refused():
    values, scales, zeros, _ = layer(16, 1, 16, 4, 0)
    with pytest.raises(ValueError, match="zeros of 0 to 15, not 16 to 16"):
        KernelLinear(kernels(), values, scales, zeros * 0 + 16, bias=None, bits=4)


def test_zeros_stay_zero_and_leading_dimensions_stay():
    values, scales, zeros, _ = layer(32, 2, 16, 4, 0)
    module = KernelLinear(kernels(), values, scales, zeros, bias=None, bits=4)
    assert not module(torch.zeros(2, 3, 32)).any()
    assert module(torch.zeros(2, 3, 32, dtype=torch.bfloat16)).shape == (2, 3, 32)
    assert module(torch.randn(32)).shape == (32,)


@pytest.mark.parametrize("bits", [4, 8])
def test_rows_are_those_of_the_weight(bits):
    values, scales, zeros, _ = layer(48, 3, 16, bits, 0)
    numbers = torch.tensor([0, 47, 16, 16, 31])
    wanted = ((values.view(48, 3, 16) - zeros[..., None].float()) * scales[..., None]).flatten(1)[numbers]
    got = KernelLinear(kernels(), values, scales, zeros, bias=None, bits=bits).rows(numbers)
    assert torch.allclose(got, wanted, atol=1e-5)


def test_what_does_not_fit_is_refused():
    assert fits(160, 640, 128) and not fits(24, 128, 128) and not fits(16, 128, 48)
    values, scales, zeros, _ = layer(16, 1, 16, 4, 0)
    with pytest.raises(ValueError, match=r"do not take 4 bits, \[8, 16\]"):
        KernelLinear(kernels(), values[:8], scales[:8], zeros[:8], bias=None, bits=4)
    module = KernelLinear(kernels(), values, scales, zeros, bias=None, bits=4)
    with pytest.raises(ValueError, match=r"\[\.\.\., 16\], got torch.float16"):
        module(torch.zeros(1, 16, dtype=torch.float16))
