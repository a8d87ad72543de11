"""How a program ends: with an exit status, in one line if something was wrong, quietly if nobody listens any more."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, TextIO, cast

from vila_core.bug import BUG, bug_report
from vila_core.errors import Terminated, VilaError

INPUT_ERROR = 2
INTERRUPTED = 130
CLOSED_PIPE = 141  # as the shell tells of a program that SIGPIPE ended
TERMINATED = 143
EXTRAS = {
    "av": "sim",
    "fastapi": "page",
    "gymnasium": "gym",
    "hypothesis": "test",
    "lz4": "ros",
    "mcap": "ros",
    "rosbags": "ros",
    "mujoco": "sim",
    "prometheus_client": "server",
    "pydantic": "server",
    "pxr": "isaac",
    "ray": "ray",
    "rclpy": "ros",
    "scipy": "sim",
    "uvicorn": "page",
    "vila_nav": "ros",
    "zstandard": "ros",
}
_OURS = ("vila_core", "vila_ros", "vila_sim", "vila_tools")
# What a machine refuses, rather than what a program does wrong.
_ENVIRONMENT = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOMEM),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EMFILE, errno.ENFILE),
    *(errno.ENXIO, errno.ENODEV, errno.EBUSY, errno.ETXTBSY, errno.ESTALE, errno.ENOSYS),
}


class UnheardError(Exception):
    """What is printed cannot be written; the cause is the system's OSError."""


class _Printed:
    """Standard output whose errors are told from those of other files, whatever of it is buffered."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write as the stream does; raises UnheardError."""
        try:
            return self._stream.write(text)
        except OSError as err:
            raise UnheardError from err

    def flush(self) -> None:
        """Flush as the stream does; raises UnheardError."""
        try:
            self._stream.flush()
        except OSError as err:
            raise UnheardError from err

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def run_program(work: Callable[[], int]) -> int:
    """Do the work and return the exit status: its own, or one of those above; 70 for a bug, told with its traceback.

    A VilaError, a missing library and what the machine refuses are told in one line on stderr. What was printed is
    out when this returns. Raises SystemExit where argparse does.
    """
    is_closed = _open_streams()
    stream = sys.stdout
    sys.stdout = cast("TextIO", _Printed(stream))
    try:
        with _terminated_by_sigterm():
            status = _status(work)
    except SystemExit as end:  # argparse's
        raise SystemExit(_status(sys.stdout.flush) or end.code) from None
    finally:
        sys.stdout = stream
    if is_closed and not status:
        return fail("standard output cannot be written: it is closed")
    return status


def fail(message: str, details: str = "") -> int:
    """Tell it in a line on stderr, behind the details if there are some; returns the exit status."""
    with suppress(OSError):  # nobody may read that either
        if details:
            print(details, file=sys.stderr)
        print(f"vila: {message}", file=sys.stderr)
    return INPUT_ERROR


def _status(work: Callable[[], int | None]) -> int:
    try:
        status = work() or 0
        sys.stdout.flush()
    except UnheardError as error:
        return _unheard(error.__cause__)
    except VilaError as error:
        details = getattr(error, "details", "")
        return fail(" ".join(str(error).split()), details)
    except Terminated:
        return TERMINATED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the end of the program: what is none of these is a bug
        told = _refused(error)
        if told is not None:
            return fail(told)
        print(bug_report(error), file=sys.stderr)
        return BUG
    return status


def _refused(error: Exception) -> str | None:
    """What the machine refuses or lacks, in a line; None for any other error."""
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith(_OURS):
        return _missing(error)
    if isinstance(error, ImportError) and ".so" in str(error):
        return f"a library cannot be loaded: {error}; install what it names"
    if isinstance(error, MemoryError):
        return f"not enough memory{f': {error}' if str(error) else ''}"
    if isinstance(error, OSError) and error.errno in _ENVIRONMENT:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else str(error.strerror)
    return None


def _missing(error: ModuleNotFoundError) -> str:
    """Name the library and the extra that brings it."""
    top = (error.name or "").split(".")[0]
    extra = EXTRAS.get(top, "ros" if top.endswith("_msgs") else None)
    if extra is None:
        return f"library {top!r} is not installed; run `pip install .` again"
    return f"library {top!r} is not installed; run `pip install '.[{extra}]'`"


def _open_streams() -> bool:
    """Make what is printed printable and no stream closed; returns whether standard output is.

    A file that is opened later would get the number of a closed one, and what libraries print.
    """
    closed = sys.stdout is None
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    if closed:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # as long as the process
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path that is not UTF-8, a reply where all is ASCII
    return closed


def _unheard(cause: BaseException | None) -> int:
    """Let go what is not printed yet; returns the status of it, quietly if it is only that nobody reads any more."""
    _silence()
    if isinstance(cause, BrokenPipeError):
        return CLOSED_PIPE
    return fail(f"standard output cannot be written: {getattr(cause, 'strerror', cause)}")


def _silence() -> None:
    """Send what is left nowhere: Python would try again at the very end, and complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, sys.stdout.fileno())
    except io.UnsupportedOperation:  # a stream without a file
        return
    finally:
        os.close(null)


@contextmanager
def _terminated_by_sigterm() -> Iterator[None]:
    """Raise Terminated at SIGTERM, so that what is half done is taken back, unless the program hears it otherwise."""
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise_terminated(_number: int, _frame: FrameType | None) -> None:
    raise Terminated
