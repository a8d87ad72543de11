"""Write files so that under its name each is there whole or not at all, and name what could not be written."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vila_core.errors import ConfigError, OutputError

_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how Rust's libraries tell errno
_UNWRITTEN = (
    "PytorchStreamWriter failed",
    "unexpected pos",
    " requested and ",
    "problem writing element",
)  # torch and numpy tell none
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)  # of file systems that have no fsync for a folder
_LAST = ("config.json", "manifest.json")  # without which nothing takes a folder for whole


@contextmanager
def written_whole(path: Path, *, aside: Path | None = None, keep: bool = False) -> Iterator[Path]:
    """Yield a path of the same name in a hidden folder, and put what was written there in its place at the end.

    The caller makes a file or a folder of it; what a folder that is there holds besides stays. The folders above are
    made. After an error what was there before is there. A device or a pipe is written to as it is.
    aside: the folder to make the hidden one in, on the same file system. keep: leave what is there by then as it is.
    Raises OutputError where it cannot be written.
    """
    if _is_device(path):
        with naming_output(path):
            yield path
        return
    path = Path(os.path.realpath(path))  # a link stays, what it names is replaced
    with naming_output(path):
        where = aside or (path if path.is_dir() else path.parent)
        where.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{path.name[:32]}.", dir=where))
    try:
        with naming_output(path, beside):
            made = beside / path.name
            yield made
            _sync_all(made)
            if not (keep and path.exists()):
                _take_place(made, path)
            _sync(path.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all; raises as `written_whole`."""
    with written_whole(path) as made:
        made.write_text(text, encoding="utf-8")


def require_unused(folder: Path) -> None:
    """Raise ConfigError for a directory to be written that is there and not empty, or is none."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there and not empty; give another --out or delete it")


@contextmanager
def naming_output(path: Path, beside: Path | None = None) -> Iterator[None]:
    """Turn what a full disk and the like raise, in whatever library's words, into an OutputError that names the path.

    beside: where it is written to; errors about files elsewhere go on as they are, as does every other error.
    """
    try:
        yield
    except Exception as err:  # libraries have their own classes for it
        reason = _why_unwritten(err, beside)
        if reason is None:
            raise
        raise OutputError(f"{path} cannot be written: {reason}") from err


def _is_device(path: Path) -> bool:
    is_special = path.exists() and not (path.is_file() or path.is_dir())
    return is_special or path.is_relative_to("/dev") or path.is_relative_to("/proc")


def _why_unwritten(err: Exception, beside: Path | None) -> str | None:
    """Return the reason in the system's words; None for an error that is about something else."""
    if isinstance(err, FileExistsError):  # of a folder that was to be made
        return os.strerror(errno.ENOTDIR)
    if isinstance(err, OSError) and err.errno:
        is_ours = beside is None or err.filename is None or str(beside) in str(err.filename)
        return os.strerror(err.errno) if is_ours else None
    if (told := _OS_ERROR.search(str(err))) is not None:
        return os.strerror(int(told[1]))
    if any(words in str(err) for words in _UNWRITTEN):
        return "no space is left, or a limit on the size of files is reached"
    return None


def _take_place(made: Path, path: Path) -> None:
    """Rename; the files of a folder go into one that is there, those last that tell that it is whole."""
    if made.is_dir() and path.is_dir():
        for entry in sorted(made.iterdir(), key=lambda entry: (not entry.is_dir(), entry.name in _LAST, entry.name)):
            _take_place(entry, path / entry.name)
    elif path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    else:
        made.replace(path)


def _sync_all(made: Path) -> None:
    """Have the disk hold it, all that is below a folder included: a loss of power must not leave half."""
    if made.is_dir():
        for entry in made.iterdir():
            _sync_all(entry)
    _sync(made)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as err:
        if err.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(number)
