"""Write safetensors files piece by piece, so that what is stored elsewhere is never in memory as a whole.

The library's own save_file takes all tensors of a file at once: quantizing would then hold the whole decoder.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vila_core.models.stored.weights import STORED_DTYPES, AnyTensor, MadeTensor, read_tensor

_NAMES = {dtype: name for name, dtype in STORED_DTYPES.items()}
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".safetensors.index.json")
_ALIGNED = 8  # bytes, what the header is filled up to

Row = tuple[str, torch.dtype, tuple[int, ...]]  # name, dtype, shape


def file_header(rows: Iterable[Row]) -> bytes:
    """Return what a file begins with whose tensors follow each other in this order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, dtype, shape in rows:
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNED)
    return len(text).to_bytes(8, "little") + text


def write_tensors(file: Path, tensors: Sequence[AnyTensor]) -> None:
    """Write the tensors, reading one at a time; the widest first, so that each is aligned."""
    ordered = sorted(tensors, key=lambda tensor: (-tensor.dtype.itemsize, tensor.name))
    with file.open("wb") as stream:
        stream.write(file_header((tensor.name, tensor.dtype, tensor.shape) for tensor in ordered))
        for tensor in ordered:
            value = _value(tensor)
            stream.write(value.view(-1).view(torch.uint8).numpy().data)


def _value(tensor: AnyTensor) -> Tensor:
    """The tensor's values; what is in memory already is not copied."""
    if isinstance(tensor, MadeTensor):
        return tensor.make().to("cpu", tensor.dtype).contiguous()
    return read_tensor(tensor, torch.device("cpu"), tensor.dtype)


def copy_other_files(source: Path, target: Path) -> None:
    """Copy what is no weight and no folder; a tokenizer in a folder of its own below llm/ is copied with it."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        if entry.is_dir():
            if entry.name == "llm" and source.name == "llm":
                shutil.copytree(entry, target / entry.name, dirs_exist_ok=True, copy_function=shutil.copyfile)
        elif not entry.name.endswith(_WEIGHTS) and not (entry.name == "config.json" and target / "llm" == source):
            shutil.copyfile(entry, target / entry.name)
