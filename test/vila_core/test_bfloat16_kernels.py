"""The bfloat16 kernels against the same operation in float64, no further off than torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vila_core.kernels.bfloat16 import for_tensor
from vila_core.models import functional

pytestmark = pytest.mark.skipif(
    for_tensor(torch.zeros(1, dtype=torch.bfloat16)) is None, reason="no compiler, or a processor without AVX-512 BF16"
)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


@pytest.fixture
def fast():
    return for_tensor(draw(1))


def error(got, wanted):
    return float((got.double() - wanted).norm() / wanted.norm())


def test_gelu(fast):
    x = draw(3, 37, 16) * 6
    wanted = F.gelu(x.double(), approximate="tanh")
    assert error(fast.gelu(x), wanted) <= 1.1 * error(F.gelu(x, approximate="tanh"), wanted)


def test_extreme_values(fast):
    x = torch.tensor([0.0, -0.0, 1e-30, -1e-30, 80.0, -80.0, 3e4, -3e4] * 2).bfloat16()
    assert torch.allclose(fast.gelu(x).float(), F.gelu(x.float(), approximate="tanh"), rtol=1e-2, atol=1e-30)
    assert torch.allclose(fast.silu_mul(x, x).float(), F.silu(x.float()) * x.float(), rtol=1e-2, atol=1e-28)


def test_silu_mul(fast):
    gate, up = draw(5, 48, seed=1) * 4, draw(5, 48, seed=2)
    wanted = F.silu(gate.double()) * up.double()
    assert error(fast.silu_mul(gate, up), wanted) <= error(F.silu(gate) * up, wanted)


@pytest.mark.parametrize("rows", [1, 7])
def test_norms(fast, rows):
    x, weight, bias = draw(1, rows, 144) + 1, draw(144, seed=1), draw(144, seed=2)
    wanted = F.layer_norm(x.double(), (144,), weight.double(), bias.double(), 1e-6)
    assert error(fast.layer_norm(x, weight, bias, 1e-6), wanted) <= 1.05 * error(
        F.layer_norm(x, (144,), weight, bias, 1e-6), wanted
    )
    wide = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)
    assert torch.equal(fast.rms_norm(x, weight, 1e-6), weight * wide.bfloat16())


def test_rotate(fast):
    heads = draw(1, 9, 4, 64).transpose(1, 2)
    angles = torch.randn(9, 64, generator=torch.Generator().manual_seed(3))
    cos, sin = angles.cos().bfloat16(), angles.sin().bfloat16()
    wanted = functional.rotate(heads.double(), cos.double(), sin.double())
    assert error(fast.rotate(heads, cos, sin), wanted) <= 3e-3


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
def test_attention(fast, heads, kv_heads, queries, keys, dim, masked):
    q = draw(2, queries, heads, dim).transpose(1, 2)
    k, v = (draw(2, kv_heads, keys + 3, dim, seed=s)[:, :, :keys] for s in (1, 2))
    mask = None
    if masked:
        mask = torch.zeros(queries, keys).masked_fill_(
            torch.ones(queries, keys, dtype=torch.bool).triu(keys - queries + 1), float("-inf")
        )
        mask = mask.bfloat16()
    exact = F.scaled_dot_product_attention(
        q.double(),
        k.double().repeat_interleave(heads // kv_heads, 1),
        v.double().repeat_interleave(heads // kv_heads, 1),
        attn_mask=None if mask is None else mask.double(),
    )
    got = fast.attend(q, k, v, mask)
    assert got.shape == q.shape and got.transpose(1, 2).is_contiguous()
    assert error(got, exact) <= 4e-3


@pytest.mark.parametrize(
    ("heads", "kv_heads", "queries", "keys", "dim"),
    [(16, 16, 70, 300, 72), (2, 2, 4, 1, 2), (7, 1, 9, 33, 36), (4, 2, 130, 64, 256), (1, 1, 300, 31, 64)],
)
@pytest.mark.parametrize("shared", [0.0, 20.0])
def test_attention_of_queries_and_keys_in_8_bits(fast, heads, kv_heads, queries, keys, dim, shared):
    q = draw(1, queries, heads, dim).transpose(1, 2)
    k, v = (draw(1, kv_heads, keys, dim, seed=s) for s in (1, 2))
    k = (k.float() + shared * draw(dim, seed=3).float()).bfloat16()  # what all keys share tells none of them apart
    exact = F.scaled_dot_product_attention(*(t.double() for t in (q, k, v)), enable_gqa=True)
    assert error(fast.attend(q, k, v, None, eight_bits=True), exact) <= 0.015


def test_attention_of_wider_heads_stays_in_bfloat16(fast):
    q, k, v = (draw(1, 2, 20, 258, seed=s) for s in range(3))
    assert torch.equal(fast.attend(q, k, v, None, eight_bits=True), fast.attend(q, k, v, None))


@pytest.mark.parametrize(("heads", "kv_heads", "count", "dim"), [(4, 2, 64, 32), (3, 3, 37, 72), (6, 2, 130, 128)])
def test_causal_attention(fast, heads, kv_heads, count, dim):
    q = draw(1, count, heads, dim).transpose(1, 2)
    k, v = (draw(1, kv_heads, count, dim, seed=s) for s in (1, 2))
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), is_causal=True, enable_gqa=True)
    assert error(fast.attend(q, k, v, None, causal=True), exact) <= 4e-3
    assert error(functional.attend(q, k, v, causal=True), exact) <= 4e-3


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_keys_of_a_few_queries_may_be_split(fast, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        q, k, v = draw(1, 3, 2, 64), draw(1, 1, 900, 64, seed=1), draw(1, 1, 900, 64, seed=2)
        mask = torch.zeros(2, 900).bfloat16()
        mask[0, :600] = float("-inf")  # the first query sees nothing of some parts
        exact = F.scaled_dot_product_attention(
            q.double(), k.double().expand(1, 3, -1, -1), v.double().expand(1, 3, -1, -1), attn_mask=mask.double()
        )
        assert error(fast.attend(q, k, v, mask), exact) <= 4e-3
    finally:
        torch.set_num_threads(before)


def test_attention_to_few_of_many_keys_is_sharp(fast):
    k = torch.eye(64).bfloat16()[None, None]
    q = k * 300  # the scores of all keys but one underflow
    v = draw(1, 1, 64, 64)
    assert torch.equal(fast.attend(q, k, v, None), v)


def test_what_they_do_not_take_is_left_to_torch(fast):
    assert fast.attend(draw(1, 2, 1, 40), draw(1, 2, 9, 40), draw(1, 2, 9, 40), None) is None
    assert fast.gelu(draw(5)) is None and fast.rms_norm(draw(1, 20), draw(20), 1e-6) is None
    assert for_tensor(torch.zeros(1)) is None
    assert for_tensor(draw(4).requires_grad_()) is None
