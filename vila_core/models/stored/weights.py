"""Read safetensors files piece by piece: a tensor goes to its place without ever being in memory twice.

Also what becomes a tensor only by being converted, and the `.pt` files that AWQ checkpoints still come in.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vila_core.errors import CheckpointError
from vila_core.files.json_object import JsonObject, parse_object, read_object, show
from vila_core.files.reading import is_there, require_file
from vila_core.quantization.search_file import load_pickle

CHUNK_BYTES = 16 << 20  # what of a file is mapped into memory at a time
_HEADER_LIMIT = 100 << 20  # the format's own
_MOST_AXES, _MOST_SIZE = 8, 1 << 40
STORED_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of a file: its bytes are [begin, end)."""

    file: Path
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class MadeTensor:
    """A tensor that is made when it is asked for: from others of the file, or read in another way."""

    file: Path
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    make: Callable[[], Tensor]


AnyTensor = StoredTensor | MadeTensor


def folder_tensors(folder: Path) -> list[AnyTensor]:
    """Return what the folder's safetensors files hold, or without any the one `.pt` file of an AWQ checkpoint.

    Raises CheckpointError as weight_files and stored_tensors do, and for more than one `.pt` file.
    """
    if not _has_safetensors(folder) and (pickles := sorted(folder.glob("*.pt"))):
        if len(pickles) > 1:
            names = ", ".join(file.name for file in pickles)
            raise CheckpointError(f"{folder} holds several .pt files ({names}); keep the one to load")
        return list(pickled_tensors(pickles[0]))
    return [tensor for file in weight_files(folder) for tensor in stored_tensors(file)]


def pickled_tensors(file: Path) -> Sequence[MadeTensor]:
    """Return the tensors of a `.pt` file, mapped where that is possible; no code in it is run.

    Raises CheckpointError for a file that holds anything but tensors by name.
    """
    raw = load_pickle(file)
    if {"scale", "clip"} <= set(raw):
        raise CheckpointError(
            f"{file} is an AWQ search result without weights; give it to `vila quantize --search-result`"
        )
    for name, value in raw.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(f"{file}: {name!r} is a {type(value).__name__}, not a tensor")
    return [_pickled(file, name, value) for name, value in raw.items()]


def _pickled(file: Path, name: str, value: Tensor) -> MadeTensor:
    return MadeTensor(file, name, value.dtype, tuple(value.shape), lambda: value)


def _has_safetensors(folder: Path) -> bool:
    return any(is_there(folder / name) for name in ("model.safetensors", "model.safetensors.index.json"))


def weight_files(folder: Path) -> list[Path]:
    """The folder's safetensors files: model.safetensors, or those that its index names.

    Raises CheckpointError if there are none, if one is missing, or for an index that cannot be read.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if is_there(single):
        return [single]
    if not is_there(index):
        raise CheckpointError(f"{folder} holds no model.safetensors; pickle files (.bin, .pt) are not loaded")
    rows = read_object(index).object("weight_map")
    named = {rows.text(key): key for key in rows.raw}
    for name, key in sorted(named.items()):
        if not name.endswith(".safetensors"):
            raise CheckpointError(f"{index} names {show(name)} for {rows.path(key)}; only safetensors files are loaded")
        if name != Path(name).name or "\0" in name:
            raise rows.wrong(key, "the name of a file beside it")
        if not is_there(folder / name):
            raise CheckpointError(f"{folder / name} is missing, though {index.name} names it; download it again")
    if not named:
        raise CheckpointError(f"{index}: weight_map names no files; download it again")
    return [folder / name for name in sorted(named)]


def stored_tensors(file: Path) -> list[StoredTensor]:
    """The tensors of a file, in the order of their bytes; only its header is read.

    Raises CheckpointError for a file that is cut short or no safetensors, for tensors that overlap or leave bytes out,
    and for a dtype that no model uses.
    """
    size = require_file(file)
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= min(_HEADER_LIMIT, size - 8):
                raise CheckpointError(
                    f"{file} cannot be read: a header of {length} bytes in a file of {size}; download it again"
                )
            text = stream.read(length)
    except OSError as err:
        raise CheckpointError(f"{file} cannot be read: {err.strerror}; download it again") from err
    header = JsonObject(parse_object(text, file, place="its header"), file)
    tensors = [_stored(header, name, 8 + length) for name in header.raw if name != "__metadata__"]
    tensors.sort(key=lambda tensor: (tensor.begin, tensor.end))
    _check_extents(file, tensors, 8 + length, size)
    return tensors


def _check_extents(file: Path, tensors: Sequence[StoredTensor], begin: int, size: int) -> None:
    """Each tensor begins where the one before ends, the last ends with the file, as the format wants it."""
    for tensor in tensors:
        if tensor.end > size:
            raise CheckpointError(f"{file} is cut short: {tensor.name!r} ends at byte {tensor.end} of {size}")
        if tensor.begin != begin:
            raise CheckpointError(
                f"{file} cannot be read: {tensor.name!r} begins at byte {tensor.begin}, the one before it ends at "
                f"{begin}; download it again"
            )
        begin = tensor.end
    if begin != size:
        raise CheckpointError(f"{file} cannot be read: its tensors end at byte {begin} of {size}; download it again")


def read_tensor(stored: AnyTensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Read a tensor onto the device, converted to dtype.

    Beside it at most CHUNK_BYTES of a safetensors file are in memory: pages that were copied are given back. Raises
    CheckpointError if the file cannot be read, or holds finite values that dtype, float16, does not.
    """
    if isinstance(stored, MadeTensor):
        made = stored.make()
        target = made.to(device, dtype, copy=True).contiguous()
        _require_range(stored, made, target)
        return target
    target = torch.empty(stored.shape, dtype=dtype, device=device)
    flat, first = target.view(-1), 0
    try:
        for part in _parts(stored):
            count = part.numel()
            _require_range(stored, part, flat[first : first + count].copy_(part))
            first += count
            del part  # unmapped before the next one is mapped
    except OSError as err:
        raise CheckpointError(f"{stored.file} cannot be read: {err.strerror}") from err
    return target


def _require_range(stored: AnyTensor, values: Tensor, kept: Tensor) -> None:
    """Raise CheckpointError if values that were finite are not so as they are kept."""
    if kept.dtype != torch.float16 or values.dtype == torch.float16 or not kept.numel():
        return
    if all(math.isfinite(float(limit)) for limit in kept.aminmax()):
        return
    largest = values[values.isfinite()].abs().amax() if values.isfinite().any() else values.new_zeros(())
    if largest > torch.finfo(torch.float16).max:
        raise CheckpointError(
            f"{stored.file}: {stored.name!r} holds {float(largest):g}, and float16 nothing above 65504; load it with "
            "precision bfloat16 or float32"
        )


def tensor_parts(stored: AnyTensor) -> Iterator[Tensor]:
    """Yield a tensor's values as they are stored, flat, at most CHUNK_BYTES of a safetensors file at a time.

    Raises CheckpointError if the file cannot be read.
    """
    if isinstance(stored, MadeTensor):
        yield stored.make().flatten()
        return
    try:
        yield from _parts(stored)
    except OSError as err:
        raise CheckpointError(f"{stored.file} cannot be read: {err.strerror}") from err


def _parts(stored: StoredTensor) -> Iterator[Tensor]:
    """The tensor's values, mapped from the file a chunk at a time."""
    grain = mmap.ALLOCATIONGRANULARITY
    with stored.file.open("rb") as stream:
        for begin in range(stored.begin, stored.end, CHUNK_BYTES):
            end = min(begin + CHUNK_BYTES, stored.end)
            base = begin // grain * grain
            mapping = mmap.mmap(stream.fileno(), end - base, access=mmap.ACCESS_COPY, offset=base)
            part = torch.frombuffer(mapping, dtype=torch.uint8, offset=begin - base)  # holds the mapping
            del mapping
            aligned = (begin - base) % stored.dtype.itemsize == 0
            yield (part if aligned else part.clone()).view(stored.dtype)
            del part


def _stored(header: JsonObject, name: str, origin: int) -> StoredTensor:
    row = header.object(name)
    code = row.text("dtype")
    if code not in STORED_DTYPES:
        supported = ", ".join(STORED_DTYPES)
        raise CheckpointError(f"{header.file}: {name!r} is stored as {code}; supported: {supported}")
    dtype, sizes, offsets = STORED_DTYPES[code], row.items("shape", most=_MOST_AXES), row.items("data_offsets")
    shape = tuple(sizes.integer(each, least=0, most=_MOST_SIZE) for each in sizes.raw)
    span = [offsets.integer(each, least=0) for each in offsets.raw]
    if len(span) != 2 or span[1] - span[0] != math.prod(shape) * dtype.itemsize:
        raise row.wrong("data_offsets", f"[begin, end] of a tensor of shape {list(shape)} stored as {code}")
    return StoredTensor(header.file, name, dtype, shape, origin + span[0], origin + span[1])
