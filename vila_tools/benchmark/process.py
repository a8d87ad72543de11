"""A worker process that holds one benchmark target: the parent's end, and the program that it runs.

`python -m vila_tools.benchmark.process TARGET JOB` loads the target, then runs the steps that it is asked for, one line
of JSON each.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from vila_core.errors import BackendError
from vila_core.machine.memory import peak_resident_bytes, resident_bytes
from vila_tools.benchmark.target import BenchmarkTarget, StepJob

_ROOT = Path(__file__).resolve().parents[2]  # the worker imports the same package
_LIMIT_S = 1800.0
_EXIT_S = 10.0


class WorkerProcess:
    """A resident process that holds one benchmark target; it works only while it is asked to.

    facts: what the target says of itself. resident_mb: as of its last reply.
    """

    def __init__(self, target: str, job: StepJob, *, limit_s: float = _LIMIT_S) -> None:
        """Start the process and wait until the target is loaded. Raises BackendError with its last words."""
        self._limit_s = limit_s
        self._errors = tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vila_tools.benchmark.process", target, job.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=_environment(job.threads),
        )
        try:
            ready = self._receive()
        except BaseException:
            self.close()
            raise
        self.facts: dict[str, Any] = ready["facts"]
        self.resident_mb: float = ready["resident_mb"]

    def run(self, method: str) -> dict[str, Any]:
        """Make one step: {"ms", "parts", "idle", "resident_mb"}. Raises BackendError if the process fails."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"method": method}) + "\n")
            self._process.stdin.flush()
        except OSError as err:
            raise BackendError(self._last_words()) from err
        reply = self._receive()
        self.resident_mb = reply["resident_mb"]
        return reply

    def close(self) -> None:
        """End the process and free its memory."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what a dead worker did not read
                    stream.close()
        try:
            self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def _receive(self) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        readable, _, _ = select.select([stdout], [], [], self._limit_s)
        line = stdout.readline() if readable else ""
        if not line:
            raise BackendError(self._last_words() if readable else f"no answer in {self._limit_s:.0f} s")
        return json.loads(line)

    def _last_words(self) -> str:
        """The last line that the process wrote to standard error, and how it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_S)
        self._errors.seek(0)
        lines = [line for line in self._errors.read().splitlines() if line.strip()]
        return f"{lines[-1].strip() if lines else 'no message'} (exit status {self._process.poll()})"


def _environment(threads: int) -> dict[str, str]:
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    count = str(threads)
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}


# --- the program -------------------------------------------------------------------------------


def main() -> int:
    """Serve the target named by the arguments ("module:attribute" and a StepJob) until standard input ends."""
    target, job = sys.argv[1:]
    channel = _private_channel()
    module, attribute = target.split(":")
    loaded: BenchmarkTarget = getattr(importlib.import_module(module), attribute)(StepJob.from_json(job))
    _reply(channel, facts=loaded.facts, resident_mb=resident_mb())
    for line in sys.stdin:
        _reply(channel, **_run(loaded, json.loads(line)["method"]))
    return 0


def _private_channel() -> IO[str]:
    """Keep standard output for the replies alone: what libraries print goes to standard error."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return channel


def _run(target: BenchmarkTarget, method: str) -> dict[str, Any]:
    idle = target.prepare(method)
    began = time.perf_counter()
    parts = target.step(method)
    milliseconds = (time.perf_counter() - began) * 1e3
    return {"ms": milliseconds, "parts": parts, "idle": idle, "resident_mb": resident_mb()}


def _reply(channel: IO[str], **values: Any) -> None:
    channel.write(json.dumps(values) + "\n")
    channel.flush()


def resident_mb() -> float:
    """Return the megabytes resident in this process. Raises BackendError where the system does not tell."""
    return _megabytes(resident_bytes())


def peak_resident_mb() -> float:
    """Return the most megabytes that ever were. Raises BackendError where the system does not tell."""
    return _megabytes(peak_resident_bytes())


def _megabytes(count: int | None) -> float:
    if count is None:
        raise BackendError("this system does not tell what a process holds of its memory; measure on Linux")
    return count / 1e6


if __name__ == "__main__":
    sys.exit(main())
