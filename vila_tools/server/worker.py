"""The one thread that runs the model: choices at once, written replies a few tokens at a time, clients in turn."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from vila_core.engine.torch_backend import TorchBackend
from vila_core.errors import VilaError
from vila_tools.server.errors import DOWN, RefusedError
from vila_tools.server.fair_queue import FairQueue
from vila_tools.server.tasks import Task, Told, choose, write

_MOST_WRITTEN = 8  # replies that are being written at a time; their prompts stay in the cache meanwhile
_LOG = logging.getLogger("vila.serve")


class Worker:
    """Answers tasks from `start` to `stop`. observe: is told each task's wait, at its first step."""

    def __init__(self, backend: TorchBackend, observe: Callable[[Task], None] = lambda task: None) -> None:
        self._backend, self._observe = backend, observe
        self._choices: FairQueue[Task] = FairQueue()
        self._waiting: FairQueue[Task] = FairQueue()
        self._written: deque[Task] = deque()
        self._slots = CacheSlots()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="vila serve worker", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether tasks are answered."""
        return self._thread.is_alive() and not self._is_stopping

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer nothing more, and end the thread; who waits is told."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join()
        for task in self._left():
            task.tell(RefusedError(DOWN, "the server is shutting down", "shutting_down"))

    def submit(self, task: Task) -> None:
        """Have a task answered in its turn. Raises RefusedError once the worker is stopped."""
        with self._changed:
            if self._is_stopping:
                raise RefusedError(DOWN, "the server is shutting down", "shutting_down")
            (self._choices if task.is_choice else self._waiting).put(task.client, task)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._is_stopping or self._choices or self._waiting or self._written):
                    self._changed.wait()
                if self._is_stopping:
                    return
                choice = self._choices.get()
                if len(self._written) < _MOST_WRITTEN and (begun := self._waiting.get()) is not None:
                    self._written.append(begun)
            if choice is not None:
                self._step(choice, self._choose)
            if self._written:
                task = self._written.popleft()
                if not self._step(task, write):
                    self._written.append(task)

    def _choose(self, backend: TorchBackend, task: Task) -> bool:
        choose(backend, task)
        return True

    def _step(self, task: Task, work: Callable[[TorchBackend, Task], bool]) -> bool:
        """Do a step; True if the task is over. Whatever it raises ends that task alone."""
        if not task.cancelled.is_set():
            if task.waited_s is None:
                task.waited_s = time.monotonic() - task.begun_s
                self._observe(task)
            task.slot = task.slot or self._slots.take(task.client)
            error: Told | None = None
            try:
                if not work(self._backend, task):
                    return False
            except VilaError as err:
                error = err
            except Exception as err:  # noqa: BLE001  # torch raises what it likes; others must be answered
                _LOG.exception("a request failed")
                error = err
            if error is not None:
                task.tell(error)
        if task.slot:
            self._slots.give(task.slot)
        return True

    def _left(self) -> list[Task]:
        left = list(self._written)
        for queue in (self._choices, self._waiting):
            while (task := queue.get()) is not None:
                left.append(task)
        return left


class CacheSlots:
    """Names of cache slots, one for each task that runs; a client gets its last one again, if that is free."""

    def __init__(self) -> None:
        self._free: OrderedDict[str, str] = OrderedDict()  # slot -> its last client, the one used longest ago first
        self._used: dict[str, str] = {}

    def take(self, client: str) -> str:
        """Return a slot that no other task has."""
        own = next((slot for slot, last in self._free.items() if last == client), None)
        if own is None and len(self._free) + len(self._used) < _MOST_WRITTEN + 1:
            own = f"serve {len(self._free) + len(self._used)}"
        elif own is None:
            own = next(iter(self._free))
        self._free.pop(own, None)
        self._used[own] = client
        return own

    def give(self, slot: str) -> None:
        """Give a slot back; what it holds stays until its next task."""
        self._free[slot] = self._used.pop(slot)
