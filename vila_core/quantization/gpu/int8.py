"""Methods of multiplying by an 8-bit weight on a GPU, inputs rounded to 8 bits by token.

int_mm: torch's own operators; sums leave the kernel as 32 bits and are scaled afterwards. fused: scaled where they are
summed, in Triton. plain: the weight in the inputs' dtype; it takes twice the memory and is what the others must beat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from vila_core.quantization.gpu.choice import Candidate, Choice, Problem, has_triton
from vila_core.quantization.w8a8 import LEAST_SCALE, linear_w8a8

PLAIN = "plain"
_WIDTH = 8  # torch's product of bytes takes multiples of it
_WIDEST = 1 << 15  # inputs of a row that one Triton program rounds


@dataclass(frozen=True, slots=True, eq=False)
class Int8Weight:
    """W [N, K] = weight int8 * scales [N] float32. bias: [N] or None. plain: W in the dtype of the inputs, or None."""

    weight: Tensor
    scales: Tensor
    bias: Tensor | None = None
    plain: Tensor | None = None


def int8_candidates() -> tuple[Candidate[Int8Weight], ...]:
    """The table."""
    return (
        Candidate("int_mm", run_int_mm, _takes_int_mm),
        Candidate("fused", _run_fused, _takes_fused),
        Candidate(PLAIN, run_plain, lambda problem: True),
    )


def exact_int8(x: Tensor, weight: Int8Weight) -> Tensor:
    """The product in float32 with inputs that are not rounded."""
    bias = None if weight.bias is None else weight.bias.float()
    return F.linear(x.float(), weight.weight.float() * weight.scales[:, None], bias)


def run_int_mm(x: Tensor, weight: Int8Weight) -> Tensor:
    """Multiply [M, K]: [M, N] in x's dtype."""
    return linear_w8a8(x, weight.weight, weight.scales, weight.bias)


def run_plain(x: Tensor, weight: Int8Weight) -> Tensor:
    """Multiply [M, K] by the plain weight, made for this product if it is not there."""
    plain = (weight.weight * weight.scales[:, None]).to(x.dtype) if weight.plain is None else weight.plain
    return F.linear(x, plain, weight.bias)


def _run_fused(x: Tensor, weight: Int8Weight) -> Tensor:
    from vila_core.quantization.gpu.triton_kernels import multiply_int8, quantize_rows

    tokens, scales = quantize_rows(x, LEAST_SCALE)
    return multiply_int8(tokens, scales, weight.weight, weight.scales, weight.bias, x.dtype)


def plain_is_quicker(choice: Choice[Int8Weight]) -> bool:
    """Tell if the plain weight beats the best of the others in the mean over the buckets."""
    ratios = []
    for timed in choice.times_ms:
        others = [time for name, time in timed.items() if name != PLAIN]
        if PLAIN in timed and others:
            ratios.append(math.log(timed[PLAIN] / min(others)))
        elif others:
            ratios.append(math.inf)
    return not ratios or sum(ratios) < 0


def without_plain(choice: Choice[Int8Weight]) -> Choice[Int8Weight]:
    """The same measurements, of the 8-bit candidates alone; where all had been given up, those of fewer rows."""
    times: list[dict[str, float]] = []
    for timed in choice.times_ms:
        times.append({name: time for name, time in timed.items() if name != PLAIN} or times[-1])
    return Choice(choice.candidates, tuple(times), choice.rejected)


def _takes_int_mm(problem: Problem) -> bool:
    return not (problem.outputs % _WIDTH or problem.inputs % _WIDTH)


def _takes_fused(problem: Problem) -> bool:
    return has_triton(problem.device) and problem.inputs <= _WIDEST
