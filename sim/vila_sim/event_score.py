"""How well published events agree with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vila_core.intervals import interval_iou, shared_length
from vila_sim.truth import Seconds

HALF = 0.5


@dataclass(frozen=True, slots=True)
class QueryScore:
    """One query: what was true, what was published, how well each true interval was met by the best published one."""

    text: str
    true_s: tuple[Seconds, ...]
    published_s: tuple[Seconds, ...]
    ious: tuple[float, ...]
    false_alarms: int  # published, and at no time true


@dataclass(frozen=True, slots=True)
class Score:
    """All queries. miou, p_at_05: over all true intervals; not_seen_recall: over the queries that were never true."""

    miou: float
    p_at_05: float
    false_alarms: int
    not_seen_recall: float


def score_query(text: str, true_s: Sequence[Seconds], published_s: Sequence[Seconds]) -> QueryScore:
    """Compare one query's intervals."""
    ious = tuple(max((interval_iou(true, one) for one in published_s), default=0.0) for true in true_s)
    false_alarms = sum(all(shared_length(true, one) == 0.0 for true in true_s) for one in published_s)
    return QueryScore(text, tuple(true_s), tuple(published_s), ious, false_alarms)


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
