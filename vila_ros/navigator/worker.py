"""The thread in which the model is asked: decisions first, then other questions, then work ahead of time.

This is the only place of the package that catches every exception: whatever the model does,
the answer is a decision, at worst one to hold, or an error that whoever posted the work is told.
"""

from __future__ import annotations

import enum
import heapq
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from vila_core.errors import BackendError, VilaError
from vila_core.types import Decision, HoldReason

Request = TypeVar("Request")
Result = TypeVar("Result")


class Urgency(enum.IntEnum):
    """Which posted work is done first; decisions come before all of it."""

    QUESTION = 0  # someone waits for the answer
    STANDING = 1  # done again and again, for nobody in particular


@dataclass(order=True, slots=True)
class _Task:
    urgency: Urgency
    number: int  # in order of arrival
    work: Callable[[], Any] = field(compare=False)
    done: Callable[[Any], None] = field(compare=False)


class InferenceWorker(Generic[Request]):
    """Answers requests for decisions one at a time in a thread of its own; a mailbox of one, the newest wins.

    decide: takes a request, returns a decision; may raise anything. deliver: called in the
    worker's thread with the request and its decision; must return at once. log: gets a message
    the first time that an exception of its type is seen. idle: does one small piece of work for the
    decisions to come and returns True if there may be more. It is called while nothing else waits:
    behind each decision, and after `nudge`, until it returns False or raises. What it raises is logged
    like the rest, and it rests until the next request.
    """

    def __init__(
        self,
        decide: Callable[[Request], Decision],
        deliver: Callable[[Request, Decision], None],
        log: Callable[[str], None],
        idle: Callable[[], bool] | None = None,
    ) -> None:
        self._decide = decide
        self._deliver = deliver
        self._log = log
        self._idle = idle
        self._may_idle = False  # there may be something for `idle` to do
        self._idle_failed = False
        self._seen: set[str] = set()
        self._condition = threading.Condition()
        self._request: Request | None = None
        self._is_answering = False
        self._tasks: list[_Task] = []  # a heap
        self._posted = 0
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.dropped = 0  # requests that a newer one replaced before they were begun

    def start(self) -> None:
        """Start the thread; once in the life of a worker."""
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    @property
    def is_deciding(self) -> bool:
        """True while a decision is waited for."""
        return self._is_answering or self._request is not None

    def submit(self, request: Request) -> None:
        """Put a request into the mailbox; one that was waiting there is dropped and counted."""
        with self._condition:
            if self._request is not None:
                self.dropped += 1
            self._request = request
            self._condition.notify()

    def post(
        self,
        work: Callable[[], Result],
        done: Callable[[Result | Exception], None],
        urgency: Urgency = Urgency.QUESTION,
    ) -> None:
        """Have work done when no decision waits, in order of urgency, then of arrival.

        done: gets in the worker's thread what the work returned or raised; must return at once. After `stop` neither
        is called. Work that asks the model more than once calls `give_way` in between.
        """
        with self._condition:
            self._posted += 1
            heapq.heappush(self._tasks, _Task(urgency, self._posted, work, done))
            self._condition.notify()

    def give_way(self) -> None:
        """Take the decision that waits, if one does; called by posted work, in the worker's thread.

        Raises BackendError once the worker is told to end.
        """
        with self._condition:
            if self._stopping:
                raise BackendError("the inference worker ends; nothing more is asked")
            request = self._next_request()
        if request is not None:
            self._answer(request)

    def nudge(self) -> None:
        """Tell that there may be new work for `idle`."""
        with self._condition:
            self._may_idle = not self._idle_failed
            self._condition.notify()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End the thread after its present call of the model. Returns False if that took too long.

        Nothing is delivered any more once this has been called. Safe to call twice.
        """
        with self._condition:
            self._stopping = True
            self._request = None
            self._tasks.clear()
            self._condition.notify()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (piece := self._take()) is not None:
            piece()

    def _take(self) -> Callable[[], None] | None:
        """Wait for something to do and return the most urgent; None when the thread is to end."""
        with self._condition:
            self._condition.wait_for(self._has_work)
            if self._stopping:
                return None
            if (request := self._next_request()) is not None:
                return partial(self._answer, request)
            if self._tasks:
                return partial(self._perform, heapq.heappop(self._tasks))
            self._may_idle = False  # before the work: a nudge that comes while it is done counts
            return self._idle_once

    def _has_work(self) -> bool:
        return self._stopping or self._request is not None or bool(self._tasks) or self._wants_idle()

    def _wants_idle(self) -> bool:
        return self._idle is not None and self._may_idle

    def _next_request(self) -> Request | None:
        """Empty the mailbox; whoever calls this holds the condition."""
        request, self._request = self._request, None
        if request is not None:
            self._is_answering = True
            self._may_idle, self._idle_failed = True, False
        return request

    def _answer(self, request: Request) -> None:
        try:
            decision = self._decide(request)
        except Exception as err:  # noqa: BLE001 -- the one place: nothing that a model does may move the robot
            detail = self._log_once("the decision failed, the robot holds", err)
            decision = Decision.holding(HoldReason.BACKEND_ERROR, detail=detail)
        self._is_answering = False
        if not self._stopping:
            self._deliver(request, decision)

    def _perform(self, task: _Task) -> None:
        try:
            outcome = task.work()
        except Exception as err:  # noqa: BLE001 -- as above: an answer that fails must not end the thread that decides
            if not isinstance(err, VilaError):
                self._log_once("a question failed", err)
            outcome = err
        if not self._stopping:
            task.done(outcome)

    def _idle_once(self) -> None:
        assert self._idle is not None
        try:
            may_be_more = self._idle()
        except Exception as err:  # noqa: BLE001 -- as above: the same model, and no decision hangs on it
            self._log_once("work ahead of time failed and rests until the next decision", err)
            with self._condition:
                self._may_idle, self._idle_failed = False, True
        else:
            if may_be_more:
                self.nudge()

    def _log_once(self, what: str, err: Exception) -> str:
        """Return the error as text; it is logged the first time that what failed so."""
        kind = type(err).__name__
        detail = f"{kind}: {err}"
        if (key := f"{what}: {kind}") not in self._seen:
            self._seen.add(key)
            self._log(f"{what}: {detail}")
        return detail
