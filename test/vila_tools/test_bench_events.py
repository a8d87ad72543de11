"""The evaluation of events: what counts as right, the baselines, false alarms, and the whole program once."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("vila_sim.mujoco.simulator")

from vila_core.config import EventsConfig
from vila_core.errors import ConfigError
from vila_core.testing import SCRIPTED_INFO, ScriptedBackend
from vila_sim.events.event_queries import ClipQuery
from vila_tools.evaluation import event_films, events
from vila_tools.evaluation.events import Answered, Patrol, overlap, patrol_summary, summary

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("true", "told", "value"),
    [
        ([(0, 10)], [(5, 15)], 1 / 3),
        ([(0, 10)], [], 0.0),
        ([(0, 10)], [(0, 10)], 1.0),
        ([(0, 2), (6, 8)], [(0, 2)], 0.5),
        ([(0, 2), (6, 8)], [(0, 8)], 0.5),
        ([(0, 2), (6, 8)], [(1, 3), (6, 8)], 3 / 5),
        ([(3, 4)], [(5, 6)], 0.0),
    ],
)
def test_overlap_of_sets_of_intervals(true, told, value) -> None:
    assert overlap(true, told) == pytest.approx(value)


def query(*intervals: tuple[float, float], verb: str = "moves", text: str = "it moves") -> ClipQuery:
    return ClipQuery(text, verb, "red", "ball", intervals, intervals, False)


def test_figures_of_clips_with_and_without_an_answer() -> None:
    answers = [
        Answered(query((0.0, 4.0)), ((0.0, 4.0),), ((0.0, 4.0),), 16.0),
        Answered(query((4.0, 12.0)), ((4.0, 12.0),), ((4.0, 6.0),), 16.0),
        Answered(query(verb="appears"), (), (), 16.0),
        Answered(query(verb="appears"), (), ((0.0, 1.0),), 16.0),
    ]
    found = summary(answers, 0)
    assert found["miou"] == pytest.approx(0.625) and found["p_at_05"] == 0.5 and found["not_seen_recall"] == 0.5
    assert found["baselines"]["whole_clip"]["miou"] == pytest.approx((0.25 + 0.5) / 2)
    assert found["baselines"]["middle_half"]["miou"] == pytest.approx(0.5)
    assert found["by_verb"]["appears"]["not_seen_recall"] == 0.5


def test_false_alarms_are_counted_by_the_hour() -> None:
    found = patrol_summary([Patrol(600.0, 3, 2, 1, (1.0, 3.0)), Patrol(1200.0, 1, 1, 0, (2.0,))])
    assert found["false_alarms_per_hour"] == 2.0 and found["patrol_recall"] == 0.75
    assert found["patrol_delay_s_median"] == 2.0


def test_reports_of_a_patrol_are_judged_by_the_truth() -> None:
    """Told: the truth of the first query, half a second late; an event that never was, of the second."""
    period_s = 0.25
    info = SCRIPTED_INFO.__class__(**{**info_fields(), "relevance_period_s": period_s})
    backend = ScriptedBackend("unused", info=info)
    backend.relevances = {
        "it moves": lambda frame: float(10.5 <= frame.stamp_ns / 1e9 <= 14.5),
        "it sings": lambda frame: float(20.0 <= frame.stamp_ns / 1e9 <= 22.0),
    }
    queries = [query((10.0, 14.0), (40.0, 42.0)), query(text="it sings")]
    clip = type("Clip", (), {"images": np.zeros((240, 8, 8, 3), np.uint8)})()
    patrol = event_films._watch(backend, clip, queries, first_ns=0)
    assert (patrol.happened, patrol.reported, patrol.false_alarms) == (2, 1, 1)
    assert len(patrol.delays_s) == 1 and 0.5 < patrol.delays_s[0] < 3 / EventsConfig().rate_hz + 1.5


def info_fields() -> dict[str, object]:
    return {name: getattr(SCRIPTED_INFO, name) for name in SCRIPTED_INFO.__slots__}


@pytest.mark.long
def test_the_program_runs_and_tells_all_figures(tmp_path, capsys) -> None:
    arguments = ["--clips", "2", "--patrol-minutes", "0.1", "--threads", "1", "--json", str(tmp_path / "events.json")]
    assert events.main(arguments) == 0
    told = json.loads((tmp_path / "events.json").read_text())
    assert told == json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"miou", "p_at_05", "not_seen_recall", "false_alarms_per_hour", "baselines"} <= set(told)
    assert told["questions"] > 10 and told["patrol_hours"] > 0


def test_nothing_to_do_is_refused() -> None:
    with pytest.raises(ConfigError, match="--clips 0"):
        events.main(["--clips", "0"])
