"""Evaluations of standing queries beside a mission, in simulated seconds: one worker, whole calls."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.events.pace import EvaluationPace

S = 1_000_000_000
DEADLINE_S, QUERIES, RATE_HZ = 4.0, 4, 2.0


@dataclass
class Mission:
    """What came of a mission: how long each decision was waited for, and the evaluations beside it."""

    waits_s: list[float] = field(default_factory=list)
    evaluations: int = 0
    given_up: int = 0
    busy_s: float = 0.0
    lasted_s: float = 0.0

    @property
    def late_in_a_row(self) -> int:
        worst = run = 0
        for wait_s in self.waits_s:
            run = run + 1 if wait_s > DEADLINE_S else 0
            worst = max(worst, run)
        return worst


def drive(decision_s: float, call_s: float, *, motion_s: float = 1.5, paced: bool = True, seed: int = 0) -> Mission:
    """A mission of 300 s; every time varies by half. A robot drives for motion_s after each decision."""
    rng, mission, pace, now, due = random.Random(seed), Mission(), EvaluationPace(DEADLINE_S, 0.25), 0.0, 0.0
    pace.begin_mission()

    def decide() -> None:
        nonlocal now, due
        now += decision_s * rng.uniform(0.5, 1.5)
        mission.waits_s.append(now - due)
        pace.note_decision(mission.waits_s[-1])
        due = now + motion_s * rng.uniform(0.5, 1.5)

    def evaluate() -> None:
        nonlocal now
        taken_s = 0.0
        pace.begin_evaluation()
        for _ in range(QUERIES):
            if now >= due:
                decide()
            if paced and pace.is_spoilt:
                mission.given_up += 1
                break
            call = call_s * rng.uniform(0.5, 1.5)
            now, taken_s = now + call, taken_s + call
        mission.evaluations += 1
        mission.busy_s += taken_s
        pace.note_evaluation(taken_s, round(now * S))

    while now < 300.0:
        if now >= due:
            decide()
        elif not paced or pace.may_begin(round(now * S), is_deciding=False):
            evaluate()
            now = max(now, mission.evaluations / RATE_HZ)
        else:
            now = min(due, now + 1 / RATE_HZ)
    mission.lasted_s = now
    return mission


def test_without_a_pace_a_loaded_machine_would_end_the_mission() -> None:
    assert drive(1.5, 4.0, paced=False).late_in_a_row >= 3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("decision_s", "call_s"), [(0.05, 0.02), (0.5, 0.5), (1.5, 4.0), (2.0, 1.0), (2.5, 3.0)])
def test_with_it_no_mission_ends_by_deadline(decision_s: float, call_s: float, seed: int) -> None:
    mission = drive(decision_s, call_s, seed=seed)
    assert mission.late_in_a_row < 3
    assert mission.busy_s <= 0.3 * mission.lasted_s + QUERIES * 1.5 * call_s


def test_while_decisions_are_quick_events_hardly_wait() -> None:
    mission = drive(0.05, 0.02)
    assert mission.given_up == 0 and mission.evaluations > 300


def test_the_slower_decisions_are_the_fewer_evaluations() -> None:
    counts = [drive(decision_s, 0.1).evaluations for decision_s in (0.1, 0.8, 1.2, 2.6)]
    assert counts == sorted(counts, reverse=True) and counts[0] > 5 * counts[-1] > 0


@given(st.lists(st.floats(0.0, 10.0), max_size=8), st.floats(0.01, 1.0), st.floats(0.0, 30.0))
def test_the_share_is_never_more_than_allowed_and_never_nothing(waits, most: float, taken_s: float) -> None:
    pace = EvaluationPace(DEADLINE_S, most)
    pace.begin_mission()
    for wait_s in waits:
        pace.note_decision(wait_s)
    assert 0 < pace.share <= most
    pace.note_evaluation(taken_s, 0)
    rest_ns = taken_s * (1 / pace.share - 1) * S
    assert pace.may_begin(round(rest_ns), is_deciding=False)
    assert rest_ns < 2 or not pace.may_begin(round(rest_ns) - 2, is_deciding=False)


def test_nothing_begins_while_a_decision_is_waited_for_and_without_a_mission_nothing_waits() -> None:
    pace = EvaluationPace(DEADLINE_S, 0.25)
    pace.note_evaluation(5.0, 0)
    assert pace.may_begin(0, is_deciding=True) and pace.share == 1.0
    pace.begin_mission()
    assert pace.may_begin(0, is_deciding=False) and not pace.may_begin(0, is_deciding=True)
    pace.begin_evaluation()
    pace.note_decision(1.9)
    assert not pace.is_spoilt
    pace.note_decision(2.1)
    assert pace.is_spoilt
    pace.begin_evaluation()
    assert not pace.is_spoilt
    pace.note_evaluation(1.0, 0)
    assert not pace.may_begin(48 * S, is_deciding=False) and pace.may_begin(50 * S, is_deciding=False)
    pace.end_mission()
    assert pace.may_begin(0, is_deciding=True)
