"""Read small files whole, and look at the beginning of large ones: what is no such file is called by its name."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from vila_core.errors import CheckpointError, VilaError

MOST_BYTES = 256 << 20  # of a file that is read whole
_LFS, _HTML = b"version https://git-lfs.github.com/spec/", (b"<!doctype", b"<html", b"<?xml")
_UTF16, _BOM = (b"\xff\xfe", b"\xfe\xff"), b"\xef\xbb\xbf"
_HEAD = 256


def read_text(file: Path, *, error: type[VilaError] = CheckpointError, remedy: str = "") -> str:
    """Read a UTF-8 text, its byte order mark left out.

    remedy: what to do about a file that cannot be read. Raises the error naming the file and what it is instead.
    """
    data = read_bytes(file, error=error, remedy=remedy)
    if data.startswith(_UTF16):
        raise error(f"{file} is UTF-16 text; save it as UTF-8")
    try:
        return data.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError as err:
        raise error(f"{file} is not UTF-8 text: byte {err.start} is {data[err.start]:#04x}; save it as UTF-8") from err


def read_bytes(file: Path, *, error: type[VilaError] = CheckpointError, remedy: str = "") -> bytes:
    """Read a file whole; see require_file for what it raises, and for a file of more than MOST_BYTES."""
    size = require_file(file, error=error, remedy=remedy)
    if size > MOST_BYTES:
        raise error(f"{file} has {size} bytes, more than the {MOST_BYTES} that such a file may have")
    try:
        return file.read_bytes()
    except OSError as err:
        raise error(f"{file} cannot be read: {err.strerror}{_then(remedy)}") from err


def require_file(file: Path, *, error: type[VilaError] = CheckpointError, remedy: str = "") -> int:
    """Return the size of a file that is there, can be read and holds something.

    Raises the error for what is missing or no file, an empty one, a git-lfs pointer and a web page in its place.
    """
    try:
        facts = file.stat()
        if stat.S_ISDIR(facts.st_mode):
            raise error(f"{file} is a directory, expected a file{_then(remedy)}")
        if not stat.S_ISREG(facts.st_mode):
            raise error(f"{file} is a device, pipe or socket, expected a file{_then(remedy)}")
        with file.open("rb") as stream:
            head = stream.read(_HEAD)
    except FileNotFoundError as err:
        why = "is a link that leads nowhere" if file.is_symlink() else "does not exist"
        raise error(f"{file} {why}{_then(remedy)}") from err
    except (OSError, ValueError) as err:  # ValueError: a name that no file can have
        reason = err.strerror if isinstance(err, OSError) else str(err)
        raise error(f"{file} cannot be read: {reason}{_then(remedy)}") from err
    if head.startswith(_LFS):
        raise error(f"{file} is a git-lfs pointer, not the file itself; fetch it with: git lfs pull")
    if not head:
        raise error(f"{file} is empty: 0 bytes{_then(remedy or 'download it again')}")
    if head.removeprefix(_BOM).lstrip().lower().startswith(_HTML):
        raise error(f"{file} holds a web page, not the file itself; download it again")
    return facts.st_size


def is_there(file: Path) -> bool:
    """Whether something bears the name, be it a link that leads nowhere: an optional file that is there is read."""
    return os.path.lexists(file)


def is_file(file: Path) -> bool:
    """Whether there is a file, behind a link too; False as well for a name that none can have."""
    return _mode(file, stat.S_ISREG)


def is_folder(folder: Path) -> bool:
    """Whether there is a folder; see is_file."""
    return _mode(folder, stat.S_ISDIR)


def _mode(path: Path, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _then(remedy: str) -> str:
    return f"; {remedy}" if remedy else ""
