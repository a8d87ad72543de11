"""The official temporal metrics: IoU and precision at 0.5 of one interval a question, averaged as in llava/eval/rtl.py.

The official parse of a reply, models.time_tokens.parse_interval, takes a reply without two times for the whole video:
for comparison with published figures alone. `stated_interval` says None there.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from vila_core.intervals import interval_iou
from vila_core.models.time_tokens import parse_interval, stated_times

PRECISION_IOU = 0.5  # counts from here on, itself included

Seconds = tuple[float, float]  # start and end


@dataclass(frozen=True, slots=True)
class TemporalScore:
    """Mean IoU and the share of IoUs of at least 0.5, both in [0, 1]."""

    iou: float
    precision: float


def stated_interval(text: str, duration_s: float) -> Seconds | None:
    """The interval that a reply with `<seconds>` states; None if it does not state two times."""
    return parse_interval(text, duration_s) if len(stated_times(text)) == 2 else None


def score_interval(said: Seconds | None, true: Seconds) -> TemporalScore:
    """Score one answer; None, "not seen", has no overlap with what was there."""
    iou = 0.0 if said is None else interval_iou(said, true)
    return TemporalScore(iou, float(iou >= PRECISION_IOU))


def macro_score(scores: Iterable[tuple[str, TemporalScore]]) -> TemporalScore:
    """Average over the questions of each video, then over the videos, by name. ValueError without any."""
    videos: dict[str, list[TemporalScore]] = defaultdict(list)
    for video, score in scores:
        videos[video].append(score)
    if not videos:
        raise ValueError("there are no scores to average")
    means = [mean_score(rows) for rows in videos.values()]
    return mean_score(means)


def mean_score(scores: list[TemporalScore]) -> TemporalScore:
    """Average over all, at least one."""
    count = len(scores)
    return TemporalScore(
        math.fsum(score.iou for score in scores) / count, math.fsum(score.precision for score in scores) / count
    )
