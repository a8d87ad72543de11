import threading

import pytest

pytest.importorskip("vila_ros")

from vila_core.types import Decision, HoldReason, MoveForward
from vila_ros.worker import InferenceWorker

MOVE = Decision(MoveForward(0.25), 1)


class Desk:
    """A worker whose decisions wait until they are allowed."""

    def __init__(self, decide=None) -> None:
        self.allowed = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.delivered: list[tuple[int, Decision]] = []
        self.logged: list[str] = []
        self.arrived = threading.Semaphore(0)
        self.worker = InferenceWorker[int](decide or self.decide, self.deliver, self.logged.append)
        self.worker.start()

    def decide(self, request: int) -> Decision:
        self.begun.release()
        assert self.allowed.acquire(timeout=5)
        return MOVE

    def deliver(self, request: int, decision: Decision) -> None:
        self.delivered.append((request, decision))
        self.arrived.release()


def test_the_newest_request_wins_and_the_others_are_counted() -> None:
    desk = Desk()
    desk.worker.submit(1)
    assert desk.begun.acquire(timeout=5)
    for request in (2, 3, 4):
        desk.worker.submit(request)
    desk.allowed.release(2)
    assert desk.arrived.acquire(timeout=5) and desk.arrived.acquire(timeout=5)
    assert [request for request, _ in desk.delivered] == [1, 4]
    assert desk.worker.dropped == 2
    assert desk.worker.stop()


@pytest.mark.parametrize("error", [RuntimeError("boom"), ZeroDivisionError("x"), MemoryError("full")])
def test_whatever_is_raised_becomes_a_hold_and_is_logged_once(error: Exception) -> None:
    def fail(_: int) -> Decision:
        raise error

    desk = Desk(fail)
    for request in range(3):
        desk.worker.submit(request)
        assert desk.arrived.acquire(timeout=5)
    assert {d.hold for _, d in desk.delivered} == {HoldReason.BACKEND_ERROR}
    assert all(d.action is None and str(error) in d.detail for _, d in desk.delivered)
    assert len(desk.logged) == 1 and type(error).__name__ in desk.logged[0]
    assert desk.worker.stop()


def test_each_kind_of_error_is_logged() -> None:
    errors = iter([KeyError("a"), ValueError("b"), KeyError("c")])

    def fail(_: int) -> Decision:
        raise next(errors)

    desk = Desk(fail)
    for request in range(3):
        desk.worker.submit(request)
        assert desk.arrived.acquire(timeout=5)
    assert len(desk.logged) == 2
    desk.worker.stop()


def test_nothing_is_delivered_after_stop() -> None:
    desk = Desk()
    desk.worker.submit(1)
    assert desk.begun.acquire(timeout=5)
    desk.worker.submit(2)
    assert not desk.worker.stop(timeout_s=0.05)
    desk.allowed.release(2)
    assert desk.worker.stop()
    assert desk.delivered == []


def test_stop_without_start() -> None:
    assert InferenceWorker[int](lambda _: MOVE, lambda *_: None, print).stop()
