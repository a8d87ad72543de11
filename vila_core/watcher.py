"""Frames and standing queries in, events out: the glue between memory, prompt, model and tracker."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from vila_core.config import EventsConfig
from vila_core.engine.backend import Backend
from vila_core.errors import (
    NoImagesError,
    RangeError,
    UnknownQueryError,
    VilaError,
)
from vila_core.events.memory import FrameMemory
from vila_core.events.registry import QueryRegistry
from vila_core.events.tracker import EvaluationWindow, EventTracker
from vila_core.localizer import Answer, Localizer, Progress, untold
from vila_core.prompts.localization import clean_query
from vila_core.types import EventQuery, Frame, Interval, LocalizationMethod, TemporalEvent


@dataclass(frozen=True, slots=True)
class _Work:
    """Hold the queries and frames of one evaluation, copied under the lock."""

    clock_epoch: int  # grows with every clock reset; an evaluation begun before a reset is void
    queries: tuple[EventQuery, ...]
    frames: tuple[Frame, ...]


class EventWatcher:
    """Find the events of standing queries in a camera's frames, and answer questions about the past.

    `evaluate`, `localize` and `describe` ask the model: they must not overlap each other, nor other calls of the
    backend. Everything else may be called from any thread meanwhile: inference works on a copy of the state.
    """

    def __init__(
        self, backend: Backend, config: EventsConfig, camera: str = "", registry: QueryRegistry | None = None
    ) -> None:
        self._config = config
        self._registry = registry or QueryRegistry(config.max_queries)
        self._localizer = Localizer(backend, config, camera)
        self._lock = threading.Lock()
        self._memory = FrameMemory(
            round(config.period_s * 1e9),
            round(config.history_s * 1e9),
            recent_ns=round(config.window_s * 1e9),
            picture_px=backend.info.picture_px,
        )
        self._queries: dict[str, EventQuery] = {}
        self._trackers: dict[str, EventTracker] = {}
        self._pending: tuple[TemporalEvent, ...] = ()  # reports that no evaluation has returned yet
        self._fresh: set[str] = set()  # queries that were never evaluated
        self._clock_epoch = 0

    def reconfigure(self, config: EventsConfig) -> None:
        """Take another configuration of the same memory and window; queries and open events are kept."""
        with self._lock:
            self._config = config
            self._localizer.reconfigure(config)
            for tracker in self._trackers.values():
                tracker.reconfigure(config)

    @property
    def method(self) -> LocalizationMethod:
        """Return the method by which the model tells times."""
        return self._localizer.method

    @property
    def queries(self) -> tuple[EventQuery, ...]:
        """The standing queries, oldest first."""
        with self._lock:
            return tuple(self._queries.values())

    @property
    def newest_stamp_ns(self) -> int | None:
        """Stamp of the newest frame that was observed."""
        with self._lock:
            return self._memory.newest_ns

    @property
    def remembered_ns(self) -> tuple[int, int] | None:
        """Stamps of the oldest and the newest frame that can be asked about; None if there are none."""
        with self._lock:
            kept = self._memory.snapshot()
        return (kept[0].frame.stamp_ns, kept[-1].frame.stamp_ns) if kept else None

    def awaits(self, stamp_ns: int) -> bool:
        """Tell whether `observe` would do anything with a frame of this stamp: not all that come are remembered."""
        with self._lock:
            return self._memory.is_due(stamp_ns)

    def observe(self, frame: Frame) -> None:
        """Take the camera's next frame.

        Raises FrameError as FrameMemory.add does. A stamp that goes back by more than MAX_REORDER_NS means that the
        clock was reset: all frames are forgotten, open events are closed (the next `evaluate` returns that), queries
        live on. The frame must then have another `clock_epoch` than those before it.
        """
        with self._lock:
            if frame.shows_clock_reset(self._memory.newest_ns):
                self._start_again()
            self._memory.add(frame)

    def watch(self, text: str, label: str = "", query_id: str = "") -> EventQuery:
        """Add a standing query; without a label the text is one, without an id it gets one.

        Raises QueryError for a text that is empty, too long or holds chat or media tokens, one query too many, or an
        id that is taken; nothing has changed then.
        """
        most = self._config.max_query_chars
        text = clean_query(text, most)
        label = clean_query(label, most, "label") if label else text
        query = self._registry.add(text, label, clean_query(query_id, most, "query_id") if query_id else "")
        with self._lock:
            self._queries[query.id] = query
            self._trackers[query.id] = EventTracker(query, self._config, self._registry.numbers)
            self._fresh.add(query.id)
        return query

    def unwatch(self, query_id: str) -> tuple[TemporalEvent, ...]:
        """End a standing query; returns the report that closes its open event. QueryError if there is no such query."""
        with self._lock:
            if query_id not in self._queries:
                known = ", ".join(self._queries) or "none"
                raise UnknownQueryError(f"no query has the id {query_id!r}; standing: {known}")
            del self._queries[query_id]
            self._fresh.discard(query_id)
            self._registry.remove(query_id)
            return self._trackers.pop(query_id).close()

    def has_work(self) -> bool:
        """Tell whether `evaluate` would have something to return or to ask the model about."""
        with self._lock:
            if self._pending:
                return True
            kept = self._memory.snapshot()
            return bool(self._queries) and self._localizer.has_news(kept, again=bool(self._fresh))

    def evaluate(self) -> tuple[TemporalEvent, ...]:
        """Ask all queries about the newest window; returns what is new: events confirmed and events closed.

        If the model fails for a query the others are evaluated, then a VilaError names it; what there is to report
        is returned by the next call, which asks the model nothing.
        """
        with self._lock:
            reports, self._pending = self._pending, ()
            if reports:
                return reports
            kept = self._memory.snapshot()
            queries = tuple(self._queries.values())
            frames = self._localizer.window(kept) if queries else ()
            work = _Work(self._clock_epoch, queries, frames)
        if not self._localizer.can_answer(frames):
            return ()
        answers = self._localizer.locate_each([query.text for query in queries], frames)
        return self._note(work, answers)

    def localize(self, text: str, start_ns: int, end_ns: int, progress: Progress = untold) -> tuple[Interval, ...]:
        """Answer when something went on between two times; () if it was not seen.

        progress: is told the share of the images that was looked at, if there are many.

        0 stands for the oldest or the newest frame that is remembered. Raises QueryError for a text as `watch` does,
        and for times that are reversed, outside what is remembered, or without images; VilaError if the model fails.
        """
        text = clean_query(text, self._config.max_query_chars)
        return self._localizer.locate(text, self._between(start_ns, end_ns), progress)

    def describe(self, text: str, start_ns: int, end_ns: int) -> str:
        """Answer freely about what was seen between two times; see `localize`.

        Raises QueryError also for a model that speaks no more than its own sentences.
        """
        self._localizer.require_speech()
        text = clean_query(text, self._config.max_query_chars)
        return self._localizer.describe(text, self._between(start_ns, end_ns))

    def _note(self, work: _Work, answers: list[Answer]) -> tuple[TemporalEvent, ...]:
        """Hand the answers to the trackers, unless the clock was reset meanwhile."""
        evaluated = EvaluationWindow(
            work.frames[0].stamp_ns, work.frames[-1].stamp_ns, work.frames[-1].camera, self.method
        )
        reports: list[TemporalEvent] = []
        failed: list[tuple[EventQuery, VilaError]] = []
        with self._lock:
            if work.clock_epoch != self._clock_epoch:
                return ()
            for query, answer in zip(work.queries, answers, strict=True):
                if self._queries.get(query.id) is not query:
                    continue  # unwatched meanwhile
                self._fresh.discard(query.id)
                if isinstance(answer, VilaError):
                    failed.append((query, answer))
                else:
                    reports += self._trackers[query.id].update(answer, evaluated)
            if failed:
                self._pending = (*self._pending, *reports)
        if failed:
            query, error = failed[0]
            raise type(error)(f"query {query.id!r} ({query.text}): {error}") from error
        return tuple(reports)

    def _between(self, start_ns: int, end_ns: int) -> tuple[Frame, ...]:
        """Return the remembered frames between two times."""
        with self._lock:
            frames = tuple(kept.frame for kept in self._memory.snapshot())
        if not frames:
            raise NoImagesError("no images are remembered yet")
        oldest_ns, newest_ns = frames[0].stamp_ns, frames[-1].stamp_ns
        start_ns, end_ns = start_ns or oldest_ns, end_ns or newest_ns
        if start_ns > end_ns:
            raise RangeError(f"the time range is reversed: from {start_ns} to {end_ns} ns")
        if end_ns < oldest_ns or start_ns > newest_ns:
            raise RangeError(f"{start_ns} to {end_ns} ns is outside what is remembered: {oldest_ns} to {newest_ns} ns")
        chosen = tuple(frame for frame in frames if start_ns <= frame.stamp_ns <= end_ns)
        if not self._localizer.can_answer(chosen):
            raise RangeError(f"too few images between {start_ns} and {end_ns} ns: {len(chosen)}")
        return chosen

    def _start_again(self) -> None:
        self._clock_epoch += 1
        for tracker in self._trackers.values():
            self._pending = (*self._pending, *tracker.close())
        self._memory.clear()
        self._localizer.forget()
        self._fresh = set(self._queries)
