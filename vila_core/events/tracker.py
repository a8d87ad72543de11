"""Follows one query's intervals from window to window: merge, confirm, close, and tell each of these once."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vila_core.config import EventsConfig
from vila_core.events.segments import joined
from vila_core.types import EventQuery, Interval, LocalizationMethod, TemporalEvent


@dataclass(frozen=True, slots=True)
class EvaluationWindow:
    """What an evaluation saw: stamps of its first and newest frame."""

    start_ns: int
    newest_ns: int
    camera: str = "camera"
    method: LocalizationMethod = LocalizationMethod.NONE


@dataclass(slots=True)
class _Track:
    """An event as it is known so far; number is None until it is confirmed."""

    start_ns: int
    end_ns: int
    probability: float
    quantization_ns: int
    seen: int = 0  # evaluations in a row that saw it; of a closed one, that saw it go on
    ended: int = 0  # evaluations in a row that saw its end, or did not see it any more
    number: int | None = None
    is_open: bool = False

    @property
    def is_closed(self) -> bool:
        """Whether its end was reported."""
        return self.number is not None and not self.is_open


class EventTracker:
    """The events of one query. Not thread-safe.

    An interval that overlaps an event, or lies at most merge_gap_s from it, or reaches back to the beginning of a
    window that has moved past the start of an open event, is the same event. A confirmed event keeps its start; its
    end is where it was last seen. It is closed when an interval shows an end more than merge_gap_s before the newest
    frame, or after close_evaluations that saw an end or nothing. If confirm_evaluations in a row then see that it went
    on for more than merge_gap_s, it is open again, under its old number: it is not another event.
    """

    def __init__(self, query: EventQuery, config: EventsConfig, numbers: Iterator[int]) -> None:
        """numbers: growing; shared by all queries, so that no two events have the same."""
        self._query = query
        self._numbers = numbers
        self._tracks: list[_Track] = []  # and of closed ones those that a window may still show
        self._evaluated: EvaluationWindow | None = None  # the last one
        self._newest_ns: deque[int] = deque()  # of the last windows
        self.reconfigure(config)

    def reconfigure(self, config: EventsConfig) -> None:
        """Take another configuration; the events so far are kept."""
        self._config = config
        self._gap_ns = round(config.merge_gap_s * 1e9)
        self._newest_ns = deque(self._newest_ns, maxlen=config.confirm_evaluations + 2)

    def update(self, found: Sequence[Interval], evaluated: EvaluationWindow) -> tuple[TemporalEvent, ...]:
        """Take what an evaluation found and return what is new: events confirmed, open again, or closed.

        found: intervals in which what is asked goes on, inside its window, in any order. An evaluation that
        has no newer frame than the last says nothing new.
        """
        if self._evaluated is not None and evaluated.newest_ns <= self._evaluated.newest_ns:
            return ()
        self._evaluated = evaluated
        self._newest_ns.append(evaluated.newest_ns)
        self._tracks = [
            one for one in self._tracks if not one.is_closed or one.end_ns + self._gap_ns >= evaluated.start_ns
        ]
        matches = self._matches(joined(found, self._gap_ns), evaluated)
        self._tracks = [track for track in self._tracks if track.number is not None or id(track) in matches]
        reports = []
        for track in sorted(self._tracks, key=lambda one: one.start_ns):
            self._advance(track, matches.get(id(track)), evaluated)
            reports += self._reports(track, evaluated)
        return tuple(reports)

    def close(self) -> tuple[TemporalEvent, ...]:
        """Close what is open, as the query or the time has ended; nothing is remembered."""
        evaluated, tracks = self._evaluated, self._tracks
        self._tracks, self._evaluated = [], None
        self._newest_ns.clear()
        if evaluated is None:
            return ()
        return tuple(self._report(track, evaluated, is_open=False) for track in tracks if track.is_open)

    def _matches(self, found: Sequence[Interval], evaluated: EvaluationWindow) -> dict[int, list[Interval]]:
        """For each track, by id, the intervals that belong to it; an interval of none makes a new track.

        An interval that joins several tracks makes one of them: the oldest that is open, or the newest that is closed,
        or the oldest that is not confirmed. What lies in closed ones does not belong to an open one.
        """
        matches: dict[int, list[Interval]] = {}
        for interval in found:
            near = [track for track in self._tracks if self._belongs(interval, track, evaluated)]
            near.sort(key=_precedence)
            keeper = near[0] if near else _Track(interval.start_ns, interval.end_ns, 0.0, 0)
            if not near:
                self._tracks.append(keeper)
            if keeper.is_open and any(track.is_closed for track in near):
                if interval.end_ns < keeper.start_ns:
                    continue
                interval = dataclasses.replace(interval, start_ns=max(interval.start_ns, keeper.start_ns))
            matches.setdefault(id(keeper), []).append(interval)
        return matches

    def _belongs(self, interval: Interval, track: _Track, evaluated: EvaluationWindow) -> bool:
        near = interval.start_ns <= track.end_ns + self._gap_ns and interval.end_ns >= track.start_ns - self._gap_ns
        goes_on = interval.start_ns <= evaluated.start_ns + interval.quantization_ns
        return near or (goes_on and track.is_open and track.start_ns < evaluated.start_ns)

    def _advance(self, track: _Track, intervals: Sequence[Interval] | None, evaluated: EvaluationWindow) -> None:
        """Bring a track up to what this evaluation saw of it."""
        if track.is_closed:
            last_ns = max((one.end_ns for one in intervals or ()), default=track.end_ns)
            track.seen = track.seen + 1 if last_ns > track.end_ns + self._gap_ns else 0
            if not self._is_sure(track, evaluated, last_ns):
                return
        if not intervals:
            track.seen, track.ended = 0, track.ended + 1
            return
        start_ns, end_ns = min(one.start_ns for one in intervals), max(one.end_ns for one in intervals)
        track.start_ns = start_ns if track.number is None else min(track.start_ns, start_ns)
        track.end_ns = end_ns
        track.probability = max(track.probability, *(one.probability for one in intervals))
        track.quantization_ns = max(one.quantization_ns for one in intervals)
        track.seen += 1
        goes_on = evaluated.newest_ns - end_ns <= track.quantization_ns
        track.ended = 0 if goes_on else track.ended + 1

    def _reports(self, track: _Track, evaluated: EvaluationWindow) -> list[TemporalEvent]:
        """Confirm, open again or close the track if it is time, and return what that makes to report."""
        begins = not track.is_open and self._is_sure(track, evaluated, track.end_ns)
        if begins:
            track.number, track.is_open = track.number or next(self._numbers), True
        if not track.is_open:
            return []
        if not self._is_over(track, evaluated):
            return [self._report(track, evaluated, is_open=True)] if begins else []
        track.is_open, track.seen = False, 0
        return [self._report(track, evaluated, is_open=False)]

    def _is_sure(self, track: _Track, evaluated: EvaluationWindow, end_ns: int) -> bool:
        """Whether the track, seen until end_ns, may be told."""
        config, lasts_ns = self._config, track.end_ns - track.start_ns
        if evaluated.method is LocalizationMethod.RELEVANCE and (
            track.probability < config.confirm_relevance or self._is_long_over(end_ns, evaluated)
        ):
            return False
        return lasts_ns >= config.min_duration_s * 1e9 and track.seen >= config.confirm_evaluations

    def _is_long_over(self, end_ns: int, evaluated: EvaluationWindow) -> bool:
        """Whether that was more than confirm_within_s ago, with two evaluations between it and those that confirm it.

        Evaluations that saw all that followed were not sure of it. When it leaves the window, so that less and less of
        what came before it is seen, one may be, and then it is more often wrong. (A single one may have come too soon.)
        The first ones of a query, as many as confirm, may be sure of anything.
        """
        if len(self._newest_ns) <= self._config.confirm_evaluations:
            return False
        waited_ns = max(self._config.confirm_within_s * 1e9, evaluated.newest_ns - self._newest_ns[0])
        return evaluated.newest_ns - end_ns > waited_ns

    def _is_over(self, track: _Track, evaluated: EvaluationWindow) -> bool:
        was_seen_to_end = track.seen > 0 and evaluated.newest_ns - track.end_ns > self._gap_ns
        return was_seen_to_end or track.ended >= self._config.close_evaluations

    def _report(self, track: _Track, evaluated: EvaluationWindow, *, is_open: bool) -> TemporalEvent:
        assert track.number is not None
        return TemporalEvent(
            query_id=self._query.id,
            number=track.number,
            label=self._query.label,
            start_ns=track.start_ns,
            end_ns=track.end_ns,
            is_open=is_open,
            probability=track.probability,
            quantization_ns=track.quantization_ns,
            camera=evaluated.camera,
            stamp_ns=evaluated.newest_ns,
            method=evaluated.method,
        )


def _precedence(track: _Track) -> tuple[int, int]:
    if track.is_open:
        return 0, track.number or 0
    return (1, -track.end_ns) if track.is_closed else (2, track.start_ns)
