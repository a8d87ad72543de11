"""Images to a GPU through page-locked buffers that are allocated once: the host does not wait for the copy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_DEPTH = 2  # one buffer is filled while the other is on its way


@dataclass(slots=True, eq=False)
class _Buffer:
    host: Tensor  # uint8 [H, W, 3], page-locked
    sent: torch.cuda.Event | None = None  # behind the copy that last read it


class ImageUpload:
    """Copies uint8 images [H, W, 3] to a device, in its current stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffers: list[_Buffer] = []
        self._next = 0

    def copy(self, image: NDArray[np.uint8]) -> Tensor:
        """Return the image on the device; on a CPU it is shared, not copied."""
        source = torch.from_numpy(np.require(image, requirements=("C", "W")))
        if self._device.type != "cuda":
            return source
        buffer = self._free_buffer(tuple(image.shape))
        buffer.host.copy_(source)
        copied = buffer.host.to(self._device, non_blocking=True)
        buffer.sent = torch.cuda.current_stream().record_event()
        return copied

    def _free_buffer(self, shape: tuple[int, ...]) -> _Buffer:
        """The next buffer in turn, its last copy done; new ones for images of another shape."""
        if not self._buffers or tuple(self._buffers[0].host.shape) != shape:
            self._buffers = [_Buffer(torch.empty(shape, dtype=torch.uint8, pin_memory=True)) for _ in range(_DEPTH)]
        buffer = self._buffers[self._next]
        self._next = (self._next + 1) % _DEPTH
        if buffer.sent is not None:
            buffer.sent.synchronize()
        return buffer
