"""What callbacks ask of the simulation thread, which owns the world."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, TypeVar

from vila_core.errors import WorldError
from vila_sim.mujoco.simulator import Simulator

T = TypeVar("T")
TIMEOUT_S = 5.0


class Orders:
    """Hands functions to the simulation thread and their results back."""

    def __init__(self) -> None:
        self._given: queue.SimpleQueue[tuple[Callable[[Simulator], Any], Future[Any]]] = queue.SimpleQueue()

    def give(self, order: Callable[[Simulator], T], timeout_s: float = TIMEOUT_S) -> T:
        """Have the simulation thread call it and return what it returns.

        Raises what it raises, and WorldError if the thread does not come to it in time; it is not done later then.
        """
        future: Future[T] = Future()
        self._given.put((order, future))
        try:
            return future.result(timeout_s)
        except FutureTimeoutError as err:
            if future.cancel():
                raise WorldError("the simulation does not answer") from err
            return future.result()  # it has just been begun

    def obey(self, simulator: Simulator) -> None:
        """Do all that was ordered; in the simulation thread."""
        while not self._given.empty():
            order, future = self._given.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(order(simulator))
            except (WorldError, ValueError) as err:
                future.set_exception(err)
