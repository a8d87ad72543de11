"""The metrics of vision-and-language navigation, as habitat-lab 0.1.7 and VLN-CE compute them.

One difference: the success radius is an argument (VLN-CE uses 3 m, a flat needs 1 m).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

_WILSON_Z = 1.959963984540054  # 95 %
_RESAMPLES, _RESAMPLES_AT_ONCE = 2000, 100


@dataclass(frozen=True, slots=True)
class NavigationMetrics:
    """The metrics of one episode, or their means over several.

    Distances to the goal are geodesic. success: stop was called nearer than the radius (strict).
    oracle_success: the robot was once nearer than the radius. spl: success weighted by d0 over
    the way driven, d0 being the geodesic distance at the start. steps: unit steps, stop included.
    """

    success: float
    oracle_success: float
    spl: float
    soft_spl: float
    navigation_error_m: float
    oracle_navigation_error_m: float
    path_length_m: float
    ndtw: float
    sdtw: float
    steps: float


def navigation_metrics(
    path: ArrayLike,
    distances_m: Sequence[float],
    reference: ArrayLike,
    *,
    stop_called: bool,
    radius_m: float,
    exact_dtw: bool = False,
) -> NavigationMetrics:
    """Measure one episode.

    path: [T, D] positions in metres, at the start and after each unit step (stop makes none).
    distances_m: [T] distance to the goal at each. reference: [R, D] the path that was meant.
    Raises ValueError if a shape does not fit.
    """
    points, meant = _points("path", path), _points("reference", reference)
    if len(distances_m) != len(points) or points.shape[1] != meant.shape[1]:
        raise ValueError(f"path {points.shape}, reference {meant.shape}, {len(distances_m)} distances do not fit")
    first, last, nearest = distances_m[0], distances_m[-1], min(distances_m)
    length = path_length(points)
    efficiency = first / max(first, length) if length > 0 else 1.0
    success = float(stop_called and last < radius_m)
    progress = max(0.0, 1.0 - last / first) if first > 0 else 1.0
    similarity = ndtw(points, meant, radius_m, exact=exact_dtw)
    return NavigationMetrics(
        success=success,
        oracle_success=float(nearest < radius_m),
        spl=success * efficiency,
        soft_spl=progress * efficiency,
        navigation_error_m=last,
        oracle_navigation_error_m=nearest,
        path_length_m=length,
        ndtw=similarity,
        sdtw=success * similarity,
        steps=float(len(points) - 1 + stop_called),
    )


def mean_metrics(episodes: Sequence[NavigationMetrics]) -> NavigationMetrics:
    """Average each metric over the episodes; raises ValueError if there are none.

    A distance that is infinite (the goal cannot be reached) stays in the mean, and shows. What is nan does not apply
    to its episode, and is left out; nan if it applies to none.
    """
    if not episodes:
        raise ValueError("no episodes to average")
    names = [item.name for item in fields(NavigationMetrics)]
    return NavigationMetrics(**{name: mean([getattr(e, name) for e in episodes]) for name in names})


def mean(values: Sequence[float]) -> float:
    """The mean of the values that are not nan, nan if there are none."""
    known = _known(values)
    return float(np.mean(known)) if len(known) else math.nan


def bootstrap_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a mean: the percentile bootstrap of 2,000 resamples; values that are nan are left out.

    (nan, nan) for no values. The same values and seed give the same interval.
    """
    known, rng = _known(values), np.random.default_rng(seed)
    if len(known) == 0:
        return math.nan, math.nan
    draws = (
        rng.integers(len(known), size=(_RESAMPLES_AT_ONCE, len(known)))
        for _ in range(0, _RESAMPLES, _RESAMPLES_AT_ONCE)
    )
    means = np.concatenate([known[draw].mean(axis=1) for draw in draws])
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def paired_interval(lost: int, gained: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a difference of paired rates (Agresti and Min, 2005), within [-1, 1].

    lost, gained: of count pairs, those where the first alone succeeds, and the second alone.
    """
    one, other, pairs = lost + 0.5, gained + 0.5, count + 2
    middle = (other - one) / pairs
    half = _WILSON_Z * math.sqrt(one + other - (other - one) ** 2 / pairs) / pairs
    return max(middle - half, -1.0), min(middle + half, 1.0)


def mcnemar(lost: int, gained: int) -> float:
    """The exact two-sided p of McNemar's test: how likely so uneven a split of the pairs that differ is by chance."""
    pairs = lost + gained
    tail = sum(math.comb(pairs, k) for k in range(min(lost, gained) + 1))
    return min(1.0, 2 * tail / 2**pairs)


def rate_row(name: str, successes: float, count: int) -> dict[str, float]:
    """Return NAME, NAME_low and NAME_high: a success rate and its 95 % interval, in 4 digits; 0 for no episodes."""
    low, high = wilson_interval(successes, count)
    return {
        name: round(successes / count, 4) if count else 0.0,
        f"{name}_low": round(low, 4),
        f"{name}_high": round(high, 4),
    }


def wilson_interval(successes: float, count: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a success rate; (0, 1) for no episodes."""
    if count == 0:
        return 0.0, 1.0
    rate, z2 = successes / count, _WILSON_Z**2
    centre = (rate + z2 / (2 * count)) / (1 + z2 / count)
    half = _WILSON_Z * math.sqrt(rate * (1 - rate) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def path_length(path: ArrayLike) -> float:
    """Sum of the Euclidean steps of a path [T, D]."""
    points = _points("path", path)
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def ndtw(path: ArrayLike, reference: ArrayLike, radius_m: float, *, exact: bool = False) -> float:
    """Normalised dynamic time warping, exp(-DTW / (len(reference) * radius)), in (0, 1].

    Positions that repeat the one before are dropped from the path. DTW is approximated by
    FastDTW with radius 1, as VLN-CE does by default, or exact.
    """
    points, meant = _points("path", path), _points("reference", reference)
    moved = np.r_[True, (np.diff(points, axis=0) != 0).any(axis=1)]
    distance = dtw(points[moved], meant) if exact else fast_dtw(points[moved], meant)
    return math.exp(-distance / (len(meant) * radius_m))


def dtw(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Exact dynamic time warping of two point sequences [N, D] and [M, D] by Euclidean distance."""
    return _warp(a, b, [(0, len(b))] * len(a))[0]


def fast_dtw(a: NDArray[np.float64], b: NDArray[np.float64], radius: int = 1) -> float:
    """FastDTW (Salvador and Chan, 2007): an upper bound of dtw in linear time."""
    return _fast_warp(a, b, radius)[0]


def _fast_warp(a: NDArray[np.float64], b: NDArray[np.float64], radius: int) -> tuple[float, list[tuple[int, int]]]:
    """Warp at half the resolution, then only near the path found there."""
    if min(len(a), len(b)) < radius + 2:
        return _warp(a, b, [(0, len(b))] * len(a))
    _, coarse = _fast_warp(_halved(a), _halved(b), radius)
    return _warp(a, b, _bands(coarse, len(a), len(b), radius))


def _halved(points: NDArray[np.float64]) -> NDArray[np.float64]:
    even = len(points) // 2 * 2
    return (points[0:even:2] + points[1:even:2]) / 2


def _bands(coarse: list[tuple[int, int]], rows: int, columns: int, radius: int) -> list[tuple[int, int]]:
    """The columns [low, high) of each row that lie within the radius of the coarse path."""
    low, high = [columns] * rows, [0] * rows
    for i, j in coarse:
        for row in range(max(2 * (i - radius), 0), min(2 * (i + radius) + 2, rows)):
            low[row] = min(low[row], max(2 * (j - radius), 0))
            high[row] = max(high[row], min(2 * (j + radius) + 2, columns))
    return list(zip(low, high, strict=True))


def _warp(
    a: NDArray[np.float64], b: NDArray[np.float64], bands: list[tuple[int, int]]
) -> tuple[float, list[tuple[int, int]]]:
    """The cheapest warping within the bands, and its path. A tie prefers a step in a, then one in b."""
    cost = np.full((len(a) + 1, len(b) + 1), np.inf)
    cost[0, 0] = 0.0
    for i, (low, high) in enumerate(bands):
        step = np.linalg.norm(b[low:high] - a[i], axis=1)
        for j in range(low, high):
            cost[i + 1, j + 1] = step[j - low] + min(cost[i, j + 1], cost[i + 1, j], cost[i, j])
    path, i, j = [], len(a), len(b)
    while i > 0 and j > 0:
        path.append((i - 1, j - 1))
        before = ((i - 1, j), (i, j - 1), (i - 1, j - 1))
        i, j = min(before, key=lambda cell: cost[cell])
    return float(cost[-1, -1]), path[::-1]


def _known(values: Sequence[float]) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    return array[~np.isnan(array)]


def _points(name: str, values: ArrayLike) -> NDArray[np.float64]:
    points = np.asarray(values, np.float64)
    if points.ndim != 2 or len(points) == 0:
        raise ValueError(f"{name}: expected [T, D] with at least one point, got shape {points.shape}")
    return points
