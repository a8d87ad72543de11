"""Frames to visual tokens, each frame once; on a GPU in a stream of its own, so that the decoder can run meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vila_core.engine.visual_cache import VisualCache
from vila_core.models.projector import pool_tokens
from vila_core.models.vlm import VisionLanguageModel
from vila_core.types import Frame, Visual

_BUFFERS = 2  # one is filled while the other is on its way


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A frame's visual tokens [N, D], and the event behind which they are there (None: they are)."""

    tokens: Tensor
    done: torch.cuda.Event | None = None

    def ready(self) -> Tensor:
        """Return the tokens for use in the current stream; the host does not wait."""
        if self.done is not None:
            self.done.wait()
        return self.tokens


class FrameEncoder:
    """Encodes each frame once and keeps its visual tokens."""

    def __init__(self, model: VisionLanguageModel, capacity: int) -> None:
        self._model = model
        self._stream = torch.cuda.Stream(model.device) if model.device.type == "cuda" else None
        self._upload = _ImageUpload(model.device)
        self.cache: VisualCache[Encoded] = VisualCache(capacity)

    def start(self, frames: Sequence[Frame]) -> None:
        """Begin to encode those frames that are not there; on a CPU only `tokens` does the work."""
        if self._stream is not None:
            for frame in frames:
                self.encode(frame)

    def encode(self, frame: Frame) -> bool:
        """Encode the frame; False if that was done before."""
        if frame.key in self.cache:
            return False
        self.cache.put(frame.key, self._encode(frame))
        return True

    def tokens(self, frame: Frame) -> Tensor:
        """Return the visual tokens [N, D] of a frame, encoded now if they are not there."""
        found = self.cache.get(frame.key)
        if found is None:
            found = self._encode(frame)
            self.cache.put(frame.key, found)
        return found.ready()

    def forget(self) -> None:
        """Drop all visual tokens."""
        self.cache.clear()

    def close(self) -> None:
        """Drop the model and all visual tokens."""
        del self._model
        self.cache = VisualCache(1)

    def _encode(self, frame: Frame) -> Encoded:
        if self._stream is None:
            return Encoded(self._model.encode_frames([frame])[0])
        with torch.cuda.stream(self._stream):
            tokens = self._model.encode_on_device(self._upload.copy(frame.image))
        tokens.record_stream(torch.cuda.current_stream())
        return Encoded(tokens, self._stream.record_event())


def embed_visual(visual: Visual, encode: Callable[[Frame], Tensor]) -> Tensor:
    """Return the visual tokens [n, D] of a visual, pooled in space, then averaged over the frames merged in it.

    encode: frame -> all its visual tokens [N, D].
    """
    frames = (*visual.merged, visual.frame)
    rows = [encode(frame) if visual.tokens is None else pool_tokens(encode(frame), visual.tokens) for frame in frames]
    return rows[0] if len(rows) == 1 else torch.stack(rows).mean(0)


class _ImageUpload:
    """Copies uint8 images [H, W, 3] to a device, in its current stream; the host does not wait for the copy."""

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
        """Return the next buffer in turn, its last copy done; new ones for images of another shape."""
        if not self._buffers or tuple(self._buffers[0].host.shape) != shape:
            self._buffers = [_Buffer(torch.empty(shape, dtype=torch.uint8, pin_memory=True)) for _ in range(_BUFFERS)]
        buffer = self._buffers[self._next]
        self._next = (self._next + 1) % _BUFFERS
        if buffer.sent is not None:
            buffer.sent.synchronize()
        return buffer


@dataclass(slots=True, eq=False)
class _Buffer:
    host: Tensor  # uint8 [H, W, 3], page-locked
    sent: torch.cuda.Event | None = None  # behind the copy that last read it
