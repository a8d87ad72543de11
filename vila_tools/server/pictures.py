"""Pictures and videos of requests: data URLs, decoded within limits. Nothing is ever fetched."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import tempfile
import threading
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vila_core.errors import FrameError, MediaError
from vila_core.media.films import FrameChooser, read_video
from vila_core.media.messages import decode_compressed
from vila_core.types import Frame
from vila_tools.server.errors import BAD_REQUEST, CONFLICT, RefusedError
from vila_tools.server.limits import Limits

DIGEST = "sha256:"
NOT_KEPT = "picture_not_kept"
_SHOWN_CHARS = 60
_SUFFIXES = {"quicktime": "mov", "x-matroska": "mkv", "x-msvideo": "avi"}


@dataclass(frozen=True, slots=True)
class _Compressed:
    """What decode_compressed reads."""

    data: bytes
    format: str = ""


class PictureStore:
    """The pictures sent last, by digest, as they were sent: who sends one again may name it instead."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self.bytes = 0

    def put(self, data: bytes) -> str:
        """Keep a picture and return its name."""
        name = DIGEST + hashlib.sha256(data).hexdigest()
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return name
            self._kept[name] = data
            self.bytes += len(data)
            while self.bytes > self._most_bytes:
                self.bytes -= len(self._kept.popitem(last=False)[1])
        return name

    def get(self, name: str) -> bytes:
        """Return a picture. Raises RefusedError, status 409, if it is not kept any more."""
        with self._lock:
            if name not in self._kept:
                raise RefusedError(CONFLICT, f"picture {name[:_SHOWN_CHARS]} is not kept here; send it whole", NOT_KEPT)
            self._kept.move_to_end(name)
            return self._kept[name]


class MediaReader:
    """Makes frames of what requests bring. Thread-safe."""

    def __init__(self, store: PictureStore, limits: Limits) -> None:
        self._store, self._limits = store, limits

    def picture(self, url: str) -> Frame:
        """Return the picture of a data URL, or one that is kept; its name in caches is its digest."""
        if url.startswith(DIGEST):
            return self._decoded(url, self._store.get(url))
        kind, data = read_data_url(url)
        if not kind.startswith("image/"):
            raise _refused(f"an image_url of type {kind[:_SHOWN_CHARS]!r}: an image is expected")
        self._check_pixels(data)
        return self._decoded(self._store.put(data), data)

    def frames(self, url: str, choose: FrameChooser) -> tuple[Frame, ...]:
        """Return those frames of a video that `choose` picks: of a file, or of JPEGs with commas between."""
        kind, data = _split_data_url(url)
        if not kind.startswith("video/"):
            raise _refused(f"a video_url of type {kind[:_SHOWN_CHARS]!r}: a video is expected")
        if kind == "video/jpeg":
            pictures = [f"data:image/jpeg;base64,{one}" for one in data.split(",")]
            return self.chosen(pictures, choose)
        return self._film(kind, _base64(data), choose)

    def chosen(self, urls: Sequence[str], choose: FrameChooser) -> tuple[Frame, ...]:
        """Return those pictures of a list that `choose` picks; the others are not decoded."""
        indices = choose(len(urls), 0.0) if urls else ()
        if not indices:
            raise _refused("a video without frames")
        return tuple(self.picture(urls[index]) for index in indices)

    def _film(self, kind: str, data: bytes, choose: FrameChooser) -> tuple[Frame, ...]:
        suffix = kind.removeprefix("video/")
        digest = DIGEST + hashlib.sha256(data).hexdigest()
        with tempfile.TemporaryDirectory(prefix="vila-serve-") as folder:
            file = Path(folder) / f"video.{_SUFFIXES.get(suffix, suffix if suffix.isalnum() else 'mp4')}"
            file.write_bytes(data)
            try:
                video = read_video(file, choose, most_frames=self._limits.max_film_frames)
            except MediaError as err:
                raise _refused(str(err).replace(str(file), "the video")) from err
        for image in video.images:
            self._require_pixels(image.shape[1], image.shape[0])
        pairs = zip(video.images, video.indices, strict=True)
        return tuple(Frame(image, index, camera=digest) for image, index in pairs)

    def _decoded(self, name: str, data: bytes) -> Frame:
        try:
            return Frame(decode_compressed(_Compressed(data)), 0, camera=name)
        except FrameError as err:
            raise _refused(str(err)) from err

    def _check_pixels(self, data: bytes) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(io.BytesIO(data)) as head:
                    width, height = head.size
        except Image.DecompressionBombError:
            width = height = self._limits.max_pixels
        except Exception as err:  # Pillow's parsers meet any bytes
            raise _refused("an image that cannot be read; send a JPEG, PNG or WebP") from err
        self._require_pixels(width, height)

    def _require_pixels(self, width: int, height: int) -> None:
        if width * height > self._limits.max_pixels:
            raise _refused(f"a picture of {width} x {height} pixels, more than {self._limits.max_pixels} in all")


def read_data_url(url: str) -> tuple[str, bytes]:
    """Return the media type and the data of `data:TYPE;base64,...`. Raises RefusedError for any other URL."""
    kind, data = _split_data_url(url)
    return kind, _base64(data)


def _split_data_url(url: str) -> tuple[str, str]:
    head, comma, data = url.partition(",")
    kind, _, encoding = head.removeprefix("data:").rpartition(";")
    if not head.startswith("data:") or not comma or encoding != "base64":
        shown = url[:_SHOWN_CHARS]
        raise _refused(f"URL {shown!r}: only data URLs with base64 are read, nothing is fetched")
    return kind.split(";")[0].lower(), data


def _base64(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as err:
        raise _refused(f"a data URL whose base64 is wrong: {err}") from err


def _refused(message: str) -> RefusedError:
    return RefusedError(BAD_REQUEST, message, "invalid_media")
