"""The maths of quantization: equal to the official code's, packings undone by unpacking, errors within their bounds."""

from __future__ import annotations

import pytest
import torch
from conftest import golden_dir
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vila_core.errors import CheckpointError, NotFiniteError
from vila_core.quantization.awq_block import PAIRS
from vila_core.quantization.awq_clip import clip_weight_, input_moments, search_clip
from vila_core.quantization.awq_scales import RATIOS, fold_scales, ratio_scales, search_scales
from vila_core.quantization.formats.autoawq import pack_gemm, unpack_gemm
from vila_core.quantization.formats.nibbles import pack_int32, pack_pairs, unpack_int32, unpack_pairs
from vila_core.quantization.formats.tinychat import (
    pack_v1,
    pack_v2,
    pack_v2_scales,
    unpack_v1,
    unpack_v2,
    unpack_v2_scales,
)
from vila_core.quantization.groupwise import (
    dequantize_groups,
    fitting_group,
    pseudo_quantize,
    quantize_for_storage,
    quantize_groups,
)
from vila_core.quantization.install import install_quantized
from vila_core.quantization.int8_linear import Int8Linear
from vila_core.quantization.linear import QuantLinear, quantize_linear
from vila_core.quantization.search_file import read_search_result
from vila_core.quantization.w8a8 import linear_w8a8, quantize_rows, quantize_tokens
from vila_core.quantization.w8a8_layer import smooth
from vila_tools.parity.case import run_case
from vila_tools.parity.quantization import quantization_cases

CASES = list(quantization_cases(golden_dir("quantization")))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.group[13:]} {case.name}")
@torch.no_grad()
def test_golden(case):
    result = run_case(case)
    assert result.is_within, (result.failure, [check for check in result.checks if not check.is_within])


def test_all_of_golden_is_there():
    groups = [case.group for case in CASES]
    counts = {group: groups.count(f"quantization {group}") for group in ("rounding", "packing", "w8a8", "search")}
    assert counts == {"rounding": 10, "packing": 6, "w8a8": 4, "search": 2}


def nibbles(rows, width, seed):
    return torch.randint(0, 16, (rows, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


SEEDS = st.integers(0, 2**31)
PACKINGS = [
    (pack_pairs, unpack_pairs, 1, 2),
    (pack_int32, unpack_int32, 1, 8),
    (pack_v1, unpack_v1, 1, 8),
    (pack_v2, unpack_v2, 4, 64),
    (pack_gemm, unpack_gemm, 8, 1),
]


@pytest.mark.parametrize(("pack", "unpack", "rows", "width"), PACKINGS)
@given(tall=st.integers(1, 5), wide=st.integers(1, 5), seed=SEEDS)
def test_unpacking_undoes_packing(pack, unpack, rows, width, tall, wide, seed):
    values = nibbles(rows * tall, width * wide, seed)
    assert torch.equal(unpack(pack(values)), values)


@given(groups=st.integers(1, 20), seed=SEEDS)
def test_unpacking_undoes_packing_of_scales(groups, seed):
    rng = torch.Generator().manual_seed(seed)
    scales = (torch.rand(6, groups, generator=rng) * 0.1 + 1e-6).half()
    zeros = nibbles(6, groups, seed)
    found = unpack_v2_scales(*pack_v2_scales(scales, zeros), groups)
    assert torch.equal(found[0], scales)
    assert torch.equal(found[1], zeros)


@pytest.mark.parametrize(
    ("pack", "shape"), [(pack_pairs, (2, 3)), (pack_v1, (2, 12)), (pack_v2, (4, 96)), (pack_v2, (6, 64))]
)
def test_a_shape_that_cannot_be_packed_is_refused(pack, shape):
    with pytest.raises(ValueError, match=r"pack"):
        pack(torch.zeros(shape, dtype=torch.uint8))


@given(bits=st.sampled_from([3, 4, 8]), group=st.sampled_from([16, 32, -1]), scale=st.floats(1e-3, 1e3), seed=SEEDS)
def test_the_error_is_at_most_a_step(bits, group, scale, seed):
    """Half of it from the value, half from the zero, where a group has both signs; else the offset is cut."""
    weight = scale * torch.randn(5, 64, generator=torch.Generator().manual_seed(seed))
    weight[:, ::16] = weight[:, ::16].abs()
    weight[:, 1::16] = -weight[:, 1::16].abs()
    found = quantize_groups(weight, bits, group)
    steps = found.scales.repeat_interleave(found.group_size, 1)
    assert torch.all(
        (dequantize_groups(found) - weight).abs() <= steps * 0.5001 + (steps * 0.5)
    )  # value and zero round
    assert torch.equal(dequantize_groups(found), pseudo_quantize(weight, bits, group))


@given(seed=SEEDS)
def test_stored_scales_make_no_larger_error(seed):
    weight = torch.randn(4, 256, generator=torch.Generator().manual_seed(seed))
    stored = dequantize_groups(quantize_for_storage(weight, 4, 128), torch.float32)
    exact = dequantize_groups(quantize_groups(weight, 4, 128))
    assert (stored - weight).pow(2).mean() <= 1.02 * (exact - weight).pow(2).mean()


@pytest.mark.parametrize(
    ("width", "group", "fitting"),
    [(128, 128, 128), (384, 128, 128), (160, 128, 32), (64, 128, 64), (6, 128, 2), (96, 96, 96)],
)
def test_a_group_that_does_not_fit_becomes_a_power_of_two_that_does(width, group, fitting):
    assert fitting_group(width, group) == fitting


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(96,), (1, 96), (2, 5, 96)])
@torch.no_grad()
def test_a_4_bit_layer_multiplies_its_dequantized_weight(dtype, bias, shape, monkeypatch):
    monkeypatch.setattr("vila_core.quantization.linear._CHUNK_WEIGHTS", 1000)  # several chunks
    torch.manual_seed(0)
    linear = nn.Linear(96, 40, bias=bias)
    layer = quantize_linear(linear, 128)
    assert layer.group_size == 32 and layer.weight_int4.shape == (40, 48) and layer.scales.dtype == torch.float16
    if bias:
        layer.bias.data = layer.bias.data.to(dtype)
    x = torch.randn(shape, dtype=dtype)
    wanted = x.float() @ layer.dequantized().T + (linear.bias if bias else 0)
    got = layer(x)
    assert got.dtype == dtype and got.shape == wanted.shape
    assert (got.float() - wanted).abs().max() <= {torch.float32: 1e-5}.get(dtype, 0.03)
    rows = torch.tensor([3, 39, 3])
    assert torch.equal(layer.rows(rows), layer.dequantized()[rows])
    assert (layer.dequantized() - linear.weight).abs().max() <= linear.weight.abs().max() / 7


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(96,), (1, 96), (2, 5, 96)])
@torch.no_grad()
def test_an_8_bit_layer_is_nearly_the_plain_one(dtype, shape):
    torch.manual_seed(0)
    linear = nn.Linear(96, 40)
    layer = Int8Linear.of(linear)
    x = torch.randn(shape, dtype=dtype)
    got, wanted = layer(x), linear(x.float())
    assert got.dtype == dtype and got.shape == wanted.shape
    assert (got.float() - wanted).norm() <= 0.015 * wanted.norm()
    rows = torch.tensor([0, 7])
    assert torch.equal(layer.rows(rows), layer.dequantized()[rows])


@given(seed=SEEDS)
def test_rows_and_tokens_are_off_by_half_a_step(seed):
    weight = torch.randn(7, 33, generator=torch.Generator().manual_seed(seed))
    weight[2] = 0.0
    values, scales = quantize_rows(weight)
    assert torch.all((values * scales[:, None] - weight).abs() <= scales[:, None] * 0.5001)
    tokens, steps = quantize_tokens(weight)
    assert torch.all((tokens * steps - weight).abs() <= steps * 0.5001)
    assert torch.equal(linear_w8a8(torch.zeros(2, 33), values, scales, None), torch.zeros(2, 7))


@torch.no_grad()
def test_smoothing_leaves_the_function_as_it_was():
    torch.manual_seed(0)
    norm, linears = nn.LayerNorm(16), [nn.Linear(16, 8), nn.Linear(16, 4)]
    x = torch.randn(5, 16) * torch.logspace(-2, 2, 16)
    before = [linear(norm(x)) for linear in linears]
    smooth(norm, linears, norm(x).abs().amax(0), 0.5)
    for linear, wanted in zip(linears, before, strict=True):
        assert torch.allclose(linear(norm(x)), wanted, atol=1e-5)


@torch.no_grad()
def test_scales_are_found_that_do_less_harm_and_the_layer_is_left_alone():
    torch.manual_seed(0)
    linear, previous = nn.Linear(64, 32), nn.Linear(16, 64)
    x = torch.randn(200, 64) * torch.where(torch.arange(64) % 16 == 0, 30.0, 1.0)
    weight = linear.weight.clone()
    scales = search_scales([linear], x, linear, bits=4, group_size=32)
    assert torch.equal(linear.weight, weight)
    scaled = pseudo_quantize(weight * scales, 4, 32) / scales
    plain = pseudo_quantize(weight, 4, 32)
    assert ((scaled - weight) @ x.T).pow(2).mean() < 0.7 * ((plain - weight) @ x.T).pow(2).mean()
    seen = torch.randn(3, 16)
    wanted = linear(previous(seen))
    fold_scales(previous, [linear], scales)
    assert torch.allclose(linear(previous(seen)), wanted, atol=1e-4)


@torch.no_grad()
def test_the_moments_give_the_error_that_tokens_give():
    torch.manual_seed(0)
    x, change = torch.randn(700, 64), torch.randn(1, 64)
    moments = input_moments(x, 32)
    for group in range(2):
        part = slice(32 * group, 32 * group + 32)
        wanted = (x[:, part] @ change[0, part]).pow(2).mean()
        assert torch.allclose(change[0, part] @ moments[group] @ change[0, part], wanted, rtol=1e-4)


@torch.no_grad()
def test_a_clip_does_no_harm_and_needs_512_tokens():
    torch.manual_seed(0)
    weight, x = torch.randn(8, 64), torch.randn(600, 64)
    weight[:, 5] *= 8
    largest = search_clip(weight, x, bits=4, group_size=32)
    cut = pseudo_quantize(clip_weight_(weight.clone(), largest), 4, 32)
    plain = pseudo_quantize(weight, 4, 32)
    assert ((cut - weight) @ x.T).pow(2).mean() <= ((plain - weight) @ x.T).pow(2).mean()
    with pytest.raises(ValueError, match="511 tokens of calibration are too few; at least 512"):
        search_clip(weight, x[:511], bits=4, group_size=32)


def test_a_search_result_is_read_without_running_its_code(tmp_path):
    names = [(f"model.layers.1.{p.previous}", tuple(f"model.layers.1.{n}" for n in p.linears)) for p in PAIRS]
    raw = {
        "scale": [(previous, linears, torch.full((4,), 2.0)) for previous, linears in names],
        "clip": [("llm.model.layers.1.mlp.down_proj", torch.ones(3, 2, 1))],
    }
    torch.save(raw, tmp_path / "search.pt")
    ((number, found),) = read_search_result(tmp_path / "search.pt").items()
    assert number == 1 and [scale.previous for scale in found.scales] == [pair.previous for pair in PAIRS]
    assert found.clips["mlp.down_proj"].shape == (3, 2, 1)
    torch.save({**raw, "clip": [("model.layers.1.mlp.other", torch.ones(1))]}, tmp_path / "search.pt")
    with pytest.raises(CheckpointError, match=r"mlp\.other"):
        read_search_result(tmp_path / "search.pt")
    torch.save({"scale": [], "clip": pytest.raises}, tmp_path / "search.pt")
    with pytest.raises(CheckpointError, match="without running code"):
        read_search_result(tmp_path / "search.pt")
    torch.save({"weight": torch.ones(1)}, tmp_path / "search.pt")
    with pytest.raises(CheckpointError, match="lacks 'scale' and 'clip'"):
        read_search_result(tmp_path / "search.pt")


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"1.weight_int4": (4, 4)}, r"'1' is a GELU, not a linear one"),
        ({"nothing.weight_int8": (4, 4)}, r"'nothing' is none of the model's"),
        ({"0.weight_int4": (4, 4), "0.scales": (4, 3)}, r"0: scales \[4, 3\] do not fit a width of 8"),
        ({"0.weight_int4": (4, 4)}, r"0: scales \[\] do not fit a width of 8"),
    ],
)
def test_quantized_tensors_that_fit_no_layer_are_named(shapes, words):
    with pytest.raises(CheckpointError, match=words):
        install_quantized(nn.Sequential(nn.Linear(8, 4), nn.GELU()), shapes)


def test_only_named_layers_are_replaced():
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 2))
    assert install_quantized(model, {"0.weight_int4": (4, 4), "0.scales": (4, 2), "1.weight_int8": (4, 4)}) == 2
    assert isinstance(model[0], QuantLinear) and model[0].group_size == 4 and model[0].bias is not None
    assert isinstance(model[1], Int8Linear) and model[1].bias is None and type(model[2]) is nn.Linear


@pytest.mark.parametrize("lengths", [None, [400, 300]])
@torch.no_grad()
def test_the_search_finds_what_trying_every_ratio_finds(lengths, monkeypatch):
    """Though it leaves a ratio as soon as it is worse than another; lengths: what must be seen together."""
    monkeypatch.setattr("vila_core.quantization.awq_scales._TOKENS", 50)
    for seed in range(8):
        torch.manual_seed(seed)
        linear = nn.Linear(64, 32)
        x = torch.randn(700, 64) * torch.where(torch.arange(64) % 16 == 0, 2.0 ** (seed - 3), 1.0)
        seen = set()

        def inspect(rows, linear=linear, seen=seen):
            seen.add(len(rows))
            return linear(rows).cumsum(0) if lengths else linear(rows)

        weight, errors = linear.weight.clone(), []
        for step in range(RATIOS):
            scales = ratio_scales(x.abs().mean(0), step / RATIOS)
            off = (x @ (pseudo_quantize(weight * scales, 4, 32) / scales - weight).T).split(lengths or [700])
            errors.append(sum(float((part.cumsum(0) if lengths else part).pow(2).sum()) for part in off))
        best = ratio_scales(x.abs().mean(0), min(range(RATIOS), key=errors.__getitem__) / RATIOS)
        assert torch.equal(search_scales([linear], x, inspect, lengths=lengths, bits=4, group_size=32), best)
        assert seen == (set(lengths) if lengths else {50})


@torch.no_grad()
def test_inputs_that_are_not_finite_are_refused():
    linear, x = nn.Linear(64, 32), torch.full((600, 64), float("nan"))
    with pytest.raises(NotFiniteError, match="NaN or infinity"):
        search_scales([linear], x, linear, bits=4, group_size=32)
