"""Standing queries and questions about the past, beside navigation: services, actions and the topic ~/events.

Threads: the camera's (`observe`), the worker's (all that asks the model) and the executor's (the rest).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from vila_nav.action import Describe, LocalizeEvent
from vila_nav.msg import TemporalEvent as TemporalEventMsg
from vila_nav.srv import UnwatchEvent, WatchEvent

from vila_core.camera_watchers import CameraWatchers
from vila_core.config import EventsConfig
from vila_core.engine.backend import Backend
from vila_core.errors import BackendError, QueryError
from vila_core.events.pace import EvaluationPace
from vila_core.localizer import Progress
from vila_core.machine.memory import trim_heap
from vila_core.types import Frame, LocalizationMethod, TemporalEvent
from vila_ros.common.conversions import ns_from_stamp
from vila_ros.common.diagnostics import EventHealth
from vila_ros.common.qos import latched_qos, publisher_events
from vila_ros.navigator.queries.event_messages import (
    EventError,
    Searched,
    description_result,
    error_code,
    localization_result,
    message_from_event,
)
from vila_ros.navigator.queries.questions import QuestionServer
from vila_ros.navigator.worker import InferenceWorker, Urgency
from vila_ros.navigator.yielding_backend import PostponedError, YieldingBackend

KEPT_EVENTS = 100  # reports that a latecomer is given
_NOT_ACTIVE = "the navigator is not active"
_WARN_EVERY_S = 5.0
_TRIM_EVERY = 20  # evaluations: else what they free stays with the C library, in ever more pieces

Response = TypeVar("Response", WatchEvent.Response, UnwatchEvent.Response)


@dataclass(frozen=True, slots=True)
class ClockReset:
    """That a camera's stamps went back, in words."""

    camera: str
    text: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation of a camera's standing queries: what is new, or why that is not known, and how long that took."""

    camera: str
    outcome: tuple[TemporalEvent, ...] | Exception
    duration_ms: float


class EventServer:
    """~/watch, ~/unwatch, ~/localize, ~/describe and ~/events of a node.

    Made when the node is configured; it evaluates between `activate` and `deactivate`, and refuses before and after.
    Between `begin_mission` and `end_mission` evaluations give way to decisions: see EvaluationPace. deadline_s: theirs.
    cameras: their names; the first is meant where none is named.
    """

    def __init__(self, node: Node, config: EventsConfig, deadline_s: float, cameras: Sequence[str]) -> None:
        self._node = node
        self._config, self._cameras = config, cameras
        self._pace = EvaluationPace(deadline_s, config.mission_share)
        self._is_standing = False  # what the worker does for us now is an evaluation, not a question
        self._yielded_ns = 0  # time of the running evaluation that decisions took
        self._publisher = node.create_publisher(
            TemporalEventMsg,
            "~/events",
            latched_qos(KEPT_EVENTS),
            event_callbacks=publisher_events(node, "events"),
        )
        self._services = (
            node.create_service(WatchEvent, "~/watch", self._on_watch),
            node.create_service(UnwatchEvent, "~/unwatch", self._on_unwatch),
        )
        self._questions = QuestionServer(node, config.max_queries)
        self._questions.offer(LocalizeEvent, "~/localize", self._localize, lambda share: {"progress": share})
        self._questions.offer(Describe, "~/describe", self._describe)
        self._watchers: CameraWatchers | None = None
        self._arrivals: deque[Evaluation | ClockReset] = deque()
        self._is_evaluating = False
        self._due: list[str] = []  # cameras to evaluate now, one after the other
        self._first_id = self._last_id = 0  # numbers grow over activations
        self._evaluations, self._evaluation_ms, self._given_up = 0, 0.0, 0
        self._errors: dict[str, str] = {}  # of each camera's last evaluation

    def reconfigure(self, config: EventsConfig) -> None:
        """Take another configuration of the same memory and window; queries, questions and open events are kept."""
        self._config = config
        self._pace.most_share, self._questions.most = config.mission_share, config.max_queries
        if self._watchers is not None:
            self._watchers.reconfigure(config)
            self._timer.timer_period_ns = round(1e9 / config.rate_hz)

    def set_deadline(self, deadline_s: float) -> None:
        """Take another deadline of decisions."""
        self._pace.deadline_s = deadline_s

    def destroy(self) -> None:
        """Take everything off the graph."""
        self._questions.destroy()
        for service in self._services:
            self._node.destroy_service(service)
        self._node.destroy_publisher(self._publisher)

    def activate(self, backend: Backend, worker: InferenceWorker[Any], wake: Callable[[], None]) -> None:
        """Begin to evaluate; worker: the one that also decides. wake: has `on_wake` called soon, from any thread."""
        self._worker, self._wake = worker, wake
        self._watchers = CameraWatchers(YieldingBackend(backend, self._give_way), self._config, self._cameras)
        self._first_id, self._is_evaluating, self._due = self._last_id, False, []
        self._arrivals.clear()
        self._evaluations, self._evaluation_ms, self._given_up = 0, 0.0, 0
        self._errors.clear()
        self._questions.activate(worker, wake)
        self._timer = self._node.create_timer(
            1.0 / self._config.rate_hz, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def deactivate(self) -> None:
        """Close and publish what is open, forget the queries and refuse from now on; the worker has been stopped."""
        self._node.destroy_timer(self._timer)
        self._questions.deactivate()
        for query in self._require_watchers().queries:
            self._publish(self._require_watchers().unwatch(query.id))
        self._watchers, self._due = None, []

    @property
    def health(self) -> EventHealth:
        """How the standing queries fare."""
        watchers = self._watchers
        return EventHealth(
            queries=0 if watchers is None else len(watchers.queries),
            localization=(LocalizationMethod.NONE if watchers is None else watchers.method).name,
            evaluations=self._evaluations,
            evaluation_ms=self._evaluation_ms,
            evaluation_share=self._pace.share,
            evaluations_given_up=self._given_up,
            evaluation_error="; ".join(filter(None, self._errors.values())),
        )

    def begin_mission(self) -> None:
        """Let decisions go first from now on."""
        self._pace.begin_mission()

    def end_mission(self) -> None:
        """Evaluate as often as is configured."""
        self._pace.end_mission()

    def note_decision(self, waited_s: float) -> None:
        """Take how long a decision was waited for; from any thread."""
        self._pace.note_decision(waited_s)

    # --- camera thread ---------------------------------------------------------------------------

    def awaits(self, camera: str, stamp_ns: int) -> bool:
        """Tell whether `observe` would do anything with an image of this camera and stamp."""
        return self._require_watchers().of(camera).awaits(stamp_ns)

    def observe(self, frame: Frame) -> None:
        """Take the next frame of its camera; FrameError as EventWatcher.observe."""
        watcher = self._require_watchers().of(frame.camera)
        newest_ns = watcher.newest_stamp_ns
        watcher.observe(frame)
        if newest_ns is not None and frame.stamp_ns < newest_ns:
            text = f"{frame.camera} stamp went back from {newest_ns} to {frame.stamp_ns} ns"
            self._arrivals.append(ClockReset(frame.camera, text))
            self._wake()

    # --- worker thread ---------------------------------------------------------------------------

    def _evaluate(self, camera: str) -> tuple[TemporalEvent, ...]:
        self._begun_ns, self._yielded_ns = time.monotonic_ns(), 0
        self._pace.begin_evaluation()
        if self._evaluations % _TRIM_EVERY == _TRIM_EVERY - 1:
            trim_heap()
        self._is_standing = True
        try:
            return self._require_watchers().evaluate(camera)
        finally:
            self._is_standing = False

    def _on_evaluated(self, camera: str, outcome: tuple[TemporalEvent, ...] | Exception) -> None:
        now_ns = time.monotonic_ns()
        taken_s = (now_ns - self._begun_ns - self._yielded_ns) / 1e9
        self._pace.note_evaluation(taken_s, now_ns)
        self._arrivals.append(Evaluation(camera, outcome, taken_s * 1e3))
        self._wake()

    def _give_way(self) -> None:
        """Take the decision that waits; raises PostponedError in an evaluation if that took too long."""
        begun_ns = time.monotonic_ns()
        self._worker.give_way()
        self._yielded_ns += time.monotonic_ns() - begun_ns
        if self._is_standing and self._pace.is_spoilt:
            raise PostponedError("decisions take long; the evaluation of standing queries is put off")

    def _localize(self, request: LocalizeEvent.Goal, progress: Progress) -> LocalizeEvent.Result:
        watcher = self._require_watchers().of(request.camera)
        start_ns, end_ns = ns_from_stamp(request.start), ns_from_stamp(request.end)
        searched = _clipped(start_ns, end_ns, watcher.remembered_ns)
        found = watcher.localize(request.text, start_ns, end_ns, progress)
        return localization_result(found, watcher.method, searched)

    def _describe(self, request: Describe.Goal, _progress: Progress) -> Describe.Result:
        watcher = self._require_watchers().of(request.camera)
        start_ns, end_ns = ns_from_stamp(request.start), ns_from_stamp(request.end)
        searched = _clipped(start_ns, end_ns, watcher.remembered_ns)
        return description_result(watcher.describe(request.text, start_ns, end_ns), searched)

    # --- executor --------------------------------------------------------------------------------

    def on_wake(self) -> None:
        """Publish and answer what the other threads left."""
        while self._arrivals:
            arrival = self._arrivals.popleft()
            if isinstance(arrival, ClockReset):
                self._forget(arrival)
            else:
                self._take(arrival)
        self._questions.on_wake()

    def _forget(self, reset: ClockReset) -> None:
        """End the questions about a camera whose images were forgotten."""
        self._node.get_logger().warning(f"{reset.text}; the images before are forgotten, open events closed")
        meant = (reset.camera, "") if reset.camera == self._cameras[0] else (reset.camera,)
        self._questions.end_all(EventError.CLOCK_JUMP, reset.text, lambda request: request.camera in meant)

    def _on_timer(self) -> None:
        if self._watchers is None or self._is_evaluating:
            return
        self._due = list(self._watchers.with_work())
        self._evaluate_next()

    def _evaluate_next(self) -> None:
        """Have the next camera evaluated, if decisions leave time for it now."""
        if self._due and self._pace.may_begin(time.monotonic_ns(), is_deciding=self._worker.is_deciding):
            self._is_evaluating = True
            camera = self._due.pop(0)
            self._worker.post(partial(self._evaluate, camera), partial(self._on_evaluated, camera), Urgency.STANDING)

    def _take(self, evaluation: Evaluation) -> None:
        self._is_evaluating = False
        outcome, error = evaluation.outcome, ""
        if isinstance(outcome, PostponedError):
            self._given_up += 1
        elif isinstance(outcome, Exception):
            error = f"{type(outcome).__name__}: {outcome}"
            self._node.get_logger().error(f"an evaluation failed: {error}", throttle_duration_sec=_WARN_EVERY_S)
        else:
            self._publish(outcome)
        self._evaluations += 1
        self._evaluation_ms, self._errors[evaluation.camera] = evaluation.duration_ms, error
        self._evaluate_next()

    def _publish(self, reports: Sequence[TemporalEvent]) -> None:
        for event in reports:
            message = message_from_event(event, self._first_id)
            self._last_id = max(self._last_id, message.event_id)
            self._publisher.publish(message)

    def _on_watch(self, request: WatchEvent.Request, response: WatchEvent.Response) -> WatchEvent.Response:
        if self._watchers is None:
            return _refused(response, EventError.NOT_ACTIVE, _NOT_ACTIVE)
        try:
            watcher = self._watchers.of(request.camera)
            query = watcher.watch(request.text, request.label, request.query_id)
        except QueryError as err:
            return _refused(response, error_code(err), str(err))
        camera = self._watchers.name_of(request.camera)
        self._node.get_logger().info(f"watching with {camera} for {query.id!r}: {query.text}")
        response.success, response.query_id = True, query.id
        return response

    def _on_unwatch(self, request: UnwatchEvent.Request, response: UnwatchEvent.Response) -> UnwatchEvent.Response:
        if self._watchers is None:
            return _refused(response, EventError.NOT_ACTIVE, _NOT_ACTIVE)
        ids = [request.query_id] if request.query_id else [query.id for query in self._watchers.queries]
        try:
            for query_id in ids:
                self._publish(self._watchers.unwatch(query_id))
        except QueryError as err:
            return _refused(response, error_code(err), str(err))
        response.success = True
        return response

    def _require_watchers(self) -> CameraWatchers:
        if self._watchers is None:
            raise BackendError(_NOT_ACTIVE)
        return self._watchers


def _clipped(start_ns: int, end_ns: int, remembered_ns: tuple[int, int] | None) -> Searched:
    """Return what of the range is remembered; 0 stands for the oldest or the newest image."""
    oldest_ns, newest_ns = remembered_ns or (0, 0)
    return Searched(max(start_ns, oldest_ns), min(end_ns or newest_ns, newest_ns))


def _refused(response: Response, error: EventError, message: str) -> Response:
    response.success, response.error_code, response.error_msg = False, int(error), message
    return response
