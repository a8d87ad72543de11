"""A worker's side: what it says of itself, and how it does a job, whichever process it is."""

from __future__ import annotations

import os
import pickle
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

# Makes what does a job; it is told where on the worker's machine a path of ours is.
Start = Callable[[Callable[[Path], Path]], Callable[[Job], Result]]


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker that can be given jobs, and where it runs. node: Ray's name of the machine, "" without Ray."""

    host: str
    pid: int
    node: str


@dataclass(frozen=True, slots=True)
class Done:
    """A job's result, and how long it took."""

    result: Any
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """What a job, or the start, raised, and where, as text."""

    error: BaseException
    details: str


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker that ended before its time."""

    reason: str


Message = Ready | Done | Failed | Lost


def whereabouts(node: str = "") -> Ready:
    """Tell where this process runs."""
    return Ready(socket.gethostname(), os.getpid(), node)


class WorkerDesk:
    """Starts once and does jobs; what goes wrong is said, not raised."""

    def __init__(self, start: Start[Any, Any]) -> None:
        self._start = start
        self._work: Callable[[Any], Any] | None = None

    def ready(self, at: Callable[[Path], Path], node: str = "") -> Ready | Failed:
        """Start. at: where a path of ours is here."""
        try:
            self._work = self._start(at)
        except Exception as err:  # noqa: BLE001  # raised again where the jobs come from
            return failure(err)
        return whereabouts(node)

    def do(self, job: Any) -> Done | Failed:
        """Do one job."""
        assert self._work is not None
        began = time.perf_counter()
        try:
            result = self._work(job)
        except Exception as err:  # noqa: BLE001  # raised again where the jobs come from
            return failure(err)
        return Done(result, time.perf_counter() - began)


def failure(err: Exception) -> Failed:
    """Make an error one that can be sent."""
    details = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(err))
    except Exception:  # noqa: BLE001  # any class may raise any, when it is made again
        return Failed(RuntimeError(repr(err)), details)
    return Failed(err, details)


class WorkerTracebackError(Exception):
    """Where in a worker an error was raised, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def raise_failure(failed: Failed) -> NoReturn:
    """Raise what a worker raised."""
    raise failed.error from WorkerTracebackError(failed.details)
