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
    the first time that an exception of its type is seen.
    """

    def __init__(
        self,
        decide: Callable[[Request], Decision],
        deliver: Callable[[Request, Decision], None],
        log: Callable[[str], None],
    ) -> None:
        self._decide = decide
        self._deliver = deliver
        self._log = log
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
        with self._condition:
            self._condition.wait_for(lambda: self._stopping or self._request is not None)
            request, self._request = self._request, None
            return None if self._stopping else request

    def _answer(self, request: Request) -> Decision:
        try:
            return self._decide(request)
        except Exception as err:  # noqa: BLE001 -- the one place: nothing that a model does may move the robot
            kind = type(err).__name__
            detail = f"{kind}: {err}"
            if kind not in self._seen:
                self._seen.add(kind)
                self._log(f"the decision failed, the robot holds: {detail}")
            return Decision.holding(HoldReason.BACKEND_ERROR, detail=detail)
