"""Workers of a Ray cluster: an actor each, one on this machine alone being a cluster too."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vila_core.errors import ConfigError, MissingDependencyError
from vila_core.version import package_version
from vila_tools.workers.pool import Dispatcher, Job, Result, WorkerCost
from vila_tools.workers.sent_files import SentFiles, placed, sent_files
from vila_tools.workers.worker import Failed, Lost, Message, Start, WorkerDesk, failure

LOCAL = "local"
_WAIT_S = 60.0  # after which it is said that no worker starts
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class RayPool:
    """The workers of a cluster, which this process connects to while it has jobs.

    address: local starts a cluster of this machine, else what ray.init takes. workers: None for one on each processor,
    or on each GPU with uses_gpu, of which each worker then has one. Raises MissingDependencyError without ray.
    """

    is_here = False

    def __init__(self, address: str, workers: int | None = None, *, uses_gpu: bool = False) -> None:
        self._ray = _library()
        self._address, self._workers = address, workers
        self._unit = "GPU" if uses_gpu else "CPU"
        self._dispatcher: Dispatcher[Any] | None = None

    @property
    def costs(self) -> list[WorkerCost]:
        """See WorkerPool."""
        return [] if self._dispatcher is None else self._dispatcher.costs

    def run(
        self, start: Start[Job, Result], jobs: Sequence[Job], *, brings: Sequence[Path] = (), most_jobs: int = 0
    ) -> Iterator[tuple[int, Result]]:
        """See WorkerPool.

        Raises ConfigError for an address where no cluster answers, one without a processor or GPU, and another version
        of this package there; CheckpointError for what a worker's machine lacks.
        """
        if not jobs:
            return
        with self._connected():
            crew = _Actors(self._ray, self._unit, start, [sent_files(path) for path in brings])
            try:
                self._dispatcher = Dispatcher(crew, jobs, most_jobs)
                yield from self._dispatcher.run(self._workers or self._room())
            finally:
                crew.close()

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Be the cluster's driver, or stay it where this process is one."""
        if self._ray.is_initialized():
            yield
            return
        more: dict[str, Any] = {}
        if self._address == LOCAL:
            more = {"num_cpus": max(self._workers or 1, os.cpu_count() or 1), "include_dashboard": False}
        try:
            self._ray.init(self._address, log_to_driver=False, logging_level="ERROR", **more)
        except (ConnectionError, ValueError, RuntimeError) as err:
            raise ConfigError(f"--ray {self._address}: {' '.join(str(err).split())}") from err
        try:
            yield
        finally:
            self._ray.shutdown()

    def _room(self) -> int:
        """How many workers the cluster has room for."""
        room = int(self._ray.cluster_resources().get(self._unit, 0))
        if room < 1:
            raise ConfigError(f"--ray {self._address}: the cluster has no {self._unit} for workers")
        return room


def _library() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to others; ray reads it once
    try:
        import ray
    except ImportError as err:
        raise MissingDependencyError("--ray needs 'ray', which is not installed; run `pip install '.[ray]'`") from err
    return ray


class RayActor:
    """A worker, in a process of Ray."""

    def __init__(self) -> None:
        self._desk: WorkerDesk | None = None

    def ready(self, version: str, start: Start[Any, Any], *sent: SentFiles) -> Message:
        """Take what was sent, and start."""
        import ray

        self._desk, node = WorkerDesk(start), ray.get_runtime_context().get_node_id()
        try:
            if package_version() != version:
                raise ConfigError(
                    f"vila_nav is {package_version()} on {os.uname().nodename}, here {version}: install the same"
                )
            with placed(sent) as at:
                return self._desk.ready(at, node)
        except Exception as err:  # noqa: BLE001  # raised again where the jobs come from
            return failure(err)

    def do(self, job: Any) -> Message:
        """Do one job."""
        assert self._desk is not None
        return self._desk.do(job)


class _Actors:
    """A crew of actors, by number; of each one answer is waited for."""

    def __init__(self, ray: Any, unit: str, start: Start[Any, Any], sent: Sequence[SentFiles]) -> None:
        """unit: CPU or GPU, of which each actor gets one."""
        self._ray, self._start = ray, start
        self._sent = [ray.put(one) for one in sent]  # each machine gets it once
        self._actor = ray.remote(RayActor).options(
            max_restarts=0, scheduling_strategy="SPREAD", num_cpus=1, num_gpus=int(unit == "GPU")
        )
        self._actors = dict[int, Any]()
        self._hired = 0
        self._starting = dict[Any, int]()  # answers that are waited for, and whose they are
        self._working = dict[Any, int]()

    def hire(self) -> int:
        """See Crew."""
        self._hired += 1
        actor = self._actor.remote()
        self._actors[self._hired] = actor
        self._starting[actor.ready.remote(package_version(), self._start, *self._sent)] = self._hired
        return self._hired

    def give(self, worker: int, job: Any) -> None:
        """See Crew."""
        self._working[self._actors[worker].do.remote(job)] = worker

    def dismiss(self, worker: int) -> None:
        """See Crew."""
        self._ray.kill(self._actors.pop(worker))

    def hear(self) -> list[tuple[int, Message]]:
        """See Crew."""
        awaited = [*self._working, *self._starting]
        answers, _ = self._ray.wait(awaited, num_returns=1, timeout=None if self._working else _WAIT_S)
        if not answers:
            print("no worker could be started yet: has the cluster room, and vila_nav on it?", file=sys.stderr)
            answers, _ = self._ray.wait(awaited, num_returns=1)
        return [(self._worker_of(answer), self._message(answer)) for answer in answers]

    def _worker_of(self, answer: Any) -> int:
        return self._working.pop(answer) if answer in self._working else self._starting.pop(answer)

    def _message(self, answer: Any) -> Message:
        """What the actor said. What Ray raises is that it is lost, unless the actor could not read what it was sent."""
        errors = self._ray.exceptions
        try:
            message: Message = self._ray.get(answer)
        except errors.RayTaskError as err:
            return Failed(err.cause if isinstance(err.cause, Exception) else err, str(err))
        except errors.RayError as err:
            lines = _COLOURS.sub("", str(err)).strip().splitlines() or [type(err).__name__]
            return Lost(" ... ".join(dict.fromkeys((lines[0], lines[-1]))))
        return message

    def close(self) -> None:
        """End all actors, whatever they do."""
        for actor in self._actors.values():
            with suppress(self._ray.exceptions.RayError):  # a cluster that is gone
                self._ray.kill(actor)
        self._actors.clear()
