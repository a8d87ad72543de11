"""Every number of a checkpoint's weight files looked at: torn downloads and overflows leave NaN, infinity or zeros."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from vila_core.models.layouts import Layout
from vila_core.models.relevance_files import FOLDER
from vila_core.models.weights import AnyTensor, folder_tensors, tensor_parts

_LARGEST_HALF = torch.finfo(torch.float16).max

Progress = Callable[[Sequence[AnyTensor]], Iterable[AnyTensor]]


@dataclass(frozen=True, slots=True)
class WeightFault:
    """What is odd about a tensor: counts of its values, and whether all are zero.

    overflowing: finite ones that float16 cannot hold.
    """

    file: str
    name: str
    nan: int
    infinite: int
    overflowing: int
    is_zero: bool

    @property
    def is_damaged(self) -> bool:
        """Whether a model with it computes NaN or infinity, in any precision."""
        return self.nan + self.infinite > 0

    def __str__(self) -> str:
        counts = (("NaN", self.nan), ("infinite", self.infinite), ("too large for float16", self.overflowing))
        told = [f"{count} {word}" for word, count in counts if count]
        return f"{self.file}: {self.name}: {', '.join(told) or 'all zeros'}"


def check_weights(layout: Layout, progress: Progress = lambda tensors: tensors) -> list[WeightFault]:
    """Read all weights of a checkpoint, a piece of a file at a time, and return the tensors that are odd.

    progress: wraps the tensors to read. All zeros count where a layer would then give nothing: matrices and norms.
    Raises CheckpointError for a file that cannot be read.
    """
    head = layout.root / FOLDER
    folders = dict.fromkeys([*(part.folder for part in layout.parts.values()), *([head] if head.is_dir() else [])])
    tensors = [tensor for folder in folders for tensor in folder_tensors(folder)]
    faults = (_fault(tensor) for tensor in progress(tensors) if tensor.dtype.is_floating_point)
    return [fault for fault in faults if fault is not None]


def _fault(tensor: AnyTensor) -> WeightFault | None:
    nan = infinite = overflowing = 0
    is_zero = not tensor.name.endswith("bias")
    for part in tensor_parts(tensor):
        nan += int(part.isnan().sum())
        infinite += int(part.isinf().sum())
        overflowing += int((part.abs() > _LARGEST_HALF).sum())
        is_zero = is_zero and not bool(part.any())
    if not (nan or overflowing or is_zero):
        return None
    return WeightFault(tensor.file.name, tensor.name, nan, infinite, overflowing - infinite, is_zero)
