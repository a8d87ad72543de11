"""Read safetensors files piece by piece: a tensor goes to its place without ever being in memory twice.

Also what becomes a tensor only by being converted, and the `.pt` files that AWQ checkpoints still come in.
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vila_core.errors import CheckpointError
from vila_core.quantization.search_file import load_pickle

CHUNK_BYTES = 16 << 20  # what of a file is mapped into memory at a time
_HEADER_LIMIT = 100 << 20  # the format's own
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
    return any((folder / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json"))


def weight_files(folder: Path) -> list[Path]:
    """The folder's safetensors files: model.safetensors, or those that its index names.

    Raises CheckpointError if there are none, if one is missing, or for an index that cannot be read.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        raise CheckpointError(f"{folder} holds no model.safetensors; pickle files (.bin, .pt) are not loaded")
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise CheckpointError(f"{index} is not an index of safetensors files: {err!r}; download it again") from err
    files = [folder / str(name) for name in names]
    for file in files:
        if file.suffix != ".safetensors":
            raise CheckpointError(f"{index} names {file.name!r}; only safetensors files are loaded")
        if not file.is_file():
            raise CheckpointError(f"{file} is missing, though {index.name} names it; download it again")
    return files


def stored_tensors(file: Path) -> list[StoredTensor]:
    """The tensors of a file, in the order of their bytes; only its header is read.

    Raises CheckpointError for a file that is cut short or no safetensors, and for a dtype that no model uses.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= min(_HEADER_LIMIT, size - 8):
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header: dict[str, Any] = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        tensors = [_stored(file, name, row, 8 + length) for name, row in header.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise CheckpointError(f"{file} cannot be read: {err}; download it again") from err
    for tensor in tensors:
        if tensor.end > size:
            raise CheckpointError(f"{file} is cut short: {tensor.name!r} ends at byte {tensor.end} of {size}")
    return sorted(tensors, key=lambda tensor: tensor.begin)


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


def _stored(file: Path, name: str, row: dict[str, Any], origin: int) -> StoredTensor:
    if row["dtype"] not in STORED_DTYPES:
        supported = ", ".join(STORED_DTYPES)
        raise CheckpointError(f"{file}: {name!r} is stored as {row['dtype']}; supported: {supported}")
    dtype, shape = STORED_DTYPES[row["dtype"]], tuple(int(size) for size in row["shape"])
    begin, end = (int(offset) for offset in row["data_offsets"])
    if min((begin, *shape)) < 0 or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name!r} has shape {list(shape)} in bytes {begin} to {end}")
    return StoredTensor(file, name, dtype, shape, origin + begin, origin + end)
