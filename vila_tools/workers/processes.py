"""Worker processes of this machine."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from vila_tools.workers.pool import Dispatcher, InThisProcess, Job, Result, WorkerCost, WorkerPool
from vila_tools.workers.worker import Failed, Lost, Message, Start, WorkerDesk


class ProcessPool:
    """So many processes, each new (spawned); for one job there is no other than this one."""

    is_here = True

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._counted: Dispatcher[Connection] | WorkerPool = InThisProcess()

    @property
    def costs(self) -> list[WorkerCost]:
        """See WorkerPool."""
        return self._counted.costs

    def run(
        self, start: Start[Job, Result], jobs: Sequence[Job], *, brings: Sequence[Path] = (), most_jobs: int = 0
    ) -> Iterator[tuple[int, Result]]:
        """See WorkerPool."""
        if len(jobs) <= 1:
            self._counted = pool = InThisProcess()
            yield from pool.run(start, jobs)
            return
        crew = _Processes(start)
        try:
            self._counted = dispatcher = Dispatcher(crew, jobs, most_jobs)
            yield from dispatcher.run(self._workers)
        finally:
            crew.close()


class _Processes:
    """A crew of processes, each at the other end of a pipe."""

    def __init__(self, start: Start[Any, Any]) -> None:
        self._start = start
        self._context = multiprocessing.get_context("spawn")
        self._processes = dict[Connection, BaseProcess]()

    def hire(self) -> Connection:
        """See Crew."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._start), daemon=True)
        process.start()
        theirs.close()  # else nobody would hear that the process ended
        self._processes[ours] = process
        return ours

    def give(self, worker: Connection, job: Any) -> None:
        """See Crew."""
        with suppress(BrokenPipeError, ConnectionResetError):  # it is heard that it is lost
            worker.send(job)

    def dismiss(self, worker: Connection) -> None:
        """See Crew."""
        worker.close()
        self._processes.pop(worker).join()

    def hear(self) -> list[tuple[Connection, Message]]:
        """See Crew."""
        heard = multiprocessing.connection.wait(list(self._processes))
        return [(worker, self._next_message(worker)) for worker in heard if isinstance(worker, Connection)]

    def _next_message(self, worker: Connection) -> Message:
        try:
            message: Message = worker.recv()
        except (EOFError, ConnectionResetError):
            process = self._processes.pop(worker)
            process.join()
            worker.close()
            return Lost(f"the process ended with status {process.exitcode}")
        return message

    def close(self) -> None:
        """End all processes, whatever they do."""
        for worker, process in self._processes.items():
            process.terminate()
            worker.close()
        for process in self._processes.values():
            process.join()
        self._processes.clear()


def _serve(pipe: Connection, start: Start[Any, Any]) -> None:
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):  # nobody asks any more
        desk = WorkerDesk(start)
        ready = desk.ready(lambda path: path)
        pipe.send(ready)
        while not isinstance(ready, Failed):
            pipe.send(desk.do(pipe.recv()))
