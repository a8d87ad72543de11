"""How programs end: with a status and a line, a traceback only for a bug, quietly where nobody reads."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vila_core.bug import BUG, MAINTAINER
from vila_core.errors import ConfigError, Terminated
from vila_tools import ending
from vila_tools.ending import CLOSED_PIPE, INPUT_ERROR, INTERRUPTED, TERMINATED, run_program

ROOT = Path(__file__).resolve().parents[2]


def raising(error: BaseException):
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ConfigError("seed = -1"), INPUT_ERROR, "seed = -1"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.mp4"), INPUT_ERROR, "a.mp4: No such file"),
        (OSError(errno.ENOSPC, "No space left on device", "b"), INPUT_ERROR, "b: No space left on device"),
        (OSError(errno.EFBIG, "File too large"), INPUT_ERROR, "File too large"),
        (OSError(errno.EROFS, "Read-only file system", "c"), INPUT_ERROR, "c: Read-only file system"),
        (ModuleNotFoundError("no", name="av"), INPUT_ERROR, "pip install '.[sim]'"),
        (ImportError("libGL.so.1: cannot open shared object file"), INPUT_ERROR, "libGL.so.1"),
        (MemoryError(), INPUT_ERROR, "not enough memory"),
        (KeyboardInterrupt(), INTERRUPTED, ""),
        (Terminated(), TERMINATED, ""),
    ],
)
def test_what_a_person_can_mend_is_one_line(error, status, words, capsys):
    assert run_program(raising(error)) == status
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == bool(words) and "Traceback" not in told


@pytest.mark.parametrize(
    "error",
    [
        ValueError("odd"),
        KeyError("a"),
        ModuleNotFoundError("no", name="vila_core.nothing"),
        ImportError("cannot import name 'a' from 'b'"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),  # of a pipe of our own
        OSError("no number"),
    ],
)
def test_anything_else_is_a_bug_with_its_traceback(error, capsys):
    assert run_program(raising(error)) == BUG
    told = capsys.readouterr().err
    assert "Traceback" in told and "this is a bug, please report it" in told and MAINTAINER in told
    assert type(error).__name__ in told


def test_bugs_are_reported_to_whom_the_package_names():
    assert f'email="{MAINTAINER}"' in (ROOT / "package.xml").read_text()


def test_what_was_there_before_is_restored():
    before = sys.stdout, signal.getsignal(signal.SIGTERM)
    assert run_program(lambda: 3) == 3
    assert (sys.stdout, signal.getsignal(signal.SIGTERM)) == before


PRINTS = "print('a' * 100_000)"
RUN = "import sys, time; from vila_tools.ending import run_program; sys.exit(run_program(lambda: {work}))"


def ended(work: str, shell: str = "", **environment: str) -> tuple[int, str]:
    """Run a program of one expression in a shell; returns its status and what it said on stderr."""
    command = f'"$PYTHON" -c "$CODE" {shell or ">/dev/null"}'
    variables = {**os.environ, "PYTHON": sys.executable, "CODE": RUN.format(work=work), **environment}
    done = subprocess.run(["bash", "-c", command], env=variables, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("shell", "status", "words"),
    [
        (">/dev/full", INPUT_ERROR, "vila: standard output cannot be written: No space left on device"),
        (">&-", INPUT_ERROR, "vila: standard output cannot be written: it is closed"),
        (">&- 2>&-", INPUT_ERROR, ""),
        ("| true; exit ${PIPESTATUS[0]}", CLOSED_PIPE, ""),
        ("2>&1 | head -c 1 >/dev/null; exit ${PIPESTATUS[0]}", CLOSED_PIPE, ""),
    ],
)
def test_what_cannot_be_printed_is_told_in_a_line_or_not_at_all(shell, status, words, unbuffered):
    assert ended(f"time.sleep(0.2) or {PRINTS}", shell, PYTHONUNBUFFERED=unbuffered) == (status, words and words + "\n")


def test_a_short_text_that_is_buffered_to_the_end_is_told_too():
    status, told = ended("print('a')", ">/dev/full")
    assert status == INPUT_ERROR and told.count("\n") == 1 and "No space left" in told


def test_help_that_cannot_be_printed_is_told():
    status, told = ended("__import__('argparse').ArgumentParser().parse_args(['-h'])", ">/dev/full")
    assert status == INPUT_ERROR and told.count("\n") == 1


def test_a_file_never_takes_the_place_of_a_closed_stream(tmp_path):
    file = tmp_path / "a"
    status, _ = ended(f"__import__('os').open({str(file)!r}, 66) <= 2 and 1 / 0", ">&- 2>&- <&-")
    assert status == INPUT_ERROR and file.exists()


@pytest.mark.parametrize("text", ["caf\\u00e9", "caf\\udce9", "\\ud800"])
def test_what_the_terminal_has_no_letters_for_is_spelled(text):
    assert ended(f"print('{text}')", PYTHONIOENCODING="ascii") == (0, "")
    assert ended(f"print('{text}')") == (0, "")


def test_sigterm_takes_back_what_is_half_done(tmp_path):
    script = f"""
import os, signal, sys
from pathlib import Path
from vila_core.files.writing import written_whole
from vila_tools.ending import run_program

def work():
    with written_whole(Path({str(tmp_path / "a")!r})) as made:
        made.write_text("half")
        os.kill(os.getpid(), signal.SIGTERM)

sys.exit(run_program(work))
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == TERMINATED
    assert list(tmp_path.iterdir()) == []


def test_an_environment_error_is_one_that_programs_do_not_make():
    assert not {errno.EINVAL, errno.EPIPE, errno.EBADF, errno.EEXIST} & ending._ENVIRONMENT
