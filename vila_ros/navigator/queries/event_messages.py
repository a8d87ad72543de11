"""Between events, questions and their messages: conversions, and errors as numbers."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from builtin_interfaces.msg import Duration, Time
from vila_nav.action import Describe, LocalizeEvent
from vila_nav.msg import TemporalEvent as TemporalEventMsg

from vila_core.errors import (
    NoImagesError,
    QueryError,
    QueryLimitError,
    RangeError,
    UnknownCameraError,
    UnknownQueryError,
    UnsupportedQueryError,
    VilaError,
)
from vila_core.types import Interval, LocalizationMethod, TemporalEvent
from vila_ros.common.conversions import stamp_from_ns


class EventError(enum.IntEnum):
    """Why a query or a question was refused or not answered; the numbers stand in srv/ and action/."""

    NONE = 0
    NOT_ACTIVE = 702
    CANCELED = 704
    BACKEND_ERROR = 713
    CLOCK_JUMP = 715
    BAD_QUERY = 721
    TOO_MANY_QUERIES = 722
    UNKNOWN_QUERY = 723
    BAD_RANGE = 724
    NO_IMAGES = 725
    NOT_SUPPORTED = 726
    UNKNOWN_CAMERA = 727
    UNKNOWN = 799


# the first row that fits: narrow before wide
_ERRORS: tuple[tuple[type[Exception], EventError], ...] = (
    (QueryLimitError, EventError.TOO_MANY_QUERIES),
    (UnknownQueryError, EventError.UNKNOWN_QUERY),
    (UnknownCameraError, EventError.UNKNOWN_CAMERA),
    (RangeError, EventError.BAD_RANGE),
    (NoImagesError, EventError.NO_IMAGES),
    (UnsupportedQueryError, EventError.NOT_SUPPORTED),
    (QueryError, EventError.BAD_QUERY),
    (VilaError, EventError.BACKEND_ERROR),
)


@dataclass(frozen=True, slots=True)
class Searched:
    """The time that a question was answered from."""

    start_ns: int
    end_ns: int


def error_code(err: Exception) -> EventError:
    """Return the number of an error; UNKNOWN for one that is not ours."""
    return next((code for kind, code in _ERRORS if isinstance(err, kind)), EventError.UNKNOWN)


def duration_from_ns(duration_ns: int) -> Duration:
    """Return the duration of a number of nanoseconds."""
    seconds, nanoseconds = divmod(duration_ns, 1_000_000_000)
    return Duration(sec=seconds, nanosec=nanoseconds)


def message_from_event(event: TemporalEvent, first_id: int = 0) -> TemporalEventMsg:
    """Return the report as it is published; first_id is added to the event's number."""
    message = TemporalEventMsg(
        event_id=first_id + event.number,
        query_id=event.query_id,
        label=event.label,
        start=stamp_from_ns(event.start_ns),
        end=stamp_from_ns(event.end_ns),
        open=event.is_open,
        probability=float(event.probability),
        quantization=duration_from_ns(event.quantization_ns),
        method=int(event.method),
        camera=event.camera,
    )
    message.header.stamp = stamp_from_ns(event.stamp_ns)
    message.header.frame_id = event.camera
    return message


def localization_result(
    intervals: Sequence[Interval], method: LocalizationMethod, searched: Searched
) -> LocalizeEvent.Result:
    """Return the answer to "when?"; no intervals mean that it was not seen."""
    return LocalizeEvent.Result(
        found=bool(intervals),
        starts=_stamps([one.start_ns for one in intervals]),
        ends=_stamps([one.end_ns for one in intervals]),
        probabilities=[float(one.probability) for one in intervals],
        quantization=duration_from_ns(max((one.quantization_ns for one in intervals), default=0)),
        method=int(method),
        searched_start=stamp_from_ns(searched.start_ns),
        searched_end=stamp_from_ns(searched.end_ns),
    )


def description_result(answer: str, searched: Searched) -> Describe.Result:
    """Return the answer in words."""
    return Describe.Result(
        answer=answer,
        searched_start=stamp_from_ns(searched.start_ns),
        searched_end=stamp_from_ns(searched.end_ns),
    )


def _stamps(stamps_ns: Sequence[int]) -> list[Time]:
    return [stamp_from_ns(stamp_ns) for stamp_ns in stamps_ns]
