"""Quantized layers for GPUs: layout and arithmetic on any machine, the kernels themselves where there is a GPU."""

from __future__ import annotations

import importlib
import importlib.util
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from vila_core.engine.static_decoder import StaticDecoder
from vila_core.errors import BackendError, ConfigError
from vila_core.models.config import LanguageConfig
from vila_core.models.kv_cache import KVCache, append
from vila_core.models.language_model import LanguageModel
from vila_core.models.working_precision import quantized_as
from vila_core.quantization.gpu import choice as choice_module
from vila_core.quantization.gpu.choice import BUCKETS, Candidate, Choice, Chooser, Problem, bucket_of
from vila_core.quantization.gpu.convert import GpuConverter, GpuOptions, packed_weight
from vila_core.quantization.gpu.int4 import (
    accumulation_error,
    exact_int4,
    int4_candidates,
    run_dequantized,
    run_tinygemm,
)
from vila_core.quantization.gpu.int8 import Int8Weight, exact_int8, int8_candidates, run_int_mm, run_plain
from vila_core.quantization.gpu.layout import (
    INNER_TILES,
    Int4Weight,
    fits_tiles,
    pack_int4,
    pack_tiles,
    scales_and_zeros,
    unpack_tiles,
)
from vila_core.quantization.gpu.linear import GpuInt4Linear, GpuInt8Linear
from vila_core.quantization.int8_linear import Int8Linear
from vila_core.quantization.linear import QuantLinear, quantize_linear

CPU = torch.device("cpu")
HAS_GPU = torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="torch finds no CUDA device")
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


def stored(outputs=72, inputs=256, group=64, seed=0):
    """Values, scales and zeros, all zeros from 0 to 15 among them."""
    rng = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 16, (outputs, inputs), dtype=torch.uint8, generator=rng)
    scales = (torch.rand(outputs, inputs // group, generator=rng) * 0.1 + 0.01).half()
    zeros = torch.randint(0, 16, (outputs, inputs // group), dtype=torch.uint8, generator=rng)
    return values, scales, zeros


def plain(values, scales, zeros):
    grouped = values.float().unflatten(1, (scales.shape[1], -1))
    return ((grouped - zeros.float()[..., None]) * scales.float()[..., None]).flatten(1)


# the layout


def words_as_the_kernel_packs_them(values, inner_tiles):
    """What pytorch's matrix_to_m16n8k16_Bint4_layout writes, lane by lane; even columns are the high nibbles there."""
    octets = (values[:, 0::2] << 4 | values[:, 1::2]).long()
    outputs, inputs = values.shape
    out = torch.zeros(outputs // 8, inputs // (16 * inner_tiles), 32, inner_tiles // 2, dtype=torch.int64)
    for n, k, lane, inner in itertools.product(*map(range, out.shape)):
        base = (k * inner_tiles + 2 * inner) * 8 + lane % 4
        v = [int(octets[8 * n + lane // 4, base + step]) for step in (0, 4, 8, 12)]
        out[n, k, lane, inner] = sum((v[i] >> 4) << 4 * i | (v[i] & 15) << 4 * (i + 4) for i in range(4))
    return ((out + 2**31) % 2**32 - 2**31).to(torch.int32)


@pytest.mark.parametrize("inner_tiles", INNER_TILES)
def test_words_lie_where_torch_s_kernel_looks_for_them(inner_tiles):
    values = stored(16, 256)[0]
    packed = pack_tiles(values, inner_tiles)
    assert torch.equal(packed, words_as_the_kernel_packs_them(values, inner_tiles))
    assert torch.equal(unpack_tiles(packed), values)
    meta = torch.empty(16, 128, dtype=torch.uint8, device="meta")
    assert packed.shape == torch.ops.aten._convert_weight_to_int4pack(meta, inner_tiles).shape


@given(st.integers(0, 15), st.integers(0, 15), st.floats(1e-4, 10.0))
def test_the_other_form_of_scale_and_zero_is_the_same_weight(value, zero, scale):
    """(q - zero) * scale = (q - 8) * scale + (8 - zero) * scale, up to the table's bfloat16."""
    halves = torch.tensor([[scale]]).half()
    found_scale, found_zero = scales_and_zeros(halves, torch.tensor([[zero]], dtype=torch.uint8))[0, 0].double()
    wanted = (value - zero) * halves.double().item()
    bound = 2**-8 * halves.double().item() * (abs(value - 8) + abs(8 - zero))
    assert abs(float((value - 8) * found_scale + found_zero) - wanted) <= bound


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("group", [32, 64, 128])
def test_torch_s_own_cpu_kernel_reads_the_table_alike(dtype, most, group):
    values, scales, zeros = stored(64, 256, group)
    weight = pack_int4(values, scales, zeros, 8)
    x = torch.randn(5, 256, generator=torch.Generator().manual_seed(1)).to(dtype)
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(values.to(torch.int32), 1)
    found = torch.ops.aten._weight_int4pack_mm_for_cpu(x, packed, group, weight.table.to(dtype))
    wanted = exact_int4(x, weight)
    assert (found.float() - wanted).norm() <= most * wanted.norm()
    exact = x.float() @ plain(values, scales, zeros).T
    assert (wanted - exact).norm() <= 0.01 * exact.norm()  # what the table's bfloat16 costs


def test_tiles_and_rows_of_a_weight_are_parts_of_it():
    weight = pack_int4(*stored(), 4)
    whole = weight.dequantized(torch.float32)
    assert (weight.outputs, weight.inputs, weight.group) == (72, 256, 64)
    assert torch.equal(weight.tile(8, 32).dequantized(torch.float32), whole[8:32])
    numbers = torch.tensor([71, 0, 9, 9])
    assert torch.equal(weight.rows(numbers), whole[numbers])


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [
        ((72, 256, 64), True),
        ((72, 96, 32), True),
        ((70, 256, 64), False),
        ((72, 256, 16), False),
        ((72, 256, 512), False),
    ],
)
def test_which_sizes_the_layout_holds(sizes, wanted):
    assert fits_tiles(*sizes) is wanted


# the candidates


@pytest.mark.parametrize("step", [1, 1 << 24])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tiles_made_plain_multiply_as_the_whole(dtype, step, monkeypatch):
    monkeypatch.setattr("vila_core.quantization.gpu.int4._TILE_WEIGHTS", step)
    weight, x = pack_int4(*stored(), 8), torch.randn(6, 256).to(dtype)
    found, wanted = run_dequantized(x, weight), exact_int4(x, weight)
    assert found.dtype == dtype and (found.float() - wanted).norm() <= 0.01 * wanted.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_torch_s_operator_is_called_with_what_it_takes(dtype):
    """Its checks of types and shapes run on tensors that hold nothing."""
    with FakeTensorMode():
        x = torch.empty(3, 256, dtype=dtype, device="cuda")
        packed = torch.empty(9, 2, 32, 4, dtype=torch.int32, device="cuda")
        table = torch.empty(4, 72, 2, dtype=torch.bfloat16, device="cuda")
        found = run_tinygemm(x, Int4Weight(packed, table))
    assert found.shape == (3, 72) and found.dtype == dtype


def test_8_bit_candidates_agree():
    layer, x = Int8Linear.of(nn.Linear(64, 48)), torch.randn(5, 64)
    weight = Int8Weight(layer.weight_int8, layer.scales, layer.bias)
    wanted = exact_int8(x, weight)
    assert torch.allclose(run_plain(x, weight), wanted, atol=1e-5)
    assert (run_int_mm(x, weight) - wanted).norm() <= 0.02 * wanted.norm()


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "allow_fp16_accumulation"), reason="needs torch 2.7")
def test_accumulation_in_float16_is_on_only_while_it_multiplies(monkeypatch):
    flags, seen = torch.backends.cuda.matmul, []
    weight, x = pack_int4(*stored(), 8), torch.randn(3, 256).half()
    candidate = int4_candidates(fp16_accumulation=True)[-1]
    monkeypatch.setattr(
        "vila_core.quantization.gpu.int4.F.linear", lambda x, w: seen.append(flags.allow_fp16_accumulation) or x @ w.T
    )
    candidate.run(x, weight)
    candidate.run(x.bfloat16(), weight)
    int4_candidates()[-1].run(x, weight)
    assert seen == [True, False, False] and not flags.allow_fp16_accumulation
    assert set(accumulation_error(x, weight)) == {"float32", "float16"}


def test_an_older_torch_says_that_it_cannot(monkeypatch):
    monkeypatch.setattr("vila_core.quantization.gpu.int4.torch.backends.cuda.matmul", object())
    with pytest.raises(ConfigError, match=r"needs torch 2\.7"):
        GpuConverter(torch.float16, GpuOptions(fp16_accumulation=True))


# Triton's kernels: on a CPU in its interpreter, whose bfloat16 is cut instead of rounded


@pytest.fixture
def kernels():
    return importlib.import_module("vila_core.quantization.gpu.triton_kernels")


DEVICE = torch.device("cuda" if HAS_GPU else "cpu")


def on_device(weight):
    return Int4Weight(weight.packed.to(DEVICE), weight.table.to(DEVICE))


@needs_triton
@pytest.mark.parametrize("inner_tiles", INNER_TILES)
def test_triton_makes_4_bit_weights_plain(kernels, inner_tiles):
    weight = on_device(pack_int4(*stored(), inner_tiles))
    for part in (weight, weight.tile(8, 32)):
        found, wanted = kernels.dequantize(part, torch.float16), part.dequantized(torch.float16)
        assert torch.allclose(found, wanted, rtol=2e-3, atol=1e-4)
        assert torch.allclose(kernels.dequantize(part, torch.bfloat16).float(), wanted.float(), rtol=1e-2, atol=1e-2)


@needs_triton
@pytest.mark.parametrize(("rows", "block"), [(1, 16), (19, 16), (70, 64)])
def test_triton_multiplies_4_bit_weights(kernels, rows, block):
    weight, x = on_device(pack_int4(*stored(), 8)), torch.randn(rows, 256).half().to(DEVICE)
    found, wanted = kernels.multiply_int4(x, weight, block), exact_int4(x, weight)
    assert (found.float() - wanted).norm() <= 2e-3 * wanted.norm()


@needs_triton
@pytest.mark.parametrize("rows", [1, 70, 520])
@pytest.mark.parametrize("has_bias", [False, True])
def test_triton_rounds_and_multiplies_in_8_bits(kernels, rows, has_bias):
    layer, x = Int8Linear.of(nn.Linear(200, 72, bias=has_bias)).to(DEVICE), torch.randn(rows, 200).to(DEVICE)
    tokens, scales = kernels.quantize_rows(x, 1e-8)
    found = kernels.multiply_int8(tokens, scales, layer.weight_int8, layer.scales, layer.bias, torch.float32)
    assert torch.allclose(found, layer(x), atol=1e-2)


@needs_triton
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_triton_rounds_nothing_that_is_not_finite_to_a_number(kernels, value):
    layer, x = Int8Linear.of(nn.Linear(200, 72)).to(DEVICE), torch.ones(3, 200).to(DEVICE)
    x[1, 77] = value
    tokens, scales = kernels.quantize_rows(x, 1e-8)
    found = kernels.multiply_int8(tokens, scales, layer.weight_int8, layer.scales, layer.bias, torch.float32)
    assert not found[1].isfinite().any() and found[::2].isfinite().all()


# the choice


def candidates(**runs):
    return [Candidate(name, run, lambda problem: True) for name, run in runs.items()]


def right(x, weight):
    return x @ weight


class Scripted:
    """A clock that says what each candidate takes; the candidates are told apart by their run."""

    def __init__(self, **times):
        self.times, self.calls = times, []

    def __call__(self, work, device):
        rows = len(work.args[0])
        self.calls.append((work.func.__name__, rows))
        return self.times[work.func.__name__](rows)


def steady(x, weight):
    return x @ weight


def few(x, weight):
    return x @ weight


PROBLEM = Problem(CPU, torch.float32, 8, 64, 64)
WEIGHT = torch.randn(64, 8, generator=torch.Generator().manual_seed(3))


def test_each_count_of_rows_gets_the_quickest_once():
    clock = Scripted(few=lambda rows: 0.1 * rows, steady=lambda rows: 5.0)
    chooser = Chooser(candidates(few=few, steady=steady), right, clock)
    chosen = chooser.choose(PROBLEM, WEIGHT)
    assert chosen.names() == {rows: "few" if 0.1 * rows < 5 else "steady" for rows in BUCKETS}
    assert [chosen.for_rows(rows).name for rows in (2, 33, 5000)] == ["few", "steady", "steady"]
    assert ("few", 1024) not in clock.calls  # hopeless before
    count = len(clock.calls)
    assert chooser.choose(PROBLEM, WEIGHT) is chosen and len(clock.calls) == count


def test_slow_with_few_rows_is_not_given_up():
    clock = Scripted(few=lambda rows: 0.01 * rows, steady=lambda rows: 1.0 + 0.001 * rows)
    chosen = Chooser(candidates(few=few, steady=steady), right, clock).choose(PROBLEM, WEIGHT)
    assert chosen.for_rows(1).name == "few" and chosen.for_rows(1024).name == "steady"


def wrong(x, weight):
    return x @ weight + 1.0


def broken(x, weight):
    raise RuntimeError("no kernel image\nis available")


def test_wrong_and_broken_kernels_are_out_and_told():
    clock = Scripted(steady=lambda rows: 5.0)
    chooser = Chooser(candidates(wrong=wrong, broken=broken, steady=steady), right, clock)
    chosen = chooser.choose(PROBLEM, WEIGHT)
    assert set(chosen.names().values()) == {"steady"}
    assert "off by" in chosen.rejected["wrong"] and chosen.rejected["broken"] == "RuntimeError: no kernel image"
    with pytest.raises(BackendError, match="no kernel image"):
        Chooser(candidates(broken=broken), right, clock).choose(PROBLEM, WEIGHT)


def test_nothing_is_measured_while_a_graph_is_recorded(monkeypatch):
    monkeypatch.setattr(choice_module.torch.cuda, "is_current_stream_capturing", lambda: True)
    chooser = Chooser(candidates(steady=steady), right, Scripted())
    with pytest.raises(BackendError, match="while a CUDA graph is recorded"):
        chooser.choose(Problem(torch.device("cuda"), torch.float16, 8, 64, 64), WEIGHT)


def test_buckets():
    assert [bucket_of(rows) for rows in (1, 2, 4, 5, 1024, 9999)] == [0, 1, 1, 2, 8, 8]


# the layers


def kind(work):
    """The candidate's function, through the partials around it."""
    return getattr(work.func, "func", work.func)


def constant_clock(favoured):
    return lambda work, device: 1.0 if kind(work) is favoured else 2.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_a_4_bit_layer_is_replaced_by_one_of_the_same_result(dtype):
    torch.manual_seed(0)
    reference = quantize_linear(nn.Linear(256, 72), 64)
    model = nn.Sequential(reference)
    converter = GpuConverter(dtype, clock=constant_clock(run_dequantized))
    assert converter.convert(model) == 1 and isinstance(model[0], GpuInt4Linear) and quantized_as(model) == "w4a16"
    x = torch.randn(2, 3, 256).to(dtype)
    wanted = reference(x.float())
    assert model(x).shape == wanted.shape and (model(x).float() - wanted).norm() <= 0.01 * wanted.norm()
    assert torch.allclose(model[0].rows(torch.tensor([3, 71])), reference.rows(torch.tensor([3, 71])), atol=1e-2)
    assert set(converter.report()) == {"4 bits 72 x 256 / 64"}
    with pytest.raises(ValueError, match=r"expected torch\.\w+ \[\.\.\., 256\], got torch\.float16"):
        model(x.half())


@pytest.mark.parametrize(("favoured", "made"), [(run_int_mm, GpuInt8Linear), (run_plain, nn.Linear)])
@torch.inference_mode()
def test_an_8_bit_layer_stays_one_only_where_that_is_quicker(favoured, made):
    torch.manual_seed(0)
    reference = Int8Linear.of(nn.Linear(64, 48))
    model = nn.Sequential(reference)
    assert GpuConverter(torch.float32, clock=constant_clock(favoured)).convert(model) == 1
    assert type(model[0]) is made and quantized_as(model) == ("w8a8" if made is GpuInt8Linear else "")
    x = torch.randn(5, 64)
    assert (model(x) - reference(x)).norm() <= 0.02 * reference(x).norm()


def test_the_plain_weight_is_never_used_beside_the_8_bit_one():
    """It wins for one row, which does not make it the layer's: its memory would come on top."""
    times = {run_int_mm: lambda rows: 2.0, run_plain: lambda rows: 1.0 if rows == 1 else 9.0}
    model = nn.Sequential(Int8Linear.of(nn.Linear(64, 48)))
    GpuConverter(torch.float32, clock=lambda work, device: times[kind(work)](len(work.args[0]))).convert(model)
    assert set(model[0].choice.names().values()) == {"int_mm"}


def test_what_the_layout_does_not_hold_stays():
    model = nn.Sequential(quantize_linear(nn.Linear(48, 20), 16))
    assert GpuConverter(torch.float32).convert(model) == 0 and isinstance(model[0], QuantLinear)


def test_layers_of_one_size_are_measured_once():
    clock, count = constant_clock(run_dequantized), []
    model = nn.Sequential(*(quantize_linear(nn.Linear(64, 64), 32) for _ in range(3)))
    GpuConverter(torch.float32, clock=lambda *given: count.append(1) or clock(*given)).convert(model)
    assert len(count) == len(BUCKETS)


def small_decoder(group=32):
    torch.manual_seed(0)
    config = LanguageConfig(
        model_type="llama", vocab_size=64, hidden_size=64, intermediate_size=128, layers=2, heads=4, kv_heads=2,
        head_dim=16, eps=1e-6, rope_theta=1e4, max_positions=64, tied=False, qkv_bias=False, eos_token_ids=(),
    )  # fmt: skip
    model = LanguageModel(config).eval().requires_grad_(False)
    for owner in list(model.modules()):
        for name, child in list(owner.named_children()):
            if type(child) is nn.Linear:
                setattr(owner, name, quantize_linear(child, group))
    return model


@torch.inference_mode()
def test_a_converted_decoder_runs_on_static_buffers_without_measuring(monkeypatch):
    """What a graph would record: the same buffers, no clock, the head's rows included."""
    model, reference = small_decoder(), small_decoder()
    GpuConverter(torch.float32, clock=constant_clock(run_dequantized)).convert(model)
    monkeypatch.setattr(Chooser, "choose", lambda *given: pytest.fail("measured in a pass"))
    x = torch.randn(1, 5, 64)
    caches = [KVCache(model.config, 33, dtype=torch.float32, device="cpu") for _ in range(2)]
    static = StaticDecoder(model, caches[0], record=False)
    found = static(x, torch.arange(5), append(caches[0], 0, 5))
    wanted = reference(x, torch.arange(5), context=append(caches[1], 0, 5))
    assert (found - wanted).norm() <= 0.05 * wanted.norm()
    assert torch.allclose(model.head_rows(torch.tensor([1, 9])), reference.head_rows(torch.tensor([1, 9])), atol=1e-2)


# on a GPU


@needs_gpu
@pytest.mark.parametrize("inner_tiles", INNER_TILES)
def test_the_gpu_packs_as_we_do(inner_tiles):
    values = stored(16, 256)[0]
    octets = (values[:, 0::2] << 4 | values[:, 1::2]).cuda()
    assert torch.equal(
        torch.ops.aten._convert_weight_to_int4pack(octets, inner_tiles).cpu(), pack_tiles(values, inner_tiles)
    )


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("group", [32, 64, 128, 256])
@torch.inference_mode()
def test_every_kernel_of_the_gpu_gives_the_right_result(dtype, group):
    layer = quantize_linear(nn.Linear(512, 1024), group).cuda()
    converter = GpuConverter(dtype)
    model = nn.Sequential(layer)
    converter.convert(model)
    (chosen,) = converter.int4.choices.values()
    assert not chosen.rejected and "tinygemm" in chosen.times_ms[0]
    for rows in (1, 7, 64, 700):
        x = torch.randn(rows, 512).cuda().to(dtype)
        wanted = layer(x.float())
        for name in chosen.times_ms[0]:
            found = chosen.candidates[name].run(x, packed_weight(layer, 8)).float() + layer.bias
            assert (found - wanted).norm() <= 0.02 * wanted.norm(), name


@needs_gpu
@torch.inference_mode()
def test_a_recorded_decoder_says_what_the_reference_says():
    model, reference = (small_decoder().cuda().bfloat16() for _ in range(2))
    GpuConverter(torch.bfloat16).convert(model)
    caches = [KVCache(model.config, 33, dtype=torch.bfloat16, device="cuda") for _ in range(2)]
    recorded = StaticDecoder(model, caches[0], record=True)
    for start, count in ((0, 5), (5, 1), (6, 1)):
        x, positions = torch.randn(1, count, 64).cuda().bfloat16(), torch.arange(start, start + count).cuda()
        found = recorded(x, positions, append(caches[0], start, count))
        wanted = reference(x, positions, context=append(caches[1], start, count))
        assert (found - wanted).norm() <= 0.1 * wanted.norm()


def test_all_candidates_are_known_by_name():
    names = [candidate.name for candidate in (*int4_candidates(), *int8_candidates())]
    assert names == [
        "tinygemm", "fused-16", "fused-64", "dequantized-triton", "dequantized", "int_mm", "fused", "plain",
    ]  # fmt: skip
    assert Choice({}, (), {}).rejected == {}
