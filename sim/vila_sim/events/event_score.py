"""How well published events agree with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vila_core.intervals import interval_iou
from vila_sim.truth import Seconds

HALF = 0.5
FORGIVEN_S = 1.0  # an alarm that lies so near to what really happened is not false


@dataclass(frozen=True, slots=True)
class QueryScore:
    """One query: what was true, what was published, how well each true interval was met by the best published one."""

    text: str
    true_s: tuple[Seconds, ...]
    published_s: tuple[Seconds, ...]
    ious: tuple[float, ...]
    false_alarms: int


@dataclass(frozen=True, slots=True)
class Score:
    """All queries. miou, p_at_05: over all true intervals; not_seen_recall: over the queries that were never true."""

    miou: float
    p_at_05: float
    false_alarms: int
    not_seen_recall: float


def score_query(
    text: str, true_s: Sequence[Seconds], glimpsed_s: Sequence[Seconds], published_s: Sequence[Seconds]
) -> QueryScore:
    """Compare one query's intervals; glimpsed_s: see is_false_alarm."""
    ious = tuple(max((interval_iou(true, one) for one in published_s), default=0.0) for true in true_s)
    false_alarms = sum(is_false_alarm(one, glimpsed_s) for one in published_s)
    return QueryScore(text, tuple(true_s), tuple(published_s), ious, false_alarms)


def is_false_alarm(told: Seconds, glimpsed_s: Sequence[Seconds]) -> bool:
    """Whether nothing of what was asked for was even glimpsed then, which is less than it takes to be true."""
    return not any(is_near(one, told) for one in glimpsed_s)


def is_near(true: Seconds, told: Seconds) -> bool:
    """Whether they overlap, or lie at most FORGIVEN_S apart."""
    return told[0] <= true[1] + FORGIVEN_S and true[0] <= told[1] + FORGIVEN_S


def total(scores: Sequence[QueryScore]) -> Score:
    """Sum up; a mean over nothing is 1: nothing was missed."""
    ious = [iou for score in scores for iou in score.ious]
    silent = [not score.published_s for score in scores if not score.true_s]
    return Score(
        miou=_mean(ious),
        p_at_05=_mean([float(iou >= HALF) for iou in ious]),
        false_alarms=sum(score.false_alarms for score in scores),
        not_seen_recall=_mean([float(was_silent) for was_silent in silent]),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 1.0
