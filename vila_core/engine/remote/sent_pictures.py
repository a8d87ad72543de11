"""Frames as they are sent: compressed once each, and named instead of sent again where the server keeps them."""

from __future__ import annotations

import base64
import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from vila_core.media.packing import jpeg_of, png_of
from vila_core.types import Frame, FrameKey

_MOST = 640  # frames that are kept compressed
_PNG_PIXELS = 128 * 1024  # larger pictures are JPEG, with "auto"
_JPEG_QUALITY = 92


@dataclass(frozen=True, slots=True)
class Compressed:
    """A picture. digest: the name that `vila serve` keeps it by."""

    kind: str
    data: bytes
    digest: str

    @property
    def url(self) -> str:
        """The data URL."""
        return f"data:image/{self.kind};base64,{base64.b64encode(self.data).decode()}"


class SentPictures:
    """Makes URLs of frames. form: "png", "jpeg" or "auto". are_kept: whether the server keeps what it was sent."""

    def __init__(self, form: str, *, are_kept: bool) -> None:
        self._form, self._are_kept = form, are_kept
        self._made: OrderedDict[FrameKey, Compressed] = OrderedDict()
        self._sent: set[str] = set()
        self._asked: set[str] = set()  # digests of the question that is being asked
        self._is_again = False  # it is asked again, for the server did not have a picture: all of it is sent
        self.named = self.whole = 0

    def prepare(self, frame: Frame) -> bool:
        """Compress a frame now; False if that was done."""
        if frame.key in self._made:
            self._made.move_to_end(frame.key)
            return False
        self._made[frame.key] = _compressed(frame, self._form)
        if len(self._made) > _MOST:
            self._sent.discard(self._made.popitem(last=False)[1].digest)
        return True

    def url(self, frame: Frame) -> str:
        """Return what stands for a frame in a request."""
        self.prepare(frame)
        made = self._made[frame.key]
        if self._are_kept and not self._is_again and made.digest in self._sent | self._asked:
            self.named += 1
            return made.digest
        self.whole += 1
        self._asked.add(made.digest)
        return made.url

    def confirm(self) -> None:
        """Note that the question arrived, with all its pictures."""
        self._sent |= self._asked
        self._asked.clear()
        self._is_again = False

    def abandon(self) -> None:
        """Note that the question may not have arrived; what came with it is sent again, what came before is there."""
        self._asked.clear()
        self._is_again = False

    def forget(self) -> None:
        """Send everything again, until a question arrives: the server does not have it."""
        self._sent.clear()
        self._asked.clear()
        self._is_again = True


def _compressed(frame: Frame, form: str) -> Compressed:
    is_small = frame.image.shape[0] * frame.image.shape[1] <= _PNG_PIXELS
    kind = ("png" if is_small else "jpeg") if form == "auto" else form
    stored = png_of(frame.image) if kind == "png" else jpeg_of(frame.image, _JPEG_QUALITY)
    return Compressed(kind, stored, f"sha256:{hashlib.sha256(stored).hexdigest()}")
