"""Kernels in Triton, which torch for CUDA brings: 4-bit weights made plain or multiplied, 8-bit products with scales.

Imported only where Triton is installed; torch's own operators do the same in more passes over memory. The functions
raise RuntimeError where Triton cannot compile for the device.
"""

# mypy: disable-error-code="no-untyped-def"
# Triton reads the functions' source: constants are arguments, and annotations say which are known when it compiles.

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.errors import TritonError

from vila_core.quantization.gpu.layout import MIDDLE, Int4Weight

_BLOCK_INPUTS = 64


@triton.jit
def _int4_tile(packed, table, rows, columns, outputs, inputs, group: tl.constexpr, pairs: tl.constexpr, middle):
    """W [rows, columns] in float32; see layout.py for where a value lies."""
    inside = (rows[:, None] < outputs) & (columns[None, :] < inputs)
    within = columns % 32
    nibble = within // 8 + 4 * (within % 2)
    pair = columns // 32
    tile = (rows // 8)[:, None] * (inputs // (32 * pairs)) + (pair // pairs)[None, :]
    lane = (rows % 8)[:, None] * 4 + (within // 2 % 4)[None, :]
    words = tl.load(packed + (tile * 32 + lane) * pairs + (pair % pairs)[None, :], mask=inside, other=0)
    values = ((words >> (4 * nibble)[None, :]) & 15).to(tl.float32) - middle
    entry = table + 2 * ((columns // group)[None, :] * outputs + rows[:, None])
    scale = tl.load(entry, mask=inside, other=0.0).to(tl.float32)
    zero = tl.load(entry + 1, mask=inside, other=0.0).to(tl.float32)
    return values * scale + zero


@triton.jit
def _dequantize_int4(
    packed, table, out, outputs, inputs, group: tl.constexpr, pairs: tl.constexpr, middle,
    block_rows: tl.constexpr, block_columns: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * block_rows + tl.arange(0, block_rows)
    columns = tl.program_id(1) * block_columns + tl.arange(0, block_columns)
    values = _int4_tile(packed, table, rows, columns, outputs, inputs, group, pairs, middle)
    inside = (rows[:, None] < outputs) & (columns[None, :] < inputs)
    tl.store(out + rows[:, None] * inputs + columns[None, :], values.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _multiply_int4(
    x, packed, table, out, count, outputs, inputs, group: tl.constexpr, pairs: tl.constexpr, middle,
    block_tokens: tl.constexpr, block_rows: tl.constexpr, block_columns: tl.constexpr,
):  # fmt: skip
    tokens = tl.program_id(0) * block_tokens + tl.arange(0, block_tokens)
    rows = tl.program_id(1) * block_rows + tl.arange(0, block_rows)
    total = tl.zeros((block_tokens, block_rows), dtype=tl.float32)
    for start in range(0, inputs, block_columns):
        columns = start + tl.arange(0, block_columns)
        known = (tokens[:, None] < count) & (columns[None, :] < inputs)
        factor = tl.load(x + tokens[:, None] * inputs + columns[None, :], mask=known, other=0.0)
        weight = _int4_tile(packed, table, rows, columns, outputs, inputs, group, pairs, middle)
        total = tl.dot(factor, tl.trans(weight.to(factor.dtype)), total)
    inside = (tokens[:, None] < count) & (rows[None, :] < outputs)
    tl.store(out + tokens[:, None] * outputs + rows[None, :], total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _quantize_rows(x, out, scales, width, least, block: tl.constexpr):
    row = tl.program_id(0)
    columns = tl.arange(0, block)
    values = tl.load(x + row * width + columns, mask=columns < width, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(values), axis=0) / 127.0, least)
    scale += tl.sum(values * 0.0, axis=0)  # NaN if any value is: a maximum passes over it
    steps = values / scale
    rounded = tl.where(steps < 0, steps - 0.5, steps + 0.5)  # the conversion cuts towards zero
    tl.store(out + row * width + columns, rounded.to(tl.int8), mask=columns < width)
    tl.store(scales + row, scale)


@triton.jit
def _multiply_int8(
    x, x_scales, weight, weight_scales, bias, out, count, outputs, inputs, has_bias: tl.constexpr,
    block_tokens: tl.constexpr, block_rows: tl.constexpr, block_columns: tl.constexpr, group_tokens: tl.constexpr,
):  # fmt: skip
    across, down = tl.cdiv(outputs, block_rows), tl.cdiv(count, block_tokens)
    # neighbours in time share their weights, so that these stay in the cache
    first = tl.program_id(0) // (group_tokens * across) * group_tokens
    height = tl.minimum(down - first, group_tokens)
    place = tl.program_id(0) % (group_tokens * across)
    tokens = (first + place % height) * block_tokens + tl.arange(0, block_tokens)
    rows = place // height * block_rows + tl.arange(0, block_rows)
    total = tl.zeros((block_tokens, block_rows), dtype=tl.int32)
    for start in range(0, inputs, block_columns):
        columns = start + tl.arange(0, block_columns)
        inside = columns < inputs
        left = tl.load(x + tokens[:, None] * inputs + columns[None, :],
                       mask=(tokens[:, None] < count) & inside[None, :], other=0)  # fmt: skip
        right = tl.load(weight + rows[None, :] * inputs + columns[:, None],
                        mask=(rows[None, :] < outputs) & inside[:, None], other=0)  # fmt: skip
        total = tl.dot(left, right, total)
    token_scale = tl.load(x_scales + tokens, mask=tokens < count, other=0.0)
    row_scale = tl.load(weight_scales + rows, mask=rows < outputs, other=0.0)
    result = total.to(tl.float32) * token_scale[:, None] * row_scale[None, :]
    if has_bias:
        result += tl.load(bias + rows, mask=rows < outputs, other=0.0).to(tl.float32)[None, :]
    inside_out = (tokens[:, None] < count) & (rows[None, :] < outputs)
    tl.store(out + tokens[:, None] * outputs + rows[None, :], result.to(out.dtype.element_ty), mask=inside_out)


def dequantize(weight: Int4Weight, dtype: torch.dtype) -> Tensor:
    """W [N, K]; weight.table: any strides of a tile of outputs."""
    out = torch.empty(weight.outputs, weight.inputs, dtype=dtype, device=weight.packed.device)
    rows, columns = 16, 128
    grid = (triton.cdiv(weight.outputs, rows), triton.cdiv(weight.inputs, columns))
    with _compiled():
        _dequantize_int4[grid](
            weight.packed, weight.table.contiguous(), out, *_sizes(weight), block_rows=rows, block_columns=columns
        )
    return out


def multiply_int4(x: Tensor, weight: Int4Weight, block_tokens: int) -> Tensor:
    """Multiply x [M, K] by W: [M, N]; block_tokens: rows of x to a program, 16 at least."""
    out = torch.empty(len(x), weight.outputs, dtype=x.dtype, device=x.device)
    rows = 64
    grid = (triton.cdiv(len(x), block_tokens), triton.cdiv(weight.outputs, rows))
    with _compiled():
        _multiply_int4[grid](
            x.contiguous(),
            weight.packed,
            weight.table,
            out,
            len(x),
            *_sizes(weight),
            block_tokens=block_tokens,
            block_rows=rows,
            block_columns=_BLOCK_INPUTS,
        )
    return out


def quantize_rows(x: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Activations [M, K] -> int8 [M, K] and scales [M] float32, `least` at least."""
    x = x.contiguous()
    out = torch.empty(x.shape, dtype=torch.int8, device=x.device)
    scales = torch.empty(len(x), dtype=torch.float32, device=x.device)
    with _compiled():
        _quantize_rows[(len(x),)](x, out, scales, x.shape[1], least, block=triton.next_power_of_2(x.shape[1]))
    return out, scales


def multiply_int8(
    x: Tensor, x_scales: Tensor, weight: Tensor, weight_scales: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """int8 [M, K] x int8 [N, K], scales [M] and [N] float32, bias [N] or None -> [M, N] of dtype."""
    (count, inputs), outputs = x.shape, len(weight)
    out = torch.empty(count, outputs, dtype=dtype, device=x.device)
    tokens, rows = (128, 128) if count >= 512 else (64, 64)
    grid = (triton.cdiv(count, tokens) * triton.cdiv(outputs, rows),)
    with _compiled():
        _multiply_int8[grid](
            x,
            x_scales,
            weight,
            weight_scales,
            weight_scales if bias is None else bias,
            out,
            count,
            outputs,
            inputs,
            has_bias=bias is not None,
            block_tokens=tokens,
            block_rows=rows,
            block_columns=64,
            group_tokens=8,
            num_warps=8 if tokens == 128 else 4,
            num_stages=4,
        )
    return out


@contextmanager
def _compiled() -> Iterator[None]:
    try:
        yield
    except TritonError as err:
        raise RuntimeError(f"Triton: {err}") from err


def _sizes(weight: Int4Weight) -> tuple[int, int, int, int, float]:
    return weight.outputs, weight.inputs, weight.group, weight.packed.shape[3], float(MIDDLE)
