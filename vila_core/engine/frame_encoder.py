"""Frames to visual tokens; on a GPU in a stream of their own, so that the decoder can read meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vila_core.engine.image_upload import ImageUpload
from vila_core.engine.visual_cache import VisualCache
from vila_core.models.vlm import VisionLanguageModel
from vila_core.types import Frame


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
        self._upload = ImageUpload(model.device)
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
        """Visual tokens [N, D] of a frame, encoded now if they are not there."""
        found = self.cache.get(frame.key)
        if found is None:
            found = self._encode(frame)
            self.cache.put(frame.key, found)
        return found.ready()

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
