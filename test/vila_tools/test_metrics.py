"""Navigation metrics against the reference implementations, row by row."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from conftest import golden_dir
from hypothesis import given
from hypothesis import strategies as st

from vila_tools.evaluation.metrics import (
    bootstrap_interval,
    dtw,
    fast_dtw,
    mcnemar,
    mean,
    mean_metrics,
    navigation_metrics,
    ndtw,
    paired_interval,
    wilson_interval,
)

GOLDEN = json.loads((golden_dir("vln") / "vln_metrics.json").read_text())
NAMES = {
    "distance_to_goal": "navigation_error_m",
    "success": "success",
    "spl": "spl",
    "oracle_spl": "spl",  # VLN-CE's value is the best SPL so far, which only the last step can give
    "softspl": "soft_spl",
    "path_length": "path_length_m",
    "oracle_navigation_error": "oracle_navigation_error_m",
    "oracle_success": "oracle_success",
    "steps_taken": "steps",
    "ndtw": "ndtw",
    "sdtw": "sdtw",
}


def geodesic(row: dict[str, Any], point: list[float]) -> float:
    """The stub simulator's distance to the row's goal, see geodesic_wall in the file."""
    goal = row["goal"]
    if row["geodesic"] != "euclidean" and (point[0] - 2) * (goal[0] - 2) < 0:
        part = (2 - point[0]) / (goal[0] - point[0])
        if point[2] + part * (goal[2] - point[2]) < 1:
            return math.dist(point, (2, point[1], 1)) + math.dist((2, point[1], 1), goal)
    return math.dist(point, goal)


@pytest.mark.parametrize("row", GOLDEN["rows"], ids=lambda row: row["name"])
def test_golden_row(row: dict[str, Any]) -> None:
    distances = [geodesic(row, point) for point in row["path"]]
    got = navigation_metrics(row["path"], distances, row["gt_locations"], stop_called=row["stop_called"], radius_m=3.0)
    for official, ours in NAMES.items():
        assert getattr(got, ours) == pytest.approx(row["metrics_fastdtw"][official], abs=1e-9), official
    assert ndtw(row["path"], row["gt_locations"], 3.0, exact=True) == pytest.approx(row["ndtw_exact_dtw"], abs=1e-9)


def test_golden_means() -> None:
    rows = [
        navigation_metrics(
            row["path"],
            [geodesic(row, point) for point in row["path"]],
            row["gt_locations"],
            stop_called=row["stop_called"],
            radius_m=3.0,
        )
        for row in GOLDEN["rows"]
    ]
    means = mean_metrics(rows)
    for official, value in GOLDEN["mean_over_rows"].items():
        if official in NAMES:
            assert getattr(means, NAMES[official]) == pytest.approx(value, abs=1e-6), official


points = st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=20)


@given(points, points)
def test_fast_dtw_is_an_upper_bound_of_dtw(a: list[tuple[float, float]], b: list[tuple[float, float]]) -> None:
    x, y = np.array(a), np.array(b)
    assert fast_dtw(x, y) >= dtw(x, y) - 1e-9
    assert dtw(x, x) == 0.0
    assert dtw(x, y) == pytest.approx(dtw(y, x))


def test_wilson_interval() -> None:
    low, high = wilson_interval(100, 200)
    assert (low, high) == (pytest.approx(0.4313, abs=1e-4), pytest.approx(0.5687, abs=1e-4))
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(200, 200)[1] == pytest.approx(1.0)
    assert wilson_interval(0, 10)[0] == 0.0


def test_the_bootstrap_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(3).exponential(2.0, 400)
    low, high = bootstrap_interval(values.tolist())
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)
    assert bootstrap_interval(values.tolist()) == (low, high)
    assert bootstrap_interval([1.0, math.nan, 1.0]) == (1.0, 1.0)
    assert all(map(math.isnan, (*bootstrap_interval([math.nan]), mean([]), mean([math.nan]))))
    assert mean([1.0, math.nan, 3.0]) == 2.0 and mean([1.0, math.inf]) == math.inf


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_exact_binomial_test(lost: int, gained: int) -> None:
    binomtest = pytest.importorskip("scipy.stats").binomtest
    expected = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert mcnemar(lost, gained) == pytest.approx(expected)
    low, high = paired_interval(lost, gained, 80)
    assert -1.0 <= low <= (gained - lost) / 80 + 0.02 and high >= (gained - lost) / 80 - 0.02


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        navigation_metrics([[0, 0]], [1.0, 2.0], [[0, 0]], stop_called=True, radius_m=1.0)
    with pytest.raises(ValueError, match=r"expected \[T, D\]"):
        navigation_metrics([], [], [[0, 0]], stop_called=True, radius_m=1.0)
    with pytest.raises(ValueError, match="no episodes"):
        mean_metrics([])
