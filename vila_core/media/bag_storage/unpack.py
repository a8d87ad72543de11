"""Decompression by the libraries' streams, which can be held to a limit, unlike their functions for whole data."""

from __future__ import annotations

import bz2
from typing import BinaryIO

import lz4.frame
import zstandard

from vila_core.media.bag_storage.common import LARGEST_BYTES, ZSTD_MAGIC, BagError, CutError, library_faults, shown

_LARGEST_WINDOW = 1 << 27  # bytes, as the zstd program's own limit
_PIECE = 1 << 13  # packed bytes; 32,000 times as much at worst when unpacked


def unpack(data: bytes, codec: str, limit: int, *, is_cut: bool = False) -> bytes:
    """Return what was packed. codec: none, zstd, lz4 or bz2, or empty for none. is_cut: what there is may do.

    Raises BagError for data that is damaged or unpacks to more than limit bytes, and for an unknown codec.
    """
    if limit > LARGEST_BYTES:
        raise BagError(f"a chunk claims to unpack to {limit} bytes; the limit is {LARGEST_BYTES}")
    found, is_whole = data, True
    with library_faults():
        if codec == "zstd":
            if zstandard.frame_content_size(data) > limit:
                raise BagError(f"zstd data claims to unpack to more than {limit} bytes")
            found = _unzstd().stream_reader(data).read(limit + 1)
        elif codec in ("lz4", "bz2"):
            unpacker = lz4.frame.LZ4FrameDecompressor() if codec == "lz4" else bz2.BZ2Decompressor()
            found = unpacker.decompress(data, max_length=limit + 1)
            is_whole = unpacker.eof
        elif codec not in ("", "none"):
            raise BagError(f"the compression {shown(codec)!r} of a chunk is unknown; known: zstd, lz4, bz2")
    if len(found) > limit:
        raise BagError(f"{codec or 'plain'} data holds more than {limit} bytes")
    if not is_whole and not is_cut:
        raise BagError(f"{codec} data is damaged: it has no end")
    return found


def unpacked_message(data: bytes) -> bytes:
    """Return a message whose bytes rosbag2 packed one by one; itself if it did not. CDR never begins as zstd does."""
    if not data.startswith(ZSTD_MAGIC):
        return data
    with library_faults():
        size = zstandard.frame_content_size(data)
    found = unpack(data, "zstd", LARGEST_BYTES if size < 0 else size)
    if len(found) < size:
        raise BagError(f"zstd data is damaged: it unpacks to {len(found)} of {size} bytes")
    return found


def unpack_file(source: BinaryIO, target: BinaryIO, limit: int) -> None:
    """Write what a zstd file holds, piece by piece.

    Raises CutError if the file ends too early, BagError if it is damaged or unpacks to more than limit bytes.
    """
    unpacker, written, piece = _unzstd().decompressobj(), 0, source.read(_PIECE)
    while piece:
        with library_faults():
            written += target.write(unpacker.decompress(piece))
        if written > limit:
            raise BagError(f"it unpacks to more than the {limit} bytes that are free for temporary files")
        piece = (unpacker.unused_data if unpacker.eof else b"") or source.read(_PIECE)
        if piece and unpacker.eof:  # another frame follows
            unpacker = _unzstd().decompressobj()
    if not unpacker.eof:
        raise CutError(f"its zstd data ends after {written} unpacked bytes, before its own end")


def _unzstd() -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
