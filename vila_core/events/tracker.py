"""Follows one query's intervals from window to window: merge, confirm, close, and tell each of these once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vila_core.config import EventsConfig
from vila_core.events.segments import joined
from vila_core.types import EventQuery, Interval, LocalizationWay, TemporalEvent


@dataclass(frozen=True, slots=True)
class Look:
    """What an evaluation looked at: stamps of its first and newest frame."""

    start_ns: int
    newest_ns: int
    camera: str = "camera"
    way: LocalizationWay = LocalizationWay.NONE


@dataclass(slots=True)
class _Track:
    """An event as it is known so far; number is None until it is confirmed."""

    start_ns: int
    end_ns: int
    probability: float
    quantization_ns: int
    seen: int = 0  # evaluations in a row that saw it
    ended: int = 0  # evaluations in a row that saw its end, or did not see it any more
    number: int | None = None


class EventTracker:
    """The events of one query. Not thread-safe.

    An interval that overlaps an event, or lies at most merge_gap_s from it, or reaches back to the beginning of a
    window that has moved past the start of an open event, is the same event. A confirmed event keeps its start; its
    end is where it was last seen. It is closed when an interval shows an end more than merge_gap_s before the newest
    frame, or after close_evaluations that saw an end or nothing. A closed event is not opened again: what is seen of
    it later is left out.
    """

    def __init__(self, query: EventQuery, config: EventsConfig, numbers: Iterator[int]) -> None:
        """numbers: growing; shared by all queries, so that no two events have the same."""
        self._query = query
        self._config = config
        self._numbers = numbers
        self._gap_ns = round(config.merge_gap_s * 1e9)
        self._tracks: list[_Track] = []  # not closed
        self._closed: list[tuple[int, int]] = []  # (start, end) of those that a window may still show
        self._look: Look | None = None  # the last one

    def update(self, found: Sequence[Interval], look: Look) -> tuple[TemporalEvent, ...]:
        """Take what an evaluation found and return what is new: events confirmed, and events closed.

        found: intervals in which what is asked goes on, inside the look's window, in any order. A look that has no
        newer frame than the last says nothing new.
        """
        if self._look is not None and look.newest_ns <= self._look.newest_ns:
            return ()
        self._look = look
        self._closed = [(start, end) for start, end in self._closed if end + self._gap_ns >= look.start_ns]
        matches = self._matches(self._unknown(joined(found, self._gap_ns)), look)
        self._tracks = [track for track in self._tracks if track.number is not None or id(track) in matches]
        reports = []
        for track in sorted(self._tracks, key=lambda one: one.start_ns):
            self._advance(track, matches.get(id(track)), look)
            reports += self._reports(track, look)
        return tuple(reports)

    def close(self) -> tuple[TemporalEvent, ...]:
        """Close what is open, as the query or the time has ended; nothing is remembered."""
        look, tracks = self._look, self._tracks
        self._tracks, self._closed, self._look = [], [], None
        if look is None:
            return ()
        return tuple(self._report(track, look, is_open=False) for track in tracks if track.number is not None)

    def _unknown(self, found: Sequence[Interval]) -> list[Interval]:
        """Cut off what belongs to closed events."""
        rest = list(found)
        for start, end in self._closed:
            rest = [piece for interval in rest for piece in self._without(interval, start, end)]
        return rest

    def _without(self, interval: Interval, start_ns: int, end_ns: int) -> list[Interval]:
        """What of an interval belongs to no closed event; an end that moved by less than the gap is still its end."""
        if interval.start_ns > end_ns + self._gap_ns or interval.end_ns < start_ns - self._gap_ns:
            return [interval]
        if interval.end_ns <= end_ns + self._gap_ns:
            return []
        return [_spanning(interval, max(interval.start_ns, end_ns), interval.end_ns)]

    def _matches(self, found: Sequence[Interval], look: Look) -> dict[int, list[Interval]]:
        """For each track, by id, the intervals that belong to it; an interval of none makes a new track.

        An interval that joins several tracks makes one of them: the oldest that is confirmed, or the oldest.
        """
        matches: dict[int, list[Interval]] = {}
        for interval in found:
            near = [track for track in self._tracks if self._belongs(interval, track, look)]
            near.sort(key=lambda track: (track.number is None, track.number or 0, track.start_ns))
            keeper = near[0] if near else _Track(interval.start_ns, interval.end_ns, 0.0, 0)
            if not near:
                self._tracks.append(keeper)
            matches.setdefault(id(keeper), []).append(interval)
        return matches

    def _belongs(self, interval: Interval, track: _Track, look: Look) -> bool:
        near = interval.start_ns <= track.end_ns + self._gap_ns and interval.end_ns >= track.start_ns - self._gap_ns
        goes_on = interval.start_ns <= look.start_ns + interval.quantization_ns
        return near or (goes_on and track.number is not None and track.start_ns < look.start_ns)

    def _advance(self, track: _Track, intervals: Sequence[Interval] | None, look: Look) -> None:
        """Bring a track up to what this evaluation saw of it."""
        if not intervals:
            track.seen, track.ended = 0, track.ended + 1
            return
        start_ns, end_ns = min(one.start_ns for one in intervals), max(one.end_ns for one in intervals)
        track.start_ns = start_ns if track.number is None else min(track.start_ns, start_ns)
        track.end_ns = end_ns
        track.probability = max(track.probability, *(one.probability for one in intervals))
        track.quantization_ns = max(one.quantization_ns for one in intervals)
        track.seen += 1
        goes_on = look.newest_ns - end_ns <= track.quantization_ns
        track.ended = 0 if goes_on else track.ended + 1

    def _reports(self, track: _Track, look: Look) -> list[TemporalEvent]:
        """Confirm or close the track if it is time, and return what that makes to report."""
        is_new = track.number is None and self._is_sure(track)
        if is_new:
            track.number = next(self._numbers)
        if track.number is None:
            return []
        if not self._is_over(track, look):
            return [self._report(track, look, is_open=True)] if is_new else []
        self._tracks = [other for other in self._tracks if other is not track]
        self._closed.append((track.start_ns, track.end_ns))
        return [self._report(track, look, is_open=False)]

    def _is_sure(self, track: _Track) -> bool:
        lasts_ns = track.end_ns - track.start_ns
        return track.seen >= self._config.confirm_evaluations and lasts_ns >= self._config.min_duration_s * 1e9

    def _is_over(self, track: _Track, look: Look) -> bool:
        was_seen_to_end = track.seen > 0 and look.newest_ns - track.end_ns > self._gap_ns
        return was_seen_to_end or track.ended >= self._config.close_evaluations

    def _report(self, track: _Track, look: Look, *, is_open: bool) -> TemporalEvent:
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
            camera=look.camera,
            stamp_ns=look.newest_ns,
            way=look.way,
        )


def _spanning(interval: Interval, start_ns: int, end_ns: int) -> Interval:
    return Interval(start_ns, end_ns, interval.probability, interval.quantization_ns)
