"""Cases of reference data of quantization: rounding, packings, SmoothQuant, W8A8; AWQ's searches are in awq_search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from vila_core.quantization.formats.autoawq import pack_exllama, pack_gemm, unpack_gemm
from vila_core.quantization.formats.tinychat import (
    pack_v2,
    pack_v2_scales,
    unpack_v1,
    unpack_v1_scales,
    unpack_v2,
    unpack_v2_scales,
)
from vila_core.quantization.groupwise import GroupQuantized, dequantize_groups, pseudo_quantize, quantize_groups
from vila_core.quantization.w8a8 import quantize_rows
from vila_core.quantization.w8a8_layer import smooth
from vila_tools.parity.awq_search import SEARCH_META, search_cases
from vila_tools.parity.case import Case, Check, few_ulps, near, read_tensors

Tensors = Mapping[str, Tensor]

QUANTIZATION_PARTS = (
    "pseudo_quant.safetensors",
    "pack_v2.safetensors",
    "autoawq_pack.safetensors",
    "smooth_w8a8.safetensors",
    SEARCH_META,
)
_BITS, _GROUP = 4, 128  # of the packings stored


def quantization_cases(folder: Path) -> Iterator[Case]:
    """Yield the cases of those files that are there."""
    makers = {
        "pseudo_quant.safetensors": _rounding_cases,
        "pack_v2.safetensors": _tinychat_cases,
        "autoawq_pack.safetensors": _autoawq_cases,
        "smooth_w8a8.safetensors": _w8a8_cases,
    }
    for name, make in makers.items():
        if (folder / name).is_file():
            yield from make(read_tensors(folder / name))
    yield from search_cases(folder)


def _rounding_cases(tensors: Tensors) -> Iterator[Case]:
    for key in tensors:
        if key.endswith(".wq"):
            yield Case("quantization rounding", key[:-3], partial(_rounding_checks, tensors, key[:-3]))


def _rounding_checks(tensors: Tensors, key: str) -> Iterator[Check]:
    dtype, bits, group = key.split(".")
    weight, settings = tensors[f"{dtype}.w"], (int(bits[1:]), int(group[1:]))
    found = quantize_groups(weight, *settings)
    yield few_ulps("pseudo-quantized", pseudo_quantize(weight, *settings), tensors[f"{key}.wq"])
    yield few_ulps("dequantized", dequantize_groups(found), tensors[f"{key}.wq"])
    yield few_ulps("scales", found.scales, tensors[f"{key}.scales"])
    yield near("zeros", found.zeros, tensors[f"{key}.zeros"], 0.0)


def _tinychat_cases(tensors: Tensors) -> Iterator[Case]:
    if "tiny.intweight" in tensors:
        yield Case("quantization packing", "TinyChat v2 tiny", partial(_tiny_checks, tensors))
    for key in tensors:
        if key.endswith(".group_scales"):
            name = key.removesuffix(".group_scales")
            yield Case("quantization packing", f"TinyChat v2 {name}", partial(_v2_checks, tensors, name))
    if "v1.qweight" in tensors:
        yield Case("quantization packing", "TinyChat v1 to v2", partial(_v1_checks, tensors))


def _tiny_checks(tensors: Tensors) -> Iterator[Check]:
    values = tensors["tiny.intweight"].to(torch.uint8)
    yield near("qweight", pack_v2(values), tensors["tiny.qweight"], 0.0)
    yield near("unpacked", unpack_v2(tensors["tiny.qweight"]), values, 0.0)


def _v2_checks(tensors: Tensors, name: str) -> Iterator[Check]:
    found = quantize_groups(tensors[f"{name}.weight"], _BITS, _GROUP)
    yield from _group_checks(found, tensors, name)
    scales, zeros = pack_v2_scales(found.scales, found.zeros)
    yield near("qweight", pack_v2(found.values), tensors[f"{name}.qweight"], 0.0)
    yield few_ulps("stored scales", scales, tensors[f"{name}.scales"])
    yield few_ulps("scaled zeros", zeros, tensors[f"{name}.scaled_zeros"])
    stored = (tensors[f"{name}.scales"], tensors[f"{name}.scaled_zeros"])
    back = GroupQuantized(
        unpack_v2(tensors[f"{name}.qweight"]), *unpack_v2_scales(*stored, tensors[f"{name}.group_scales"].shape[1])
    )
    yield few_ulps("unpacked", dequantize_groups(back), tensors[f"{name}.wq"])


def _v1_checks(tensors: Tensors) -> Iterator[Check]:
    values = unpack_v1(tensors["v1.qweight"])
    scales, zeros = unpack_v1_scales(tensors["v1.scales"], tensors["v1.qzeros"], tensors["v1.scales"].shape[1])
    stored, scaled = pack_v2_scales(scales, zeros)
    yield near("unpacked", values, tensors["v1.unpacked"], 0.0)
    yield near("qweight", pack_v2(values), tensors["v1to2.qweight"], 0.0)
    yield few_ulps("stored scales", stored, tensors["v1to2.scales"])
    yield few_ulps("scaled zeros", scaled, tensors["v1to2.scaled_zeros"])


def _group_checks(found: GroupQuantized, tensors: Tensors, name: str) -> Iterator[Check]:
    yield few_ulps("pseudo-quantized", dequantize_groups(found), tensors[f"{name}.wq"])
    yield few_ulps("group scales", found.scales, tensors[f"{name}.group_scales"])
    yield near("group zeros", found.zeros, tensors[f"{name}.group_zeros"], 0.0)


def _autoawq_cases(tensors: Tensors) -> Iterator[Case]:
    for key in tensors:
        if key.endswith(".group_scales"):
            name = key.removesuffix(".group_scales")
            yield Case("quantization packing", f"AutoAWQ {name}", partial(_autoawq_checks, tensors, name))


def _autoawq_checks(tensors: Tensors, name: str) -> Iterator[Check]:
    found = quantize_groups(tensors[f"{name}.weight"], _BITS, _GROUP)
    yield from _group_checks(found, tensors, name)
    gemm = f"{name}.gemm"
    yield near("gemm qweight", pack_gemm(found.values), tensors[f"{gemm}.qweight"], 0.0)
    yield near("gemm qzeros", pack_gemm(found.zeros), tensors[f"{gemm}.qzeros"], 0.0)
    yield few_ulps("gemm scales", found.scales.T, tensors[f"{gemm}.scales"])
    back = GroupQuantized(
        unpack_gemm(tensors[f"{gemm}.qweight"]), tensors[f"{gemm}.scales"].T, unpack_gemm(tensors[f"{gemm}.qzeros"])
    )
    yield few_ulps("gemm dequantized", dequantize_groups(back).T, tensors[f"{gemm}.dequant"])
    qweight, qzeros = pack_exllama(found)
    yield near("exllama qweight", qweight, tensors[f"{name}.exllama.qweight"], 0.0)
    yield near("exllama qzeros", qzeros, tensors[f"{name}.exllama.qzeros"], 0.0)
    scales, zeros = pack_v2_scales(found.scales, found.zeros)
    yield near("gemv fast qweight", pack_v2(found.values), tensors[f"{name}.gemv_fast.qweight"], 0.0)
    yield few_ulps("gemv fast scales", scales, tensors[f"{name}.gemv_fast.scales"])
    yield few_ulps("gemv fast qzeros", zeros, tensors[f"{name}.gemv_fast.qzeros"])


def _w8a8_cases(tensors: Tensors) -> Iterator[Case]:
    for key in tensors:
        if key.endswith(".ln.weight") and ".a" in key:
            alpha = key.removeprefix("sq.a").removesuffix(".ln.weight")
            yield Case("quantization w8a8", f"smooth {alpha}", partial(_smooth_checks, tensors, alpha))
    if "w8.fc.weight" in tensors:
        yield Case("quantization w8a8", "linear", partial(_rows_checks, tensors, "fc", 1))
        yield Case("quantization w8a8", "qkv", partial(_rows_checks, tensors, "qkv", 3))


def _smooth_checks(tensors: Tensors, alpha: str) -> Iterator[Check]:
    width = len(tensors["sq.ln.weight"])
    norm = nn.LayerNorm(width).requires_grad_(False)
    norm.load_state_dict({leaf: tensors[f"sq.ln.{leaf}"] for leaf in ("weight", "bias")})
    names = sorted(key.split(".")[1] for key in tensors if key.startswith("sq.fc"))
    linears = [nn.Linear(width, len(tensors[f"sq.{name}.weight"]), bias=False).requires_grad_(False) for name in names]
    for name, linear in zip(names, linears, strict=True):
        linear.weight.copy_(tensors[f"sq.{name}.weight"])
    smooth(norm, linears, tensors["sq.act_scales"], float(alpha))
    for leaf in ("weight", "bias"):
        yield few_ulps(f"norm {leaf}", getattr(norm, leaf), tensors[f"sq.a{alpha}.ln.{leaf}"])
    for name, linear in zip(names, linears, strict=True):
        yield few_ulps("weight", linear.weight, tensors[f"sq.a{alpha}.{name}.weight"])


def _rows_checks(tensors: Tensors, name: str, count: int) -> Iterator[Check]:
    weight, scales = quantize_rows(torch.cat([tensors[f"w8.lin{number}.weight"] for number in range(count)]))
    yield near("weight", weight, tensors[f"w8.{name}.weight"], 0.0)
    yield few_ulps("scales", scales, tensors[f"w8.{name}.dequant_scale"])
