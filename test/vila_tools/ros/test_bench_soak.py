"""`vila bench soak` on a real graph: two navigators, a second of it."""

from __future__ import annotations

import json
from collections import Counter

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from vila_nav.msg import DecisionStats

from vila_core.errors import ConfigError, VilaError
from vila_tools.benchmark import soak
from vila_tools.benchmark.soak import DRIVING, WATCHING, SoakOptions, summary


class Heard:
    """A listener that has heard so much."""

    def __init__(self, *stats: DecisionStats) -> None:
        self.stats, self.evaluations = list(stats), {DRIVING: 7}
        self.holds = Counter(LATE_DECISION=2, NO_INSTRUCTION=1)


@pytest.mark.long
def test_both_navigators_are_measured(ros_environment, tmp_path, capsys) -> None:
    file = tmp_path / "soak.json"
    arguments = ["--minutes", "0.2", "--rate", "10", "--width", "160", "--height", "120", "--watch", "the door opens"]
    assert soak.main([*arguments, "--json", str(file)]) == 0
    figures = json.loads(file.read_text())
    assert figures == json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["decisions"] >= 1 and 0 < figures["image_age_ms_median"] <= figures["image_age_ms_max"]
    assert set(figures["growth_percent"]) == set(figures["evaluations"]) == {DRIVING, WATCHING}
    assert all(begun > 50 and end > 50 for begun, end in figures["resident_mb"].values())


def test_ages_are_those_at_which_decisions_began() -> None:
    stats = [
        DecisionStats(image_age_ms=30.0, latency_ms=10.0),
        DecisionStats(image_age_ms=250.0, latency_ms=40.0, holds=2, late_answers=1),
        DecisionStats(image_age_ms=25.0, latency_ms=10.0, holds=3, late_answers=1),
    ]
    resident = {DRIVING: [(0.0, 80.0), (0.1, 95.0), (0.15, 105.0), (0.5, 130.0), (0.95, 98.0), (1.0, 106.0)]}
    figures = summary(Heard(*stats), resident)
    assert (figures.image_age_ms_max, figures.image_age_ms_median, figures.decide_ms_max) == (210.0, 20.0, 40.0)
    assert (figures.decisions, figures.dropped_answers) == (3, 1)
    assert (figures.missed_deadlines, figures.holds) == (2, {"LATE_DECISION": 2, "NO_INSTRUCTION": 1})
    assert figures.resident_mb == {DRIVING: (100.0, 102.0)} and figures.growth_percent == {DRIVING: 2.0}


@pytest.mark.parametrize(("stats", "resident"), [([], [(0.5, 80.0)]), ([DecisionStats()], [])])
def test_nothing_heard_is_no_figure(stats, resident) -> None:
    with pytest.raises(VilaError, match="told of no decision"):
        summary(Heard(*stats), {DRIVING: resident})


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"minutes": 0.0}, "minutes = 0.0: must be above 0"),
        ({"queries": ()}, "no query"),
        ({"width": 1}, "width = 1"),
        ({"busy": -1}, "--busy -1: must be from 0 to 64"),
    ],
)
def test_impossible_options_are_refused(values, complaint) -> None:
    with pytest.raises(ConfigError, match=complaint):
        SoakOptions(**values)
