"""llm-awq's search results: a `.pt` file of scales and clips for a model in full precision.

Form: {"scale": [(previous, (linears), tensor)], "clip": [(linear, tensor)]} with names from the model's root.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vila_core.errors import CheckpointError
from vila_core.files.reading import require_file
from vila_core.quantization.awq_block import LINEARS, PAIRS, BlockResult, FoundScale

_LAYER = re.compile(r"(?:.*\.)?layers\.(\d+)\.(.+)")
_PREVIOUS = {pair.previous for pair in PAIRS}


def read_search_result(file: Path) -> dict[int, BlockResult]:
    """Return what was found for each decoder layer, by its number. No code in the file is run.

    Raises CheckpointError for a file that cannot be read so, or names that are no decoder layer's.
    """
    raw = load_pickle(file)
    if not {"scale", "clip"} <= set(raw):
        raise CheckpointError(f"{file} is no AWQ search result: it lacks 'scale' and 'clip'")
    scales: dict[int, list[FoundScale]] = {}
    clips: dict[int, dict[str, Tensor]] = {}
    try:
        for previous, linears, tensor in raw["scale"]:
            layer, first = _split(file, previous, _PREVIOUS)
            names = tuple(_split(file, name, set(LINEARS))[1] for name in linears)
            scales.setdefault(layer, []).append(FoundScale(first, names, tensor.float().view(-1)))
        for name, tensor in raw["clip"]:
            layer, linear = _split(file, name, set(LINEARS))
            clips.setdefault(layer, {})[linear] = tensor.float()
    except (TypeError, ValueError, AttributeError) as err:
        raise CheckpointError(f"{file} is no AWQ search result: {err}") from err
    numbers = sorted({*scales, *clips})
    return {number: BlockResult(tuple(scales.get(number, ())), clips.get(number, {})) for number in numbers}


def load_pickle(file: Path) -> Mapping[str, Any]:
    """Read a `.pt` file of tensors in plain containers, mapped where that is possible; no code in it is run.

    Raises CheckpointError for one that holds anything else.
    """
    require_file(file)
    try:
        try:
            raw = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # written in the old form, which cannot be mapped
            raw = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as err:  # a stranger's pickle may raise anything while it is read
        reason = " ".join(str(err).split())[:300] or type(err).__name__
        raise CheckpointError(f"{file} cannot be read without running code from it: {reason}") from err
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise CheckpointError(f"{file} holds no names with values")
    return raw


def _split(file: Path, name: str, known: set[str]) -> tuple[int, str]:
    found = _LAYER.fullmatch(name)
    if found is None or found[2] not in known:
        raise CheckpointError(f"{file}: {name!r} is no part of a decoder layer that is quantized")
    return int(found[1]), found[2]
