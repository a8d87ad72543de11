"""Whether a compiled library is whole, ours and loads: asked before it is, for a cut one ends the process with SIGBUS.

Beside a library in the cache lies a record of its size and hash, NAME.so.json.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from vila_core.errors import OutputError
from vila_core.files.writing import write_text, written_whole
from vila_core.machine.cache import make_cache_folder, why_untrusted

_ELF = struct.Struct("<16sHHIQQQIHHHHHH")  # the header of a 64-bit library, little-endian
_SEGMENT = struct.Struct("<IIQQQQQQ")
_MAGIC = b"\x7fELF\x02\x01"


def keep_library(made: Path, cached: Path) -> None:
    """Put a library in the cache and its record beside it; OSError or OutputError where that cannot be."""
    make_cache_folder(cached.parent)
    if (flaw := why_untrusted(cached.parent)) is not None:
        raise OutputError(flaw)
    with written_whole(cached) as place:
        shutil.copy(made, place)
    write_text(_record_of(cached), json.dumps(_facts(made)) + "\n")


def why_not_as_kept(cached: Path) -> str | None:
    """Return why a library in the cache is not what was put there, or may be somebody else's; None if all is well."""
    try:
        flaw = why_untrusted(cached.parent) or why_untrusted(cached)
        recorded = json.loads(_record_of(cached).read_text(encoding="utf-8"))
        facts = _facts(cached)
    except (OSError, ValueError) as err:
        return f"its record cannot be read: {err}"
    if flaw is None and recorded != facts:
        size = recorded.get("size") if isinstance(recorded, dict) else None
        flaw = f"it is damaged: {facts['size']} of {size} bytes" if size != facts["size"] else "its content has changed"
    return flaw


def why_unloadable(file: Path, needed: Sequence[str] = ()) -> str | None:
    """Return why a library is cut, does not load or lacks a function that is needed; None if it can be used."""
    if not file.is_file():
        return "no such file"
    try:
        if (flaw := _why_cut(file)) is not None:
            return flaw
        library = ctypes.CDLL(str(file))
    except OSError as err:
        return f"the library does not load: {err}"
    missing = [name for name in needed if not hasattr(library, name)]
    return f"the library lacks {missing[0]}" if missing else None


def _why_cut(file: Path) -> str | None:
    """Compare the file's size with where the parts end that its own header names."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(_ELF.size)
        if len(head) < _ELF.size or not head.startswith(_MAGIC):
            return "the library does not load: it is not a 64-bit ELF library"
        end = _end(head, stream)
    return f"it is cut: {size} of {end} bytes" if end > size else None


def _end(head: bytes, stream: BinaryIO) -> int:
    """Where the last of the segments ends, or the table of sections; what is cut away of the segments' own counts."""
    fields = _ELF.unpack(head)
    (segments, sections), (segment_size, segment_count, section_size, section_count) = fields[5:7], fields[9:13]
    ends = [sections + section_size * section_count, segments + segment_size * segment_count]
    stream.seek(segments)
    table = stream.read(segment_size * segment_count)
    for begin in range(0, len(table) - _SEGMENT.size + 1, segment_size):
        _, _, offset, _, _, stored, _, _ = _SEGMENT.unpack_from(table, begin)
        ends.append(offset + stored)
    return max(ends)


def _record_of(cached: Path) -> Path:
    return cached.with_name(cached.name + ".json")


def _facts(file: Path) -> dict[str, object]:
    content = file.read_bytes()
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
