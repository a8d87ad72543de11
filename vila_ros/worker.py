"""The thread in which decisions are taken: a mailbox of one, the newest request wins.

This is the only place of the package that catches every exception: whatever the model does,
the answer is a decision, at worst one to hold.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from vila_core.types import Decision, HoldReason

Request = TypeVar("Request")


class InferenceWorker(Generic[Request]):
    """Answers requests one at a time in a thread of its own.

    decide: takes a request, returns a decision; may raise anything. deliver: called in the
    worker's thread with the request and its decision; must return at once. log: gets a message
    the first time that an exception of its type is seen. idle: does one small piece of work for the
    decisions to come and returns True if there may be more. It is called while no request waits:
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
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.dropped = 0  # requests that a newer one replaced before they were begun

    def start(self) -> None:
        """Start the thread; once in the life of a worker."""
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Put a request into the mailbox; one that was waiting there is dropped and counted."""
        with self._condition:
            if self._request is not None:
                self.dropped += 1
            self._request = request
            self._condition.notify()

    def nudge(self) -> None:
        """Tell that there may be new work for `idle`."""
        with self._condition:
            self._may_idle = not self._idle_failed
            self._condition.notify()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End the thread after its present request. Returns False if that took too long.

        Nothing is delivered any more once this has been called. Safe to call twice.
        """
        with self._condition:
            self._stopping = True
            self._request = None
            self._condition.notify()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (request := self._take()) is not None:
            decision = self._answer(request)
            if not self._stopping:
                self._deliver(request, decision)

    def _take(self) -> Request | None:
        """Wait for a request, idle meanwhile; None when the thread is to end."""
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._stopping or self._request is not None or self._wants_idle())
                if self._stopping:
                    return None
                if self._request is not None:
                    request, self._request = self._request, None
                    self._may_idle, self._idle_failed = True, False
                    return request
                self._may_idle = False  # before the work: a nudge that comes while it is done counts
            if self._idle_once():
                self.nudge()

    def _wants_idle(self) -> bool:
        return self._idle is not None and self._may_idle

    def _answer(self, request: Request) -> Decision:
        try:
            return self._decide(request)
        except Exception as err:  # noqa: BLE001 -- the one place: nothing that a model does may move the robot
            detail = self._log_once("the decision failed, the robot holds", err)
            return Decision.holding(HoldReason.BACKEND_ERROR, detail=detail)

    def _idle_once(self) -> bool:
        assert self._idle is not None
        try:
            return self._idle()
        except Exception as err:  # noqa: BLE001 -- as above: the same model, and no decision hangs on it
            self._log_once("work ahead of time failed and rests until the next decision", err)
            with self._condition:
                self._may_idle, self._idle_failed = False, True
            return False

    def _log_once(self, what: str, err: Exception) -> str:
        """Return the error as text; it is logged the first time that what failed so."""
        kind = type(err).__name__
        detail = f"{kind}: {err}"
        if (key := f"{what}: {kind}") not in self._seen:
            self._seen.add(key)
            self._log(f"{what}: {detail}")
        return detail
