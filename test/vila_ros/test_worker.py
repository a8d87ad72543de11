import threading

import pytest

pytest.importorskip("vila_ros")

from conftest import HANG_S

from vila_core.errors import BackendError
from vila_core.types import Decision, HoldReason, MoveForward
from vila_ros.navigator.worker import InferenceWorker, Urgency

MOVE = Decision(MoveForward(0.25), 1)


class Desk:
    """A worker whose decisions wait until they are allowed."""

    def __init__(self, decide=None, idle=None) -> None:
        self.allowed = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.delivered: list[tuple[int, Decision]] = []
        self.logged: list[str] = []
        self.arrived = threading.Semaphore(0)
        self.worker = InferenceWorker[int](decide or self.decide, self.deliver, self.logged.append, idle)
        self.worker.start()

    def decide(self, request: int) -> Decision:
        self.begun.release()
        assert self.allowed.acquire(timeout=HANG_S)
        return MOVE

    def deliver(self, request: int, decision: Decision) -> None:
        self.delivered.append((request, decision))
        self.arrived.release()


def test_the_newest_request_wins_and_the_others_are_counted() -> None:
    desk = Desk()
    desk.worker.submit(1)
    assert desk.begun.acquire(timeout=HANG_S)
    for request in (2, 3, 4):
        desk.worker.submit(request)
    desk.allowed.release(2)
    assert desk.arrived.acquire(timeout=HANG_S) and desk.arrived.acquire(timeout=HANG_S)
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
        assert desk.arrived.acquire(timeout=HANG_S)
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
        assert desk.arrived.acquire(timeout=HANG_S)
    assert len(desk.logged) == 2
    desk.worker.stop()


def test_nothing_is_delivered_after_stop() -> None:
    desk = Desk()
    desk.worker.submit(1)
    assert desk.begun.acquire(timeout=HANG_S)
    desk.worker.submit(2)
    assert not desk.worker.stop(timeout_s=0.05)
    desk.allowed.release(2)
    assert desk.worker.stop()
    assert desk.delivered == []


def test_it_says_whether_a_decision_is_waited_for() -> None:
    desk = Desk()
    assert not desk.worker.is_deciding
    desk.worker.submit(1)
    assert desk.worker.is_deciding and desk.begun.acquire(timeout=HANG_S) and desk.worker.is_deciding
    desk.allowed.release()
    assert desk.arrived.acquire(timeout=HANG_S) and not desk.worker.is_deciding
    assert desk.worker.stop()


def test_stop_without_start() -> None:
    assert InferenceWorker[int](lambda _: MOVE, lambda *_: None, print).stop()


class SpareTime:
    """Idle work in pieces, each of which waits until it is allowed."""

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces
        self.done = 0
        self.begun = threading.Semaphore(0)
        self.allowed = threading.Semaphore(0)

    def __call__(self) -> bool:
        self.begun.release()
        assert self.allowed.acquire(timeout=HANG_S)
        self.done += 1
        return self.done < self.pieces


def test_idle_work_begins_behind_a_decision_and_ends_when_nothing_is_left() -> None:
    spare = SpareTime(3)
    desk = Desk(lambda _: MOVE, spare)
    assert not spare.begun.acquire(blocking=False)
    desk.worker.submit(1)
    spare.allowed.release(100)
    for _ in range(3):
        assert spare.begun.acquire(timeout=HANG_S)
    desk.worker.submit(2)
    assert desk.arrived.acquire(timeout=HANG_S) and desk.arrived.acquire(timeout=HANG_S)
    assert spare.begun.acquire(timeout=HANG_S)  # the fourth: behind the second decision, not before
    assert desk.worker.stop() and spare.done == 4
    assert [request for request, _ in desk.delivered] == [1, 2]


def test_a_request_waits_for_one_piece_of_idle_work_at_most() -> None:
    spare = SpareTime(1000)
    order: list[str] = []

    def decide(request: int) -> Decision:
        order.append(f"{request} after {spare.done}")
        return MOVE

    desk = Desk(decide, spare)
    desk.worker.submit(1)
    for piece in range(2):
        assert spare.begun.acquire(timeout=HANG_S)
        desk.worker.submit(2 + piece)
        spare.allowed.release()
    for _ in range(3):
        assert desk.arrived.acquire(timeout=HANG_S)
    assert order == ["1 after 0", "2 after 1", "3 after 2"]
    spare.allowed.release(1000)
    assert desk.worker.stop()


def test_a_nudge_makes_it_idle_again() -> None:
    spare = SpareTime(1)
    spare.allowed.release(100)
    desk = Desk(lambda _: MOVE, spare)
    for _ in range(3):
        desk.worker.nudge()
        assert spare.begun.acquire(timeout=HANG_S)
    assert desk.worker.stop() and desk.delivered == []


def test_idle_work_that_fails_is_logged_once_and_rests_until_the_next_request() -> None:
    tried = threading.Semaphore(0)
    attempts: list[int] = []

    def fail() -> bool:
        attempts.append(len(attempts))
        tried.release()
        raise MemoryError("full")

    desk = Desk(lambda _: MOVE, fail)
    for request in range(2):
        desk.worker.submit(request)
        assert desk.arrived.acquire(timeout=HANG_S) and tried.acquire(timeout=HANG_S)
        desk.worker.nudge()
    desk.worker.submit(2)
    assert desk.arrived.acquire(timeout=HANG_S) and tried.acquire(timeout=HANG_S)
    assert desk.worker.stop()
    assert len(attempts) == 3 and len(desk.logged) == 1 and "MemoryError: full" in desk.logged[0]
    assert all(decision is MOVE for _, decision in desk.delivered)


def test_a_nudge_without_idle_work_does_nothing() -> None:
    desk = Desk(lambda _: MOVE)
    desk.worker.nudge()
    desk.worker.submit(1)
    assert desk.arrived.acquire(timeout=HANG_S)
    assert desk.worker.stop()


def test_posted_work_is_done_behind_decisions_in_order_of_urgency_then_of_arrival() -> None:
    done: list[str] = []
    desk = Desk()
    desk.worker.submit(1)
    assert desk.begun.acquire(timeout=HANG_S)
    last = threading.Event()
    desk.worker.post(lambda: "standing", lambda outcome: (done.append(outcome), last.set()), Urgency.STANDING)
    for name in ("first", "second"):
        desk.worker.post(lambda name=name: name, done.append)
    desk.worker.submit(2)
    desk.allowed.release(2)
    assert last.wait(HANG_S)
    assert [request for request, _ in desk.delivered] == [1, 2] and done == ["first", "second", "standing"]
    assert desk.worker.stop()


def test_a_decision_that_becomes_due_waits_for_one_step_of_posted_work() -> None:
    order: list[str] = []
    inside, go_on, last = threading.Event(), threading.Semaphore(0), threading.Event()

    def decide(request: int) -> Decision:
        order.append(f"decision {request}")
        return MOVE

    def work() -> None:
        for step in range(3):
            desk.worker.give_way()
            order.append(f"step {step}")
            inside.set()
            assert go_on.acquire(timeout=HANG_S)

    desk = Desk(decide)
    desk.worker.post(work, lambda _: last.set())
    assert inside.wait(HANG_S)
    desk.worker.submit(1)
    go_on.release(3)
    assert last.wait(HANG_S)
    assert order == ["step 0", "decision 1", "step 1", "step 2"] and desk.delivered == [(1, MOVE)]
    assert desk.worker.stop()


@pytest.mark.parametrize(("error", "logged"), [(BackendError("full"), 0), (RuntimeError("boom"), 1)])
def test_posted_work_that_fails_is_told_and_ends_nothing(error: Exception, logged: int) -> None:
    def fail() -> None:
        raise error

    outcomes: list[object] = []
    arrived = threading.Semaphore(0)
    desk = Desk(lambda _: MOVE)
    for _ in range(2):
        desk.worker.post(fail, lambda outcome: (outcomes.append(outcome), arrived.release()))
        assert arrived.acquire(timeout=HANG_S)
    desk.worker.submit(1)
    assert desk.arrived.acquire(timeout=HANG_S)
    assert outcomes == [error, error] and len(desk.logged) == logged
    assert desk.worker.stop()


def test_stop_ends_posted_work_between_two_steps_and_forgets_the_rest() -> None:
    inside, told, seen = threading.Event(), threading.Event(), []

    def work() -> None:
        inside.set()
        assert told.wait(HANG_S)
        try:
            desk.worker.give_way()
        except BackendError as err:
            seen.append(str(err))
            raise

    desk = Desk()
    for _ in range(2):
        desk.worker.post(work, seen.append)
    assert inside.wait(HANG_S)
    assert not desk.worker.stop(timeout_s=0.01)
    told.set()
    assert desk.worker.stop() and len(seen) == 1 and "ends" in seen[0]
