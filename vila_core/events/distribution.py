"""From the probabilities of starts, of ends behind a start, and of "not seen", to intervals with an error bar."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import BackendError
from vila_core.types import Interval

_TIE = 1e-6  # of two places with as much mass around, the more probable pair is the peak
_ROUNDING = 1e-4  # by which probabilities may miss 1 in all


def likely_starts(starts: Sequence[float], min_probability: float) -> tuple[int, ...]:
    """The starts on which a believed interval can depend: only behind these must ends be asked for.

    starts: probability of each time to be the start; then that of "not seen". An interval's probability is the mass
    within one step of it, so it is at most that of three neighbouring starts: where those have less than
    min_probability, no end can make up for it. Raises BackendError for values that are no probabilities.
    """
    _require_distribution(starts, "starts")
    padded = np.pad(np.array(starts[:-1]), 1)
    is_peak = padded[:-2] + padded[1:-1] + padded[2:] >= min_probability
    near = np.pad(is_peak, 1)
    return tuple(int(at) for at in np.flatnonzero(near[:-2] | near[1:-1] | near[2:]))


def pair_intervals(
    starts: Sequence[float], ends: Mapping[int, Sequence[float]], stamps_ns: Sequence[int], min_probability: float
) -> tuple[Interval, ...]:
    """Find the peaks of a distribution over pairs of times, in order of time and disjoint.

    starts: as for likely_starts. ends: for the likely starts, by number, the probability of each time from there on
    to be the end. stamps_ns: the C times, at least 2, ascending. A peak's probability is the mass within one step of
    it; its error bar is the mean step. What has less than min_probability is not believed: no peak means not seen.
    Raises BackendError for another number of probabilities or values that are none.
    """
    joint = _joint(starts, ends, len(stamps_ns))
    step_ns = round((stamps_ns[-1] - stamps_ns[0]) / (len(stamps_ns) - 1))
    found: list[Interval] = []
    while True:
        mass = _mass_around(joint)
        ranked = np.where(joint > 0, mass + _TIE * joint, 0.0)
        start, end = (int(index) for index in np.unravel_index(ranked.argmax(), ranked.shape))
        probability = min(1.0, float(mass[start, end]))
        if joint[start, end] <= 0 or probability < min_probability:
            return tuple(sorted(found, key=lambda one: one.start_ns))
        found.append(Interval(stamps_ns[start], stamps_ns[end], probability, step_ns))
        joint[: end + 1, start:] = 0.0  # all pairs that overlap it
        joint[max(0, start - 1) : start + 2, max(0, end - 1) : end + 2] = 0.0  # and its mass, which counts once


def _joint(starts: Sequence[float], ends: Mapping[int, Sequence[float]], count: int) -> NDArray[np.float64]:
    """[C, C], zero where the end lies before the start or the start is not likely."""
    if count < 2 or len(starts) != count + 1:
        raise BackendError(f"expected {count + 1} probabilities for {count} times, 2 at least, got {len(starts)}")
    _require_distribution(starts, "starts")
    joint = np.zeros((count, count))
    for start, row in ends.items():
        if len(row) != count - start:
            raise BackendError(f"expected {count - start} ends behind time {start} of {count}, got {len(row)}")
        _require_distribution(row, "ends")
        joint[start, start:] = starts[start] * np.array(row)
    return joint


def _require_distribution(values: Sequence[float], what: str) -> None:
    usable = bool(values) and all(math.isfinite(value) and value >= 0.0 for value in values)
    if not usable or abs(math.fsum(values) - 1.0) > _ROUNDING:
        raise BackendError(f"the model's scores of {len(values)} {what} are no probabilities: {list(values)[:4]}...")


def _mass_around(joint: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each pair the sum over the pairs whose start and end are at most one step away."""
    padded, count = np.pad(joint, 1), len(joint)
    shifts = (padded[down : down + count, right : right + count] for down in range(3) for right in range(3))
    return sum(shifts, start=np.zeros_like(joint))
