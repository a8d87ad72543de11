"""Where a film's file ends too early, told by the sizes that its container writes down.

Decoders read up to the end of a cut file and say nothing. Only containers that tell sizes are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_SYNC = 0x47  # begins each packet of MPEG-TS
_BLOCKS = (
    (188, 0),
    (192, 4),
    (204, 0),
)  # bytes of one, and where it begins: plain, a time before (Blu-ray), a checksum
_TAIL = 65536

Check = Callable[[BinaryIO, int], str]  # of an open file of so many bytes: what is wrong with its end

# Matroska: what is descended into, and what may stand in it.
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_ELEMENTS = {
    *(_SEGMENT, _CLUSTER),
    *(0x1A45DFA3, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1254C367, 0x1043A770, 0x1941A469, 0xEC, 0xBF),
    *(0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0x5854, 0xAF),  # of a cluster: its time, blocks, position
}


def ending(file: Path, formats: str) -> str:
    """Return what is wrong with the end of a film's file, in words; "" if nothing is, or nothing tells.

    formats: the container's names as FFmpeg lists them, "" to go by the first bytes.
    """
    names = formats.split(",")
    with file.open("rb") as stream:
        size = file.stat().st_size
        check = next((_CHECKS[name] for name in names if name in _CHECKS), None)
        if check is None and stream.read(12)[4:8] in (b"ftyp", b"moov", b"mdat"):
            check = _boxes
        stream.seek(0)
        return check(stream, size) if check else ""


def _boxes(stream: BinaryIO, size: int) -> str:
    """MP4 and QuickTime: each box tells its size; one of 0 goes to the end."""
    at = 0
    while at + 8 <= size:
        stream.seek(at)
        head = stream.read(16)
        length = int.from_bytes(head[:4], "big")
        length = int.from_bytes(head[8:], "big") if length == 1 else length
        if length < 8:
            return ""
        at += length
    return _cut(at, size) if at > size else ""


def _riff(stream: BinaryIO, size: int) -> str:
    """AVI and WebP; a recorder that crashed left a 0, and files above 1 GB are several."""
    end = 8 + int.from_bytes(stream.read(8)[4:], "little")
    return _cut(end, size) if end > size else ""


def _packets(stream: BinaryIO, size: int) -> str:
    head = stream.read(2048)
    for block, first in _BLOCKS:
        begins = head[first::block]
        if len(begins) > 2 and set(begins) == {_SYNC}:
            return f"it is cut in the middle of a packet, at byte {size}" if size % block else ""
    return ""


def _mark(mark: bytes) -> Check:
    """Return a check for the bytes that every whole file of a kind ends with; zeros behind them do no harm."""

    def check(stream: BinaryIO, size: int) -> str:
        stream.seek(max(0, size - _TAIL))
        is_whole = stream.read().rstrip(b"\0").endswith(mark)
        return "" if is_whole else f"it is cut at byte {size}, before the mark of its end"

    return check


def _matroska(stream: BinaryIO, size: int) -> str:
    furthest = 0
    for name, start, end in _elements(stream, size):
        if name not in _ELEMENTS:
            return f"it is damaged at byte {start}"
        furthest = max(furthest, end)
    return _cut(furthest, size) if furthest > size else ""


def _elements(stream: BinaryIO, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield each element's name (0: it ends outside the segment), first byte and end, up to the segment's end."""
    at, last = 0, 0  # last: where the segment ends, 0 as long as nothing tells
    while at < min(last or size, size):
        stream.seek(at)
        head = stream.read(12)
        name, width = _number(head, keep_mark=True)
        length, more = _number(head[width:], keep_mark=False)
        begin = at + width + more
        is_open = length == (1 << 7 * more) - 1  # written live: until something else begins
        end = begin if is_open else begin + length
        is_lost = 0 < last <= size and end > last
        yield 0 if is_lost else name, at, end
        if name == _SEGMENT and not is_open:
            last = end
        at = begin if name in (_SEGMENT, _CLUSTER) else end


def _number(data: bytes, *, keep_mark: bool) -> tuple[int, int]:
    """Read a number of variable width: its first byte's leading zeros tell how many bytes follow."""
    if not data or not data[0]:
        return 0, 1
    width = 9 - data[0].bit_length()
    value = int.from_bytes(data[:width], "big")
    return (value if keep_mark else value & ((1 << 7 * width) - 1)), width


def _cut(end: int, size: int) -> str:
    return f"it is cut: {size} bytes of at least {end} are there"


_CHECKS: dict[str, Check] = {
    "mov": _boxes,
    "avi": _riff,
    "mpegts": _packets,
    "gif": _mark(b";"),
    "apng": _mark(b"IEND\xae\x42\x60\x82"),
    "mjpeg": _mark(b"\xff\xd9"),
    "matroska": _matroska,
}
