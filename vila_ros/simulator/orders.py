"""What callbacks ask of a thread that owns something, such as a world, and wait for."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Generic, TypeVar

from vila_core.errors import VilaError, WorldError

T = TypeVar("T")
Owned = TypeVar("Owned")
TIMEOUT_S = 5.0


class Orders(Generic[Owned]):
    """Hands functions to the thread of what is owned, and their results back."""

    def __init__(self) -> None:
        self._given: queue.SimpleQueue[tuple[Callable[[Owned], Any], Future[Any]]] = queue.SimpleQueue()

    def give(self, order: Callable[[Owned], T], timeout_s: float = TIMEOUT_S) -> T:
        """Have the thread call it and return what it returns.

        Raises what it raises, and WorldError if the thread does not come to it in time; it is not done later then.
        """
        future: Future[T] = Future()
        self._given.put((order, future))
        try:
            return future.result(timeout_s)
        except FutureTimeoutError as err:
            if future.cancel():
                raise WorldError(f"the simulation has not answered for {timeout_s:g} s") from err
            return future.result()  # it has just been begun

    def obey(self, owned: Owned) -> None:
        """Do all that was ordered; in the thread."""
        while not self._given.empty():
            order, future = self._given.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(order(owned))
            except (VilaError, ValueError) as err:
                future.set_exception(err)
