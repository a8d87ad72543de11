"""Methods of multiplying by a 4-bit weight on a GPU.

tinygemm: torch's own kernel, bytes read once, quick for few rows. fused: the same in Triton, for some more rows.
dequantized: a tile of the weight made plain, then cuBLAS, tile after tile: for many rows, where arithmetic counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from vila_core.errors import ConfigError
from vila_core.quantization.gpu.choice import Candidate, Problem, has_triton, is_ampere
from vila_core.quantization.gpu.layout import Int4Weight, fits_tiles

_TILE_WEIGHTS = 1 << 24  # made plain at a time: 32 MB, which many GPUs keep in their cache until it is multiplied
_HALVES = (torch.bfloat16, torch.float16)
Dequantize = Callable[[Int4Weight, torch.dtype], Tensor]


def int4_candidates(*, fp16_accumulation: bool = False) -> tuple[Candidate[Int4Weight], ...]:
    """The table. fp16_accumulation: let cuBLAS add float16 products in float16, twice as quick on GeForce cards.

    Raises ConfigError if this torch cannot.
    """
    if fp16_accumulation and not hasattr(torch.backends.cuda.matmul, "allow_fp16_accumulation"):
        raise ConfigError(f"fp16_accumulation needs torch 2.7 or later, this is {torch.__version__}")
    return (
        Candidate("tinygemm", run_tinygemm, takes_tinygemm),
        *(Candidate(f"fused-{rows}", partial(_run_fused, block=rows), _takes_fused) for rows in (16, 64)),
        Candidate("dequantized-triton", _dequantized(_triton_tile, fp16_accumulation), _takes_triton),
        Candidate("dequantized", _dequantized(Int4Weight.dequantized, fp16_accumulation), lambda problem: True),
    )


def exact_int4(x: Tensor, weight: Int4Weight) -> Tensor:
    """The product in float32: what the candidates are held against."""
    return x.float() @ weight.dequantized(torch.float32).T


def run_tinygemm(x: Tensor, weight: Int4Weight) -> Tensor:
    """Multiply [M, K] in bfloat16, which float16 is rounded to."""
    out = torch.ops.aten._weight_int4pack_mm(
        x.to(torch.bfloat16).contiguous(), weight.packed, weight.group, weight.table
    )
    return out.to(x.dtype)


def run_dequantized(
    x: Tensor, weight: Int4Weight, *, dequantize: Dequantize = Int4Weight.dequantized, fp16_accumulation: bool = False
) -> Tensor:
    """Multiply [M, K] tile by tile: [M, N]."""
    step = max(8, _TILE_WEIGHTS // weight.inputs // 8 * 8)
    with accumulation(half=fp16_accumulation and x.dtype == torch.float16):
        parts = [
            F.linear(x, dequantize(weight.tile(at, min(at + step, weight.outputs)), x.dtype))
            for at in range(0, weight.outputs, step)
        ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


@contextmanager
def accumulation(*, half: bool) -> Iterator[None]:
    """While open, cuBLAS adds float16 products in float16, if half; a CUDA graph keeps what it was recorded with."""
    flags = torch.backends.cuda.matmul
    if not half:
        yield
        return
    before = flags.allow_fp16_accumulation
    flags.allow_fp16_accumulation = True
    try:
        yield
    finally:
        flags.allow_fp16_accumulation = before


def accumulation_error(x: Tensor, weight: Int4Weight) -> dict[str, float]:
    """Relative errors of x [M, K] float16 times W, with sums in float32 and in float16, against float64."""
    wanted = x.double() @ weight.dequantized(torch.float16).double().T
    errors = {}
    for name, half in (("float32", False), ("float16", True)):
        found = run_dequantized(x, weight, fp16_accumulation=half).double()
        errors[name] = float((found - wanted).norm() / wanted.norm())
    return errors


def _dequantized(dequantize: Dequantize, half: bool) -> Callable[[Tensor, Int4Weight], Tensor]:
    return partial(run_dequantized, dequantize=dequantize, fp16_accumulation=half)


def _triton_tile(weight: Int4Weight, dtype: torch.dtype) -> Tensor:
    from vila_core.quantization.gpu.triton_kernels import dequantize

    return dequantize(weight, dtype)


def _run_fused(x: Tensor, weight: Int4Weight, *, block: int) -> Tensor:
    from vila_core.quantization.gpu.triton_kernels import multiply_int4

    return multiply_int4(x, weight, block)


def takes_tinygemm(problem: Problem) -> bool:
    """Tell if torch's kernel takes the problem."""
    known = problem.dtype in _HALVES and is_ampere(problem.device)
    return known and fits_tiles(problem.outputs, problem.inputs, problem.group)


def _takes_triton(problem: Problem) -> bool:
    return has_triton(problem.device)


def _takes_fused(problem: Problem) -> bool:
    return problem.dtype in _HALVES and has_triton(problem.device)
