"""AutoAWQ's packings: GEMM, which is Hugging Face's `awq`, and what its ExLlama path makes of it.

Source: casper-hansen/AutoAWQ, awq/modules/linear and awq/utils/packing_utils.py.
"""

from __future__ import annotations

from torch import Tensor

from vila_core.quantization.formats.nibbles import pack_int32, unpack_int32
from vila_core.quantization.groupwise import GroupQuantized

GEMM_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def pack_gemm(values: Tensor) -> Tensor:
    """Values [N, K] or zeros [N, G] uint8 -> qweight [K, N/8] or qzeros [G, N/8] int32."""
    return pack_int32(values.T, GEMM_ORDER)


def unpack_gemm(packed: Tensor) -> Tensor:
    """Undo pack_gemm: qweight [K, N/8] or qzeros [G, N/8] int32 -> [N, K] or [N, G] uint8."""
    return unpack_int32(packed, GEMM_ORDER).T.contiguous()


def pack_exllama(quantized: GroupQuantized) -> tuple[Tensor, Tensor]:
    """Return qweight [K/8, N] int32, in order along K, and qzeros [G, N/8] int32, one less than they are."""
    qweight = pack_int32(quantized.values).T.contiguous()
    return qweight, pack_int32(((quantized.zeros.T.int() - 1) & 15).to(quantized.zeros.dtype))
