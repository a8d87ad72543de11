"""Decode a film file from its first frame to its last, and note what of it could not be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import MediaError, MissingDependencyError
from vila_core.files.reading import require_file
from vila_core.media.animated_webp import MAX_PIXELS, is_webp, webp_frames
from vila_core.media.containers import ending
from vila_core.media.film_clock import FilmClock

# What FFmpeg may take a file for: no playlists, which name other files, and no text, which it would draw.
_CONTAINERS = (
    "mov,mp4,matroska,webm,avi,flv,asf,mpegts,mpeg,mpegvideo,h264,hevc,vvc,obu,ivf,av1,m4v,h261,h263,vc1,mjpeg,gif,apng,"
    "ogg,nut,mxf,rm,dv,yuv4mpegpipe,wtv,swf,dirac,rawvideo,png_pipe,jpeg_pipe,bmp_pipe,tiff_pipe,ppm_pipe,pgm_pipe,"
    "mp3,wav,flac,aac,aiff"  # sound alone is told as such
)
_WITH_LENGTH = {"mov", "matroska", "avi", "flv", "asf"}  # their headers tell it; of others FFmpeg guesses
_OPTIONS = {
    "format_whitelist": _CONTAINERS,
    "protocol_whitelist": "file",
    "min_delay": "1",  # of a GIF in 1/100 s: what it says, but for 0
}
_GUESSED_RATE = (25.0,)  # where nothing tells it, as FFmpeg does
_LATEST_S = 1e9  # of a frame's time; stamps of ROS end at 2 ** 31
_MAX_LACK_S = 0.5  # of the announced length; headers are a frame or two wrong in healthy files


@dataclass(frozen=True, slots=True, eq=False)
class FilmFrame:
    """A frame of a film. time_s: from the first frame; it rises strictly. ends_s: when the container ends it."""

    time_s: float
    ends_s: float
    picture: Any = field(repr=False)  # of PyAV, or what Pillow read

    def image(self) -> NDArray[np.uint8]:
        """Return it as [H, W, 3] uint8 RGB, turned as the film says it is to be shown."""
        if isinstance(self.picture, np.ndarray):
            return self.picture
        return _turned(self.picture.to_ndarray(format="rgb24"), _display_matrix(self.picture))


@dataclass(slots=True)
class Film:
    """A film file. One frame is in memory at a time, and each reading decodes anew.

    After a reading: rates are the frames a second that the header tells; problems are sentences, naming the file, about
    what is missing, damaged or was put right, none for a film that was read as it stands.
    """

    file: Path
    rates: tuple[float, ...] = ()
    problems: tuple[str, ...] = ()

    def frames(self) -> Iterator[FilmFrame]:
        """Yield the frames in order of time.

        Raises MediaError, naming the file, if it is missing, no film, holds no picture that can be decoded, or pictures
        of several sizes; MissingDependencyError without PyAV.
        """
        require_file(self.file, error=MediaError)
        source = self._webp() if is_webp(self.file) else self._decoded()
        first: FilmFrame | None = None
        for number, frame in enumerate(source):
            first = first or frame
            if _size(frame) != _size(first):
                sizes = " then ".join("{} x {}".format(*_size(one)) for one in (first, frame))
                raise MediaError(f"video {self.file} changes its size, {sizes} at frame {number}; scale it to one size")
            if frame.time_s > _LATEST_S:
                raise MediaError(f"video {self.file} is corrupt: its frame {number} is at {frame.time_s:.0f} s")
            yield frame
        if first is None:
            raise MediaError("; ".join((f"video {self.file} has no frame that can be decoded", *self.problems)))

    def _webp(self) -> Iterator[FilmFrame]:
        found = webp_frames(self.file)
        self.problems = self._told(found.problems)
        for time_s, ends_s, image in found.frames:
            yield FilmFrame(time_s, ends_s, image)

    def _decoded(self) -> Iterator[FilmFrame]:
        with _opened(self.file) as (container, stream):
            self.rates = tuple(float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate)
            reading = _Reading(container, stream, FilmClock(1 / (*_GUESSED_RATE, *self.rates)[-1]))
            yield from reading.frames()
            self.problems = self._told(reading.problems(self.file))

    def _told(self, problems: Sequence[str]) -> tuple[str, ...]:
        return tuple(f"video {self.file} is not read as a whole: {problem}" for problem in problems)


class _Reading:
    """Once through a container: demuxes every stream, decodes the pictures, counts what went wrong."""

    def __init__(self, container: Any, stream: Any, clock: FilmClock) -> None:
        self._container, self._stream, self._clock = container, stream, clock
        self._formats = set(container.format.name.split(","))
        self._count = self._damaged = 0
        self._reached_s = 0.0  # the latest end of a packet, sound included
        self._last_s = 0.0
        self._broke: str = ""

    def frames(self) -> Iterator[FilmFrame]:
        length_s = 0.0
        for packet in self._packets():
            if packet.stream is not self._stream:
                continue
            length_s = _seconds(packet.duration, packet) or length_s
            for picture in self._pictures(packet):
                time_s = self._clock.place(self._own_time(picture))
                self._count, self._last_s = self._count + 1, time_s
                yield FilmFrame(time_s, time_s + length_s, picture)

    def _own_time(self, picture: Any) -> float | None:
        """AVI keeps no times but the order of decoding; what FFmpeg makes of that for pictures that wait is wrong."""
        ticks = picture.dts if "avi" in self._formats else picture.pts
        return None if ticks is None else float(ticks * self._stream.time_base)

    def problems(self, file: Path) -> tuple[str, ...]:
        """Return what was found, once the frames were read."""
        found = []
        lacking = self._lacking(file)
        if lacking:
            announced = f" of {self._stream.frames}" if self._stream.frames > self._count else ""
            found.append(f"{lacking}; it has {self._count}{announced} frames, up to {self._last_s:.3f} s")
        if self._damaged:
            found.append(f"frames are missing or spoiled, for it has damaged packets: {self._damaged}")
        if self._clock.repaired:
            found.append(
                f"its times do not rise, so frames were put right after the one before: {self._clock.repaired}"
            )
        return tuple(found)

    def _lacking(self, file: Path) -> str:
        announced_s = (self._container.duration or 0) / 1e6 if self._formats & _WITH_LENGTH else 0.0
        if cut := ending(file, self._container.format.name) or self._broke:
            return cut
        lack_s = announced_s - self._reached_s
        return f"it announces {announced_s:.3f} s and ends {lack_s:.3f} s earlier" if lack_s > _MAX_LACK_S else ""

    def _packets(self) -> Iterator[Any]:
        packets = self._container.demux()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except _ffmpeg_errors() as err:
                self._broke = f"reading stopped: {err}"
                yield from self._last_packets()
                return
            begin = packet.pts if packet.pts is not None else packet.dts
            end_s = _seconds((begin or 0) + (packet.duration or 0), packet)
            self._reached_s = max(self._reached_s, end_s)
            yield packet

    def _last_packets(self) -> Iterator[Any]:
        """Yield what makes the decoder hand out the frames that it still holds."""
        import av

        flush = av.Packet(0)
        flush.stream = self._stream
        yield flush

    def _pictures(self, packet: Any) -> list[Any]:
        try:
            pictures = packet.decode()
        except _ffmpeg_errors():
            self._damaged += 1
            return []
        self._damaged += bool(packet.is_corrupt or any(picture.is_corrupt for picture in pictures))
        return list(pictures)


@contextmanager
def _opened(file: Path) -> Iterator[tuple[Any, Any]]:
    """Open the container and find its pictures; a cover in a file of music is none."""
    av = _library()
    try:
        # The argument `options` would crash PyAV before 17 where streams show up late, as in MPEG-PS.
        container = av.open(f"file:{file}", container_options=_OPTIONS, metadata_errors="replace")
    except _ffmpeg_errors() as err:
        why = ending(file, "") or "it is no video, corrupt, or of an unknown format"
        raise MediaError(f"video {file} cannot be opened: {why}") from err
    with container:
        moving = [one for one in container.streams.video if not _is_cover(one)]
        if not moving:
            what = "sound but no pictures" if container.streams.audio else "no pictures"
            raise MediaError(f"video {file} holds {what}")
        if moving[0].codec_context is None:
            why = ending(file, container.format.name) or "the installed FFmpeg does not know how it is coded"
            raise MediaError(f"video {file} cannot be decoded: {why}")
        context = moving[0].codec_context
        if context.width * context.height > MAX_PIXELS:
            raise MediaError(
                f"video {file} claims {context.width} x {context.height} pixels; at most {MAX_PIXELS} are read"
            )
        context.options = {"max_pixels": str(MAX_PIXELS)}  # for what changes later
        moving[0].thread_type = "SLICE"  # threads for frames lose the last ones, and marks of damage
        yield container, moving[0]


def _library() -> Any:
    try:
        import av
    except ModuleNotFoundError as err:
        raise MissingDependencyError("reading videos needs PyAV; run `pip install '.[video]'`") from err
    return av


def _ffmpeg_errors() -> tuple[type[Exception], ...]:
    av = _library()
    return (av.error.FFmpegError,)


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & type(stream.disposition).attached_pic) if hasattr(stream, "disposition") else False


def _seconds(ticks: int | None, packet: Any) -> float:
    return float(ticks * packet.time_base) if ticks and packet.time_base else 0.0


def _size(frame: FilmFrame) -> tuple[int, int]:
    """Return width and height as stored."""
    if isinstance(frame.picture, np.ndarray):
        return frame.picture.shape[1], frame.picture.shape[0]
    return frame.picture.width, frame.picture.height


def _display_matrix(picture: Any) -> NDArray[np.int32] | None:
    for data in picture.side_data:
        if data.type.name == "DISPLAYMATRIX":
            return np.frombuffer(bytes(data), dtype="<i4").reshape(3, 3)
    return None


def _turned(image: NDArray[np.uint8], matrix: NDArray[np.int32] | None) -> NDArray[np.uint8]:
    """Turn and mirror by the nearest of the eight ways; a phone held upright stores its pictures lying.

    matrix: x' = a x + c y, y' = b x + d y of its rows (a, b, .), (c, d, .), y downward.
    """
    if matrix is None:
        return image
    (a, b), (c, d) = matrix[:2, :2].tolist()
    if abs(a) + abs(d) < abs(b) + abs(c):
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
