"""Quantized weights of foreign checkpoints, brought to our one layout while they are read.

What a packing is follows from its tensors' names, dtypes and shapes; a file name says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vila_core.errors import CheckpointError
from vila_core.models.layouts import Json, Layout, Source, read_json_if_there
from vila_core.models.weights import AnyTensor, MadeTensor, read_tensor
from vila_core.quantization.formats.autoawq import unpack_gemm
from vila_core.quantization.formats.nibbles import pack_pairs
from vila_core.quantization.formats.tinychat import (
    padded_groups,
    unpack_v1,
    unpack_v1_scales,
    unpack_v2,
    unpack_v2_scales,
)

OWN_METHOD, OWN_VERSION = "vila-nav", 1
_DEFAULT_GROUP = 128
_LEAVES = ("qweight", "scales", "scaled_zeros", "qzeros")


def quantization_json(layout: Layout) -> Json:
    """Return the checkpoint's `quantization_config`, {} without one; AutoAWQ's older quant_config.json is one too."""
    for source in (layout.top, layout.language, Source(_dict(layout.top.raw.get("llm_cfg")), layout.top.file)):
        found = source.raw.get("quantization_config")
        if found:
            return _dict(found)
    old = read_json_if_there(layout.parts["llm"].folder / "quant_config.json")
    if not old:
        return {}
    group, bits = old.get("q_group_size", _DEFAULT_GROUP), old.get("w_bit", 4)
    return {"quant_method": "awq", "group_size": group, "bits": bits, "version": old.get("version", "gemm"), **old}


def stored_group_size(layout: Layout) -> int:
    """Group size of foreign quantized weights. Raises CheckpointError naming a method that is not supported."""
    raw, file = quantization_json(layout), layout.top.file
    method = raw.get("quant_method", "awq")
    if method == OWN_METHOD:
        if raw.get("version") != OWN_VERSION:
            raise CheckpointError(
                f"{file}: quantized by format version {raw.get('version')!r}; this release reads {OWN_VERSION}"
            )
        return _DEFAULT_GROUP
    version, bits = str(raw.get("version", "gemm")).lower(), raw.get("bits", raw.get("w_bit", 4))
    if method != "awq":
        raise CheckpointError(f"{file}: quant_method {method!r} is not supported; supported: {OWN_METHOD}, awq")
    if version not in ("gemm", "gemv_fast") or bits != 4 or not raw.get("zero_point", True):
        raise CheckpointError(
            f"{file}: awq version {version!r} with {bits} bits is not supported; supported: gemm or gemv_fast with "
            "4 bits and zero points"
        )
    return int(raw.get("group_size", _DEFAULT_GROUP))


def neutral_tensors(tensors: Sequence[AnyTensor], group_size: int) -> list[AnyTensor]:
    """Replace each foreign quantized weight by the three tensors of a QuantLinear, made when they are read.

    Raises CheckpointError naming a packing that is not known.
    """
    packed: dict[str, dict[str, AnyTensor]] = {}
    layers = {t.name.removesuffix(".qweight") for t in tensors if t.name.endswith(".qweight")}
    plain: list[AnyTensor] = []
    for tensor in tensors:
        layer, _, leaf = tensor.name.rpartition(".")
        if layer in layers and leaf in _LEAVES:
            packed.setdefault(layer, {})[leaf] = tensor
        elif leaf in _FOREIGN:
            raise CheckpointError(f"{tensor.file}: {tensor.name!r} is of {_FOREIGN[leaf]}, which is not supported")
        else:
            plain.append(tensor)
    return plain + [made for layer, parts in packed.items() for made in _neutral(layer, parts, group_size)]


_FOREIGN = {
    "g_idx": "GPTQ",
    "weight_packed": "compressed-tensors",
    "weight_scale": "compressed-tensors or FP8",
    "weight_scale_inv": "FP8",
    "absmax": "bitsandbytes",
    "SCB": "bitsandbytes",
    "B": "Marlin",
}


@dataclass(frozen=True, slots=True)
class _Packed:
    """A packed weight [rows, width]; kind: "v2" | "v1" | "gemm"."""

    kind: str
    rows: int
    width: int
    groups: int
    parts: Mapping[str, AnyTensor]

    def values(self) -> Tensor:
        """Neutral weight_int4 [N, K/2]."""
        unpack = {"v2": unpack_v2, "v1": unpack_v1, "gemm": unpack_gemm}[self.kind]
        return pack_pairs(unpack(_whole(self.parts["qweight"])))

    def scales(self) -> Tensor:
        """[N, G] float16."""
        return self._scales_and_zeros()[0].to(torch.float16)

    def zeros(self) -> Tensor:
        """[N, G] uint8."""
        return self._scales_and_zeros()[1]

    def _scales_and_zeros(self) -> tuple[Tensor, Tensor]:
        scales = _whole(self.parts["scales"])
        zeros = _whole(self.parts.get("scaled_zeros") or self.parts["qzeros"])
        if self.kind == "gemm":
            return scales.T.contiguous(), unpack_gemm(zeros)
        return (unpack_v2_scales if self.kind == "v2" else unpack_v1_scales)(scales, zeros, self.groups)


def _neutral(layer: str, parts: Mapping[str, AnyTensor], group_size: int) -> Iterator[MadeTensor]:
    packed, file = _recognised(layer, parts, group_size), parts["qweight"].file
    half = (packed.rows, packed.width // 2)
    grouped = (packed.rows, packed.groups)
    yield MadeTensor(file, f"{layer}.weight_int4", torch.uint8, half, packed.values)
    yield MadeTensor(file, f"{layer}.scales", torch.float16, grouped, packed.scales)
    yield MadeTensor(file, f"{layer}.zeros", torch.uint8, grouped, packed.zeros)


def _recognised(layer: str, parts: Mapping[str, AnyTensor], group_size: int) -> _Packed:
    weight, scales = parts["qweight"], parts.get("scales")
    zeros = parts.get("scaled_zeros") or parts.get("qzeros")
    if scales is not None and zeros is not None and len(weight.shape) == len(scales.shape) == len(zeros.shape) == 2:
        first, last = weight.shape
        if weight.dtype == torch.int16 and zeros.dtype.is_floating_point:
            found = _Packed("v2", 4 * first, last, last // group_size, parts)
            if scales.shape == zeros.shape == (padded_groups(found.groups), found.rows):
                return found
        if weight.dtype == torch.int32 and zeros.dtype == torch.int32:
            groups = 8 * last // group_size
            if scales.shape == (first, padded_groups(groups)):
                return _Packed("v1", first, 8 * last, groups, parts)
            if scales.shape == (first // group_size, 8 * last) and zeros.shape == (first // group_size, last):
                return _Packed("gemm", 8 * last, first, first // group_size, parts)
    shapes = ", ".join(f"{leaf} {part.dtype} {list(part.shape)}" for leaf, part in parts.items())
    raise CheckpointError(
        f"{weight.file}: {layer} is packed in a way that is not known ({shapes}; group size {group_size}); supported: "
        "TinyChat v1 and v2, AutoAWQ GEMM"
    )


def _whole(stored: AnyTensor) -> Tensor:
    return read_tensor(stored, torch.device("cpu"), stored.dtype)


def _dict(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
