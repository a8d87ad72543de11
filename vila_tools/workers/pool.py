"""Jobs shared by worker processes, of this machine or of a Ray cluster; a worker that is killed loses none."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from vila_core.errors import ConfigError, WorkerError
from vila_tools.workers.worker import Failed, Lost, Message, Ready, Start, raise_failure, whereabouts

Job = TypeVar("Job")
Result = TypeVar("Result")
Handle = TypeVar("Handle")  # a worker, as its crew knows it

MOST_LOSSES = 3  # of workers with the same job, or while they start
USUAL_WORKERS = 2


@dataclass(frozen=True, slots=True)
class WorkerCost:
    """What a worker did. busy_s: the time of its jobs that were finished. is_lost: it ended before its time."""

    host: str
    pid: int
    node: str  # of Ray, "" without
    jobs: int
    busy_s: float
    is_lost: bool


class WorkerPool(Protocol):
    """Where jobs are done. is_here: by this machine, so that what workers write is written here."""

    @property
    def is_here(self) -> bool:
        """True if the workers have this machine's files."""
        ...

    @property
    def costs(self) -> list[WorkerCost]:
        """What each worker did so far, lost ones included; those that did nothing are left out."""
        ...

    def run(
        self, start: Start[Job, Result], jobs: Sequence[Job], *, brings: Sequence[Path] = (), most_jobs: int = 0
    ) -> Iterator[tuple[int, Result]]:
        """Yield the number of each job and its result, each once, in any order; without jobs nothing is started.

        start: makes what does a job, once a worker; it and the jobs are pickled. brings: files and folders of this
        machine that it needs, each of which it finds where `start` is told. most_jobs: of a worker, then another takes
        its place; 0: any number. Raises what a job raised, WorkerError where workers end again and again.
        """
        ...


class Crew(Protocol, Generic[Handle]):
    """Workers of one kind: how they are hired, given jobs and heard."""

    def hire(self) -> Handle:
        """Have one more started; it is heard when it is ready."""
        ...

    def give(self, worker: Handle, job: Any) -> None:
        """Give a job to a worker that has none."""
        ...

    def dismiss(self, worker: Handle) -> None:
        """End a worker that has no job."""
        ...

    def hear(self) -> list[tuple[Handle, Message]]:
        """Wait until workers are ready, done, or lost; return what they say."""
        ...


@dataclass(slots=True, eq=False)
class _Record:
    """What is known of a worker. job: the number of what it does, None before and between jobs."""

    ready: Ready | None = None
    job: int | None = None
    jobs: int = 0
    busy_s: float = 0.0
    is_lost: bool = False

    def cost(self) -> WorkerCost:
        where = self.ready or Ready("", 0, "")
        return WorkerCost(where.host, where.pid, where.node, self.jobs, round(self.busy_s, 3), self.is_lost)


class Dispatcher(Generic[Handle]):
    """Hands jobs to a crew, one at a time to each worker; a lost worker's job goes to another."""

    def __init__(self, crew: Crew[Handle], jobs: Sequence[Any], most_jobs: int = 0) -> None:
        self._crew, self._jobs, self._most_jobs = crew, jobs, most_jobs
        self._waiting = deque(range(len(jobs)))
        self._losses = Counter[int | None]()
        self._workers = dict[Handle, _Record]()
        self._gone = list[_Record]()

    @property
    def costs(self) -> list[WorkerCost]:
        """See WorkerPool."""
        records = [*self._gone, *self._workers.values()]
        return [record.cost() for record in records if record.ready and (record.jobs or record.is_lost)]

    def run(self, workers: int) -> Iterator[tuple[int, Any]]:
        """Yield each job's number and result."""
        for _ in range(min(workers, len(self._jobs))):
            self._hire()
        left = len(self._jobs)
        while left:
            for worker, message in self._crew.hear():
                record = self._workers[worker]
                if isinstance(message, Failed):
                    raise_failure(message)
                if isinstance(message, Lost):
                    self._replace(worker, message)
                    continue
                if isinstance(message, Ready):
                    record.ready = message
                    self._losses[None] = 0
                    self._go_on(worker)
                    continue
                number, record.job = record.job, None
                record.jobs, record.busy_s = record.jobs + 1, record.busy_s + message.seconds
                left -= 1
                self._go_on(worker)  # before the result is looked at: a worker need not wait for that
                assert number is not None
                yield number, message.result

    def _hire(self) -> None:
        self._workers[self._crew.hire()] = _Record()

    def _go_on(self, worker: Handle) -> None:
        """Give the worker its next job, or let it go."""
        record = self._workers[worker]
        is_used_up = 0 < self._most_jobs <= record.jobs
        if self._waiting and not is_used_up:
            record.job = self._waiting.popleft()
            self._crew.give(worker, self._jobs[record.job])
            return
        self._gone.append(self._workers.pop(worker))
        self._crew.dismiss(worker)
        if self._waiting:
            self._hire()

    def _replace(self, worker: Handle, lost: Lost) -> None:
        record = self._workers.pop(worker)
        record.is_lost = True
        self._gone.append(record)
        self._losses[record.job] += 1
        where = "a worker that was starting" if record.ready is None else f"{record.ready.host}, pid {record.ready.pid}"
        if self._losses[record.job] >= MOST_LOSSES:
            what = "while starting" if record.job is None else f"with job {record.job + 1} of {len(self._jobs)}"
            raise WorkerError(f"{MOST_LOSSES} workers ended {what}, the last ({where}): {lost.reason}")
        if record.job is not None:
            self._waiting.appendleft(record.job)
        print(f"lost {where}: {lost.reason}; what it did is done again", file=sys.stderr)
        if self._waiting:
            self._hire()


class InThisProcess:
    """Does all jobs one after the other, here."""

    is_here = True

    def __init__(self) -> None:
        self._record = _Record(whereabouts())

    @property
    def costs(self) -> list[WorkerCost]:
        """See WorkerPool."""
        return [self._record.cost()] if self._record.jobs else []

    def run(
        self, start: Start[Job, Result], jobs: Sequence[Job], *, brings: Sequence[Path] = (), most_jobs: int = 0
    ) -> Iterator[tuple[int, Result]]:
        """See WorkerPool; one process does any number of jobs."""
        if not jobs:
            return
        work = start(lambda path: path)
        for number, job in enumerate(jobs):
            began = time.perf_counter()
            result = work(job)
            self._record.jobs += 1
            self._record.busy_s += time.perf_counter() - began
            yield number, result


def add_pool_options(parser: argparse.ArgumentParser, *, workers: int = USUAL_WORKERS) -> None:
    """Add how many processes there are, and on which machines."""
    parser.add_argument(
        "--workers",
        type=int,
        help=f"processes (default: {workers}; with --ray as many as the cluster has processors, or GPUs with a --device"
        " that is one)",
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="share the work by Ray: local, auto (the cluster that this machine is of), ray://HOST:10001",
    )
    parser.set_defaults(usual_workers=workers)


def pool_of(args: argparse.Namespace) -> WorkerPool:
    """Return the pool that the options ask for. Raises ConfigError for less than one worker, and as RayPool does."""
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f"--workers {args.workers}: must be at least 1")
    if args.ray is not None:
        from vila_tools.workers.ray_pool import RayPool  # of an extra

        return RayPool(args.ray, args.workers, uses_gpu=str(getattr(args, "device", "")).startswith("cuda"))
    workers = args.usual_workers if args.workers is None else args.workers
    if workers == 1:
        return InThisProcess()
    from vila_tools.workers.processes import ProcessPool

    return ProcessPool(workers)


def cost_rows(pool: WorkerPool, unit: str) -> list[dict[str, Any]]:
    """What each worker did, for a report; unit: what its jobs are called there."""
    rows = [asdict(cost) for cost in pool.costs]
    return [{unit if name == "jobs" else name: value for name, value in row.items()} for row in rows]


def cost_lines(pool: WorkerPool, unit: str) -> Iterator[str]:
    """The same for people, where there is more than one."""
    costs = pool.costs
    if len(costs) > 1:
        yield from (
            f"worker {cost.host} pid {cost.pid}: {cost.jobs} {unit}, {cost.busy_s:.1f} s"
            + (", lost" if cost.is_lost else "")
            for cost in costs
        )
