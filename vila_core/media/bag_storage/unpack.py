"""Decompression that trusts no claimed size: memory is bounded by what the caller expects."""

from __future__ import annotations

import bz2
from typing import BinaryIO

from vila_core.media.bag_storage.common import LARGEST_BYTES, BagError, CutError, shown

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_LARGEST_WINDOW = 1 << 27  # bytes, as the zstd program's own limit
_PIECE = 1 << 13  # packed bytes; 32,000 times as much at worst when unpacked


def unpack(data: bytes, codec: str, size: int) -> bytes:
    """Return what was packed: size bytes. codec: none, zstd, lz4 or bz2, or empty for none.

    Raises BagError for data that is damaged or of another size, a size above LARGEST_BYTES, and an unknown codec.
    """
    if size > LARGEST_BYTES:
        raise BagError(f"a chunk claims to unpack to {size} bytes; the limit is {LARGEST_BYTES}")
    if codec in ("", "none"):
        found = data
    elif codec == "zstd":
        found = unpack_zstd(data, size)
    elif codec == "lz4":
        found = _unpack_lz4(data, size)
    elif codec == "bz2":
        found = _unpack_bz2(data, size)
    else:
        raise BagError(f"the compression {shown(codec)!r} of a chunk is unknown; known: zstd, lz4, bz2")
    if len(found) != size:
        raise BagError(f"a chunk unpacks to {'more' if len(found) > size else len(found)} bytes instead of {size}")
    return found


def unpack_begin(data: bytes, codec: str, limit: int) -> bytes | bytearray:
    """Return what can be unpacked of data that is cut, at most limit bytes; the codecs as unpack's."""
    import lz4.frame
    import zstandard

    limit = min(limit, LARGEST_BYTES)
    if codec in ("", "none"):
        return data[:limit]
    found = bytearray()
    try:
        if codec == "zstd":
            unpacker = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).decompressobj()
            for offset in range(0, len(data), _PIECE):
                found += unpacker.decompress(data[offset : offset + _PIECE])
                if len(found) > limit:
                    break
        elif codec == "lz4":
            found += lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=limit)
        elif codec == "bz2":
            found += bz2.BZ2Decompressor().decompress(data, max_length=limit)
    except (zstandard.ZstdError, RuntimeError, OSError, EOFError, ValueError):
        return found  # it is damaged too: what was unpacked before
    return found


def unpack_zstd(data: bytes, limit: int = LARGEST_BYTES) -> bytes:
    """Return what a zstd frame holds. Raises BagError if it is damaged or holds more than limit bytes."""
    import zstandard

    try:
        claimed = zstandard.frame_content_size(data)
        if claimed > limit:
            raise BagError(f"zstd data claims to unpack to {claimed} bytes, above {limit}")
        if claimed >= 0:
            return zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).decompress(data)
        with zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).stream_reader(data) as reader:
            found = reader.read(limit + 1)
    except zstandard.ZstdError as err:
        raise BagError(f"zstd data is damaged: {err}") from err
    if len(found) > limit:
        raise BagError(f"zstd data unpacks to more than {limit} bytes")
    return bytes(found)


def _unpack_lz4(data: bytes, size: int) -> bytes:
    import lz4.frame

    try:
        unpacker = lz4.frame.LZ4FrameDecompressor()
        found = unpacker.decompress(data, max_length=size + 1)
    except (RuntimeError, ValueError, EOFError) as err:
        raise BagError(f"lz4 data is damaged: {err}") from err
    if len(found) == size and not unpacker.eof:
        raise BagError("lz4 data is damaged: it has no end")
    return bytes(found)


def _unpack_bz2(data: bytes, size: int) -> bytes:
    try:
        return bz2.BZ2Decompressor().decompress(data, max_length=size + 1)
    except (OSError, EOFError, ValueError) as err:
        raise BagError(f"bz2 data is damaged: {err}") from err


def unpack_file(source: BinaryIO, target: BinaryIO, limit: int) -> None:
    """Write what a zstd file holds, piece by piece.

    Raises CutError if the file ends too early, BagError if it is damaged or unpacks to more than limit bytes.
    """
    import zstandard

    unpackers = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
    unpacker, written = unpackers.decompressobj(), 0
    piece = source.read(_PIECE)
    while piece:
        try:
            written += target.write(unpacker.decompress(piece))
        except zstandard.ZstdError as err:
            raise BagError(f"zstd data is damaged: {err}") from err
        if written > limit:
            raise BagError(f"it unpacks to more than the {limit} bytes that are free for temporary files")
        rest = unpacker.unused_data if unpacker.eof else b""
        piece = rest or source.read(_PIECE)
        if piece and unpacker.eof:  # another frame follows
            unpacker = unpackers.decompressobj()
    if not unpacker.eof:
        raise CutError(f"its zstd data ends after {written} unpacked bytes, before its own end")
