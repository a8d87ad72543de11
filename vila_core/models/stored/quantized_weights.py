"""Quantized weights of foreign checkpoints, brought to our one layout while they are read.

What a packing is follows from its tensors' names, dtypes and shapes; a file name says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vila_core.errors import CheckpointError
from vila_core.files.json_object import JsonObject, show
from vila_core.models.stored.layouts import Layout, read_json_if_there
from vila_core.models.stored.weights import AnyTensor, MadeTensor, folder_tensors, read_tensor
from vila_core.quantization.formats.autoawq import unpack_gemm
from vila_core.quantization.formats.nibbles import PER_INT32, pack_pairs
from vila_core.quantization.formats.tinychat import (
    STRIDE,
    padded_groups,
    unpack_v1,
    unpack_v1_scales,
    unpack_v2,
    unpack_v2_scales,
)

OWN_METHOD, OWN_VERSION = "vila-nav", 1
_DEFAULT_GROUP, _WHOLE_ROW = 128, -1
_MOST_GROUP = 1 << 20
_LEAVES = ("qweight", "scales", "scaled_zeros", "qzeros")


def quantization_json(layout: Layout) -> JsonObject:
    """Return the checkpoint's `quantization_config`, an empty object without one.

    AutoAWQ's older quant_config.json is one too. Raises CheckpointError for one that is no object.
    """
    old_place = layout.top.raw.get("llm_cfg")
    nested = layout.top.object("llm_cfg") if isinstance(old_place, dict) else JsonObject({}, layout.top.file)
    for source in (layout.top, layout.language, nested):
        found = source.object(_KEY, {})
        if found.raw:
            return found
    old = read_json_if_there(layout.parts["llm"].folder / "quant_config.json")
    if not old.raw:
        return JsonObject({}, layout.top.file, _KEY)
    return JsonObject({"quant_method": "awq", **old.raw}, old.file)


_KEY = "quantization_config"


def stored_group_size(layout: Layout) -> int:
    """Group size of foreign quantized weights. Raises CheckpointError naming a method that is not supported."""
    given = quantization_json(layout)
    method = given.choice("quant_method", (OWN_METHOD, "awq"), "awq")
    if method == OWN_METHOD:
        if given.raw.get("version") != OWN_VERSION:
            raise CheckpointError(
                f"{given.file}: quantized by format version {show(given.raw.get('version'))}; this release reads "
                f"{OWN_VERSION}"
            )
        return _DEFAULT_GROUP
    version = given.text("version" if given.has("version") else "format", "gemm").lower()
    bits = given.integer("w_bit" if given.has("w_bit") else "bits", 4)
    zero_point = given.flag("zero_point", True)
    but = "" if zero_point else ", zero_point false"
    if version not in ("gemm", "gemv_fast") or bits != 4 or not zero_point:
        raise CheckpointError(
            f"{given.file}: awq version {show(version)} with {bits} bits{but} is not "
            "supported; supported: gemm or gemv_fast with 4 bits and zero points"
        )
    key = "q_group_size" if given.has("q_group_size") else "group_size"
    group_size = given.integer(key, _DEFAULT_GROUP, least=_WHOLE_ROW, most=_MOST_GROUP)
    if group_size == 0 or (key in given.raw and not given.has(key)):
        raise given.wrong(key, "a whole number of at least 1, or -1 for whole rows")
    return group_size


def stored_quantization(layout: Layout) -> dict[str, Any]:
    """What of the parts is stored in 4 or 8 bits, in megabytes, by the headers of their files; {} if nothing is.

    Parts whose files are missing are left out: the rest can be told without weights. Raises CheckpointError for a
    quantization that is not supported.
    """
    group_size, found = stored_group_size(layout), {}
    for part, place in layout.parts.items():
        if not any(place.folder.glob("*.safetensors*")) and not any(place.folder.glob("*.pt")):
            continue
        tensors = [
            t for t in neutral_tensors(folder_tensors(place.folder), group_size) if t.name.startswith(place.prefix)
        ]
        kinds = {_KINDS[leaf] for t in tensors if (leaf := t.name.rpartition(".")[2]) in _KINDS}
        if kinds:
            size = sum(math.prod(t.shape) * t.dtype.itemsize for t in tensors)
            found[part] = {"precision": " and ".join(sorted(kinds)), "mb": round(size / 1e6, 2)}
    return found


_KINDS = {"weight_int4": "w4a16", "weight_int8": "w8a8"}


def require_plain(layout: Layout) -> None:
    """Raise CheckpointError for a checkpoint of which anything is quantized."""
    if quantization_json(layout).raw or stored_quantization(layout):
        raise CheckpointError(f"{layout.root} is quantized already; give the checkpoint that it was made of")


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
    "weight_zero_point": "compressed-tensors",
    "weight_scale": "compressed-tensors or FP8",
    "weight_scale_inv": "FP8",
    "absmax": "bitsandbytes",
    "SCB": "bitsandbytes",
    "B": "Marlin",
    "W_q": "HQQ",
    "dequant_scale": "TinyChat's W8A8, which is made when a model is loaded",
}


_UNPACK = {"v2": unpack_v2, "v1": unpack_v1, "gemm": unpack_gemm}


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
        return pack_pairs(_UNPACK[self.kind](_whole(self.parts["qweight"])))

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
    name = ""
    if scales is not None and zeros is not None and len(weight.shape) == len(scales.shape) == len(zeros.shape) == 2:
        kind, rows, width, groups = _kind(weight, scales, zeros, group_size)
        if kind in _UNPACK:
            return _Packed(kind, rows, width, groups, parts)
        name = kind
    shapes = ", ".join(f"{leaf} {part.dtype} {list(part.shape)}" for leaf, part in parts.items())
    raise CheckpointError(
        f"{weight.file}: {layer} is packed in a way that is {name or 'not known'} ({shapes}; group size {group_size}); "
        "supported: TinyChat v1 and v2, AutoAWQ GEMM and GEMVFast"
    )


def _kind(weight: AnyTensor, scales: AnyTensor, zeros: AnyTensor, group_size: int) -> tuple[str, int, int, int]:
    """What the packing is, and its rows, width and groups; "" or the name of one that is not supported."""
    first, last = weight.shape
    if weight.dtype == torch.int16 and zeros.dtype.is_floating_point:
        rows, width = 4 * first, last
        groups, stored = _groups(width, group_size)
        if width % STRIDE == 0 and scales.shape == zeros.shape == (stored, rows):
            return "v2", rows, width, groups
    if weight.dtype == torch.int32 and zeros.dtype == torch.int32:
        groups, stored = _groups(PER_INT32 * last, group_size)
        if scales.shape == (first, stored) and zeros.shape == (first, stored // PER_INT32):
            return "v1", first, PER_INT32 * last, groups
        groups, _ = _groups(first, group_size)
        if scales.shape == (groups, PER_INT32 * last) and zeros.shape == (groups, last):
            return "gemm", PER_INT32 * last, first, groups
        if scales.shape[1] == last and zeros.shape == (scales.shape[0], last // PER_INT32):
            return "ExLlama's or GPTQ's, with zeros one less than they are", last, PER_INT32 * first, 0
    return "", 0, 0, 0


def _groups(width: int, group_size: int) -> tuple[int, int]:
    """Groups of a row, and how many TinyChat stores for them; 0 if the width cannot be cut so."""
    size = width if group_size == _WHOLE_ROW else group_size
    groups = width // size if size and width % size == 0 else 0
    return groups, padded_groups(groups, size)


def _whole(stored: AnyTensor) -> Tensor:
    return read_tensor(stored, torch.device("cpu"), stored.dtype)
