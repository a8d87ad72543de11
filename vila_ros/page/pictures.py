"""Pictures: the newest one, those of the last seconds, and those that decisions answered. Few of them become JPEG."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vila_core.media.packing import jpeg_of, shrunk

_QUALITY = 75
_RAW_BYTES = 48 << 20  # of pictures that are not encoded yet
_RECENT, _RECENT_NS = 240, 8_000_000_000  # of a camera of 30 Hz, for the slowest decision that is not dropped
_RESET_NS = 1_000_000_000  # a stamp so far back: the clock was set back
_DECIDED, _EXPLAINED = 100, 8


class Picture:
    """An image that becomes JPEG when somebody wants it. Thread-safe.

    encode: does that, once; returns nothing if it cannot. size: bytes that are held until then. age_s: between its
    stamp and its receipt. received_s: steady time of that.
    """

    def __init__(self, stamp_ns: int, encode: Callable[[], bytes], size: int, age_s: float, received_s: float) -> None:
        self.stamp_ns, self.size, self.age_s, self.received_s = stamp_ns, size, age_s, received_s
        self._encode: Callable[[], bytes] | None = encode
        self._data = b""
        self._lock = threading.Lock()

    @property
    def jpeg(self) -> bytes:
        """The picture as JPEG, empty if it is none."""
        with self._lock:
            if self._encode is not None:
                self._data, self._encode, self.size = self._encode(), None, 0
            return self._data


class Pictures:
    """Keeps pictures. Thread-safe.

    is_driving: whether decisions are awaited: only then those that grow old are kept, as JPEG.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0  # of all that came
        self.is_driving = False
        self._recent: OrderedDict[int, Picture] = OrderedDict()  # by stamp, those that a decision may still answer
        self._decided: OrderedDict[str, Picture] = OrderedDict()  # by decision
        self._explained: OrderedDict[str, Picture] = OrderedDict()  # of explanations, by decision
        self._awaited: OrderedDict[int, str] = OrderedDict()  # decisions that came before their picture, by stamp
        self.newest: Picture | None = None

    def add(self, picture: Picture) -> None:
        """Take a picture, the newest now."""
        with self._lock:
            if self.newest is not None and self.newest.stamp_ns - picture.stamp_ns > _RESET_NS:
                self._recent.clear()
            self.count += 1
            self.newest = self._recent[picture.stamp_ns] = picture
            if (decision := self._awaited.pop(picture.stamp_ns, None)) is not None:
                self._keep(decision, picture)
            old = self._grow_old(picture.stamp_ns)
        for one in old:
            one.jpeg  # noqa: B018  # which is smaller

    def decide(self, decision: str, stamp_ns: int) -> None:
        """Keep the picture of this stamp for a decision; if it is still to come, once it does.

        Those before it are forgotten: the next decision answers a newer one.
        """
        with self._lock:
            picture = self._recent.get(stamp_ns)
            while self._recent and next(iter(self._recent)) < stamp_ns:
                self._recent.popitem(last=False)
            if picture is None:
                self._awaited[stamp_ns] = decision
                if len(self._awaited) > _DECIDED:
                    self._awaited.popitem(last=False)
                return
            self._keep(decision, picture)
        picture.jpeg  # noqa: B018  # so that its pixels are not held

    def of_decision(self, decision: str) -> Picture | None:
        """Return the very picture that a decision answered, None if it did not reach us or is long gone."""
        with self._lock:
            return self._decided.get(decision)

    def keep_explanation(self, decision: str, jpeg: bytes) -> None:
        """Keep the picture that shows what a decision depends on; of the last few decisions."""
        with self._lock:
            self._explained[decision] = Picture(0, lambda: jpeg, 0, 0.0, 0.0)
            if len(self._explained) > _EXPLAINED:
                self._explained.popitem(last=False)

    def of_explanation(self, decision: str) -> Picture | None:
        """Return the picture that shows what a decision depends on, None if there is none any more."""
        with self._lock:
            return self._explained.get(decision)

    def _grow_old(self, now_ns: int) -> list[Picture]:
        """Forget what is too old, and return what is to be encoded."""
        while len(self._recent) > _RECENT or next(iter(self._recent)) < now_ns - _RECENT_NS:
            self._recent.popitem(last=False)
        raw = [one for one in self._recent.values() if one.size]
        excess, old = sum(one.size for one in raw) - _RAW_BYTES, []
        for one in raw[:-1]:
            if excess <= 0:
                break
            excess -= one.size
            old.append(one)
        if self.is_driving:
            return old
        for one in old:
            del self._recent[one.stamp_ns]
        return []

    def _keep(self, decision: str, picture: Picture) -> None:
        self._decided[decision] = picture
        if len(self._decided) > _DECIDED:
            self._decided.popitem(last=False)


def encode(image: NDArray[np.uint8], width_px: int) -> bytes:
    """Return an RGB image [H, W, 3] as JPEG, not wider than width_px."""
    return jpeg_of(shrunk(image, width_px / image.shape[1]), _QUALITY)
