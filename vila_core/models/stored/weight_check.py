"""Every number of a checkpoint's weight files looked at: torn downloads and overflows leave NaN, infinity or zeros."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vila_core.errors import CheckpointError
from vila_core.models.stored.layouts import Layout
from vila_core.models.stored.relevance_files import FOLDER
from vila_core.models.stored.weights import AnyTensor, folder_tensors, tensor_parts

_LARGEST_HALF = torch.finfo(torch.float16).max
_MAY_BE_ZERO = ("bias", "zeros")

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

    progress: wraps the tensors to read. All zeros count where a layer would then give nothing: matrices, norms and
    scales. Raises CheckpointError for a file that cannot be read.
    """
    has_projector = layout.projector.raw.get("mm_projector_type") != "identity"  # that one has no weights
    folders = {part.folder for name, part in layout.parts.items() if has_projector or name != "mm_projector"}
    if (head := layout.root / FOLDER).is_dir():
        folders.add(head)
    tensors = [tensor for folder in sorted(folders) for tensor in folder_tensors(folder)]
    faults = (_fault(tensor, layout.root) for tensor in progress(tensors) if tensor.dtype.is_floating_point)
    return [fault for fault in faults if fault is not None]


def require_undamaged(layout: Layout, faults: Sequence[WeightFault]) -> None:
    """Raise CheckpointError if any of a checkpoint's odd tensors holds NaN or infinity."""
    damaged = [fault for fault in faults if fault.is_damaged]
    if damaged:
        raise CheckpointError(
            f"{layout.root}: {len(damaged)} tensors hold NaN or infinity, the first is {damaged[0]}; download the "
            "checkpoint or make it again"
        )


def _fault(tensor: AnyTensor, root: Path) -> WeightFault | None:
    nan = infinite = overflowing = 0
    is_zero = not tensor.name.endswith(_MAY_BE_ZERO)
    for part in tensor_parts(tensor):
        if not part.numel():
            continue
        low, high = (float(limit) for limit in part.aminmax())
        is_zero = is_zero and low == high == 0.0
        if not max(-low, high) <= _LARGEST_HALF:  # NaN, too
            nan += int(part.isnan().sum())
            infinite += int(part.isinf().sum())
            overflowing += int((part.isfinite() & (part.abs() > _LARGEST_HALF)).sum())
    if not (nan or infinite or overflowing or is_zero):
        return None
    file = tensor.file.relative_to(root) if tensor.file.is_relative_to(root) else tensor.file
    return WeightFault(str(file), tensor.name, nan, infinite, overflowing, is_zero)
