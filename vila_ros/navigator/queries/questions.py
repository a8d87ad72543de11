"""Actions whose goals are questions, which the worker asks the model one after the other, in order of arrival."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node

from vila_core.errors import QueryLimitError
from vila_core.localizer import Progress
from vila_ros.navigator.mission.goals import GoalServer, conclude
from vila_ros.navigator.queries.event_messages import EventError, error_code
from vila_ros.navigator.worker import InferenceWorker, Urgency

Ask = Callable[[Any, Progress], Any]  # a goal's request -> the action's result; in the worker's thread
Told = Callable[[float], Mapping[str, float]]  # how far it is, 0..1 -> fields of the action's feedback


def _nothing(_share: float) -> Mapping[str, float]:
    return {}


@dataclass(slots=True, eq=False)
class Question:
    """A goal that waits for its answer. is_over: it has its result, whatever the model still says."""

    kind: Any  # the generated action
    ask: Ask
    told: Told
    goal: ServerGoalHandle
    is_over: bool = False
    progress: float = 0.0  # the worker's word on how far it is
    published: float = 0.0


class QuestionServer:
    """Serves a node's questions as actions; a question that cannot be answered ends with a typed error.

    most: questions that may wait; it may be set anew. All methods belong to the executor's thread.
    """

    def __init__(self, node: Node, most: int) -> None:
        self._node = node
        self.most = most
        self._servers: list[GoalServer] = []
        self._waiting: list[Question] = []
        self._answers: deque[tuple[Question, Any]] = deque()  # what the worker's thread left
        self._worker: InferenceWorker[Any] | None = None
        self._wake: Callable[[], None] = lambda: None

    def offer(self, kind: Any, name: str, ask: Ask, told: Told = _nothing) -> None:
        """Offer an action; ask may raise anything. told: makes feedback of its progress."""
        on_goal = partial(self._on_goal, kind, ask, told)
        self._servers.append(GoalServer(self._node, kind, name, on_goal, self._on_cancel))

    def destroy(self) -> None:
        """Take the actions off the graph."""
        while self._servers:
            self._servers.pop().destroy()

    def activate(self, worker: InferenceWorker[Any], wake: Callable[[], None]) -> None:
        """Answer from now on; wake: has `on_wake` called soon, from any thread."""
        self._worker, self._wake = worker, wake

    def deactivate(self) -> None:
        """Refuse all questions from now on, those that wait included."""
        self._worker = None
        self.end_all(EventError.NOT_ACTIVE, "the navigator was deactivated")

    def end_all(self, error: EventError, message: str, is_meant: Callable[[Any], bool] = lambda _: True) -> None:
        """Give all questions that wait this error, or those whose goal's request is meant."""
        for question in [question for question in self._waiting if is_meant(question.goal.request)]:
            self._fail(question, error, message)

    def on_wake(self) -> None:
        """Give the answers that have come to those who asked, and to others how far theirs are."""
        while self._answers:
            question, outcome = self._answers.popleft()
            if isinstance(outcome, Exception):
                self._fail(question, error_code(outcome), str(outcome))
            else:
                self._end(question, outcome, is_success=True)
        for question in self._waiting:
            if question.progress > question.published:
                question.published = question.progress
                question.goal.publish_feedback(question.kind.Feedback(**question.told(question.published)))

    def _on_goal(self, kind: Any, ask: Ask, told: Told, goal: ServerGoalHandle) -> None:
        question = Question(kind, ask, told, goal)
        ahead = len(self._waiting)
        self._waiting.append(question)
        if self._worker is None:
            self._fail(question, EventError.NOT_ACTIVE, "the navigator is not active")
        elif ahead >= self.most:
            err = QueryLimitError(f"{ahead} questions wait already; ask again when they are answered")
            self._fail(question, error_code(err), str(err))
        else:
            goal.publish_feedback(kind.Feedback(ahead=ahead))
            self._worker.post(partial(self._answer, question), partial(self._arrive, question), Urgency.QUESTION)

    def _on_cancel(self, goal: ServerGoalHandle) -> None:
        for question in [question for question in self._waiting if question.goal == goal]:
            self._fail(question, EventError.CANCELED, "canceled by the client")

    def _answer(self, question: Question) -> Any:
        """In the worker's thread: ask, unless nobody waits any more."""
        return None if question.is_over else question.ask(question.goal.request, partial(self._note, question))

    def _note(self, question: Question, share: float) -> None:
        """In the worker's thread: leave how far the answer is for `on_wake`."""
        question.progress = share
        self._wake()

    def _arrive(self, question: Question, outcome: Any) -> None:
        """In the worker's thread: leave the outcome for `on_wake`."""
        self._answers.append((question, outcome))
        self._wake()

    def _fail(self, question: Question, error: EventError, message: str) -> None:
        result = question.kind.Result(error_code=int(error), error_msg=message)
        self._end(question, result, is_success=False)

    def _end(self, question: Question, result: Any, *, is_success: bool) -> None:
        if question.is_over:
            return
        question.is_over = True
        self._waiting.remove(question)
        conclude(question.goal, result, is_success=is_success)
