"""The operations between the products against the same in float64, no further off than torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vila_core.kernels.library import Kernels, kernels
from vila_core.kernels.operations import Operations, operations_for
from vila_core.models import functional

pytestmark = pytest.mark.skipif(kernels() is None, reason="no compiler")

SETS = ("scalar",) if kernels() is None else kernels().sets
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LIMITS = {torch.float32: 2e-6, torch.bfloat16: 4e-3}  # of an attention's relative error


@pytest.fixture(params=SETS)
def fast(request):
    return Operations(Kernels(kernels().file, request.param))


@pytest.fixture(params=TYPES)
def dtype(request):
    return TYPES[request.param]


def draw(*shape, seed=0, dtype):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def error(got, wanted):
    return float((got.double() - wanted).norm() / wanted.norm())


def is_close(got, torchs, wanted):
    """No further off than torch, or than some last places of float32."""
    return error(got, wanted) <= max(1.1 * error(torchs, wanted), 3e-7)


def test_gelu(fast, dtype):
    x = draw(3, 37, 16, dtype=dtype) * 6
    wanted = F.gelu(x.double(), approximate="tanh")
    assert is_close(fast.gelu(x), F.gelu(x, approximate="tanh"), wanted)


def test_extreme_values(fast, dtype):
    x = torch.tensor([0.0, -0.0, 1e-30, -1e-30, 80.0, -80.0, 3e4, -3e4] * 2).to(dtype)
    wide = x.double()
    assert torch.allclose(fast.gelu(x).double(), F.gelu(wide, approximate="tanh"), rtol=1e-2, atol=1e-30)
    assert torch.allclose(fast.silu_mul(x, x).double(), F.silu(wide) * wide, rtol=1e-2, atol=1e-28)


def test_silu_mul(fast, dtype):
    gate, up = draw(5, 48, seed=1, dtype=dtype) * 4, draw(5, 48, seed=2, dtype=dtype)
    wanted = F.silu(gate.double()) * up.double()
    assert is_close(fast.silu_mul(gate, up), F.silu(gate) * up, wanted)


@pytest.mark.parametrize("rows", [1, 7, 70])
def test_norms(fast, dtype, rows):
    x, weight, bias = (
        draw(1, rows, 144, dtype=dtype) + 1,
        draw(144, seed=1, dtype=dtype),
        draw(144, seed=2, dtype=dtype),
    )
    wanted = F.layer_norm(x.double(), (144,), weight.double(), bias.double(), 1e-6)
    assert is_close(fast.layer_norm(x, weight, bias, 1e-6), F.layer_norm(x, (144,), weight, bias, 1e-6), wanted)
    wide = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)
    wanted = weight.double() * wide.to(dtype).double()
    assert is_close(fast.rms_norm(x, weight, 1e-6), weight * wide.to(dtype), wanted)


def test_rotate(fast, dtype):
    heads = draw(1, 9, 4, 64, dtype=dtype).transpose(1, 2)
    angles = draw(9, 64, seed=3, dtype=torch.float32)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    wanted = functional.rotate(heads.double(), cos.double(), sin.double())
    assert error(fast.rotate(heads, cos, sin), wanted) <= LIMITS[dtype]


@pytest.mark.parametrize(
    ("heads", "kv_heads", "queries", "keys", "dim", "masked"),
    [
        (4, 4, 64, 64, 72, False),
        (2, 2, 4, 1, 2, False),
        (12, 2, 1, 1300, 128, False),
        (12, 2, 3, 1300, 128, True),
        (28, 4, 1, 701, 64, False),
        (4, 4, 2, 31, 32, True),
        (7, 1, 1, 1, 32, False),
        (12, 2, 9, 300, 128, True),
        (4, 2, 130, 131, 32, True),
        (3, 1, 5, 50, 20, True),
        (1, 1, 300, 1000, 80, False),
        (9, 9, 530, 70, 72, False),
        (20, 10, 261, 17, 36, False),
    ],
)
def test_attention(fast, dtype, heads, kv_heads, queries, keys, dim, masked):
    q = draw(2, queries, heads, dim, dtype=dtype).transpose(1, 2)
    k, v = (draw(2, kv_heads, keys + 3, dim, seed=s, dtype=dtype)[:, :, :keys] for s in (1, 2))
    mask = None
    if masked:
        mask = torch.zeros(queries, keys).masked_fill_(
            torch.ones(queries, keys, dtype=torch.bool).triu(keys - queries + 1), float("-inf")
        )
        mask = mask.to(dtype)
    exact = F.scaled_dot_product_attention(
        q.double(),
        k.double().repeat_interleave(heads // kv_heads, 1),
        v.double().repeat_interleave(heads // kv_heads, 1),
        attn_mask=None if mask is None else mask.double(),
    )
    got = fast.attend(q, k, v, mask)
    assert got.shape == q.shape and got.transpose(1, 2).is_contiguous()
    assert error(got, exact) <= LIMITS[dtype]


@pytest.mark.parametrize(
    ("heads", "kv_heads", "queries", "keys", "dim"),
    [(16, 16, 70, 300, 72), (2, 2, 4, 1, 2), (7, 1, 9, 33, 36), (4, 2, 130, 64, 256), (1, 1, 300, 31, 64)],
)
@pytest.mark.parametrize("shared", [0.0, 20.0])
def test_attention_of_queries_and_keys_in_8_bits(fast, dtype, heads, kv_heads, queries, keys, dim, shared):
    q = draw(1, queries, heads, dim, dtype=dtype).transpose(1, 2)
    k, v = (draw(1, kv_heads, keys, dim, seed=s, dtype=dtype) for s in (1, 2))
    alike = shared * draw(dim, seed=3, dtype=torch.float32)  # what all keys share tells none of them apart
    k = (k.float() + alike).to(dtype)
    exact = F.scaled_dot_product_attention(*(t.double() for t in (q, k, v)), enable_gqa=True)
    assert error(fast.attend(q, k, v, None, eight_bits=True), exact) <= 0.015


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("eight_bits", [False, True])
@pytest.mark.parametrize("queries", [2, 20])
def test_attention_keeps_what_is_not_finite(fast, dtype, queries, eight_bits, value):
    for bad in range(3):  # a channel of the queries, the keys, the values, as a bias of their linear gives it
        qkv = [draw(1, 2, queries, 64, seed=s, dtype=dtype) for s in range(3)]
        qkv[bad][..., 37] = value
        finite = fast.attend(*qkv, None, eight_bits=eight_bits).isfinite()
        assert finite.sum() == (2 * queries * 63 if bad == 2 else 0)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_other_operations_keep_what_is_not_finite(fast, dtype, value):
    x, weight = draw(3, 48, dtype=dtype), draw(48, seed=1, dtype=dtype)
    x[1, 17] = value
    for got in (fast.rms_norm(x, weight, 1e-6), fast.layer_norm(x, weight, weight, 1e-6)):
        assert not got[1, 17].isfinite() and got[::2].isfinite().all()
    if value != -torch.inf:
        assert (~fast.gelu(x).isfinite()).sum() == 1
    assert (~fast.silu_mul(torch.ones_like(x), x).isfinite()).sum() == 1


def test_attention_of_wider_heads_is_not_rounded(fast, dtype):
    q, k, v = (draw(1, 2, 20, 258, seed=s, dtype=dtype) for s in range(3))
    assert torch.equal(fast.attend(q, k, v, None, eight_bits=True), fast.attend(q, k, v, None))


@pytest.mark.parametrize(("heads", "kv_heads", "count", "dim"), [(4, 2, 64, 32), (3, 3, 37, 72), (6, 2, 130, 128)])
def test_causal_attention(fast, dtype, heads, kv_heads, count, dim):
    q = draw(1, count, heads, dim, dtype=dtype).transpose(1, 2)
    k, v = (draw(1, kv_heads, count, dim, seed=s, dtype=dtype) for s in (1, 2))
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), is_causal=True, enable_gqa=True)
    assert error(fast.attend(q, k, v, None, causal=True), exact) <= LIMITS[dtype]
    assert error(functional.attend(q, k, v, causal=True), exact) <= LIMITS[dtype]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_keys_of_a_few_queries_may_be_split(fast, dtype, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        q = draw(1, 3, 2, 64, dtype=dtype)
        k, v = (draw(1, 1, 900, 64, seed=seed, dtype=dtype) for seed in (1, 2))
        mask = torch.zeros(2, 900).to(dtype)
        mask[0, :600] = float("-inf")  # the first query sees nothing of some parts
        exact = F.scaled_dot_product_attention(
            q.double(), k.double().expand(1, 3, -1, -1), v.double().expand(1, 3, -1, -1), attn_mask=mask.double()
        )
        assert error(fast.attend(q, k, v, mask), exact) <= LIMITS[dtype]
    finally:
        torch.set_num_threads(before)


def test_attention_to_few_of_many_keys_is_sharp(fast, dtype):
    k = torch.eye(64).to(dtype)[None, None]
    q = k * 300  # the scores of all keys but one underflow
    v = draw(1, 1, 64, 64, dtype=dtype)
    assert torch.equal(fast.attend(q, k, v, None), v)


def test_what_they_do_not_take_is_left_to_torch(fast, dtype):
    q, k = draw(1, 2, 1, 40, dtype=dtype), draw(1, 2, 9, 40, dtype=dtype)
    assert fast.attend(q, k, k, None) is None
    assert fast.gelu(k[0, 0, 0, :5]) is None and fast.rms_norm(q, k[0, 0, 0], 1e-6) is None
    assert operations_for(torch.zeros(1, dtype=torch.float64)) is None
    assert operations_for(q, k.double()) is None
    assert operations_for(q, draw(4, dtype=dtype).requires_grad_()) is None
    assert operations_for(q, None) is not None
