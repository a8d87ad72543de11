"""From one relevance per frame to intervals, by hysteresis; and what noise is, and what is one event."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from vila_core.errors import BackendError
from vila_core.types import Interval

STAY = 0.6  # of the relevance at which an interval is believed: what it needs to go on


def segments(
    relevances: Sequence[float], stamps_ns: Sequence[int], min_probability: float, step_ns: int
) -> tuple[Interval, ...]:
    """Find the runs of frames that stay above STAY * min_probability and reach min_probability somewhere.

    stamps_ns: of the frames, ascending. step_ns: between two frames, the error bar. An interval lasts from its first
    frame to its last; its probability is the mean of its frames' relevance. Raises BackendError for relevances that
    are no probabilities or not one for each frame.
    """
    if len(relevances) != len(stamps_ns):
        raise BackendError(f"expected {len(stamps_ns)} relevances, got {len(relevances)}")
    if not all(math.isfinite(value) and 0.0 <= value <= 1.0 for value in relevances):
        raise BackendError(f"the model's relevances are no probabilities: {list(relevances)}")
    found, run = [], list[int]()
    for number in range(len(relevances) + 1):
        if number < len(relevances) and relevances[number] >= STAY * min_probability:
            run.append(number)
            continue
        if run and max(relevances[at] for at in run) >= min_probability:
            mean = math.fsum(relevances[at] for at in run) / len(run)
            found.append(Interval(stamps_ns[run[0]], stamps_ns[run[-1]], min(1.0, mean), step_ns))
        run = []
    return tuple(found)


def joined(intervals: Sequence[Interval], gap_ns: int) -> tuple[Interval, ...]:
    """Make one of those that overlap or lie at most gap_ns apart; in order of time, with the greatest probability."""
    result: list[Interval] = []
    for interval in sorted(intervals, key=lambda one: (one.start_ns, one.end_ns)):
        if result and interval.start_ns - result[-1].end_ns <= gap_ns:
            last = result[-1]
            result[-1] = dataclasses.replace(
                last,
                end_ns=max(last.end_ns, interval.end_ns),
                probability=max(last.probability, interval.probability),
                quantization_ns=max(last.quantization_ns, interval.quantization_ns),
            )
        else:
            result.append(interval)
    return tuple(result)


def lasting(intervals: Sequence[Interval], min_duration_ns: int) -> tuple[Interval, ...]:
    """Leave out what is shorter than min_duration_ns."""
    return tuple(one for one in intervals if one.end_ns - one.start_ns >= min_duration_ns)
