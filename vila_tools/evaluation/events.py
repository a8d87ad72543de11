"""`vila bench events`: when did it happen? Clips of unseen flats beside baselines, and a patrol's false alarms."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.errors import ConfigError
from vila_sim.truth import Seconds
from vila_tools.evaluation.event_films import STANDING, Answered, FilmSettings, Patrol, films_of, watch_films
from vila_tools.evaluation.metrics import wilson_interval
from vila_tools.options import add_precision_option, told_precision, usual_threads
from vila_tools.report import tell
from vila_tools.workers.pool import add_pool_options, cost_lines, cost_rows, pool_of


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table, then the result as one JSON object; --json writes that to a file too."""
    args = _parser().parse_args(argv)
    if args.clips < 1 or args.patrol_minutes <= 0 or (args.threads is not None and args.threads < 1):
        told = f"--clips {args.clips}, --patrol-minutes {args.patrol_minutes}, --threads {args.threads}"
        raise ConfigError(f"{told}: must be above 0")
    pool = pool_of(args)
    is_alone = args.ray is None and args.workers in (None, 1)
    threads = args.threads or (usual_threads() if is_alone else 1)
    settings = FilmSettings(args.checkpoint, told_precision(args.checkpoint, args.precision), args.seed, threads)
    began = time.monotonic()
    watched = watch_films(settings, films_of(args.clips, args.patrol_minutes * 60), pool)
    answers = [answer for one in watched for answer in one.answers]
    patrols = [patrol for one in watched for patrol in one.patrols]
    result = {**summary(answers, args.seed), **patrol_summary(patrols)}
    result |= {"checkpoint": watched[0].checkpoint, "seconds": round(time.monotonic() - began, 1)}
    result["workers"] = cost_rows(pool, "films")
    tell(result, [*table(result), *cost_lines(pool, "films")], args.json)
    return 0


def summary(answers: Sequence[Answered], seed: int) -> dict[str, Any]:
    """Return the figures of the clips: of questions with an answer the overlap, of the others how often none came."""
    seen = [one for one in answers if one.true_s]
    unseen = [one for one in answers if not one.true_s]
    rng = np.random.default_rng([seed, 3])
    ious = [overlap(one.true_s, one.told_s) for one in seen]
    silent = sum(not one.told_s for one in unseen)
    return {
        "miou": _mean(ious),
        "p_at_05": _mean([iou >= 0.5 for iou in ious]),
        "not_seen_recall": round(silent / max(1, len(unseen)), 4),
        "not_seen_recall_95": [round(bound, 4) for bound in wilson_interval(silent, len(unseen))],
        "questions": len(answers),
        "questions_with_an_answer": len(seen),
        "by_verb": _by(answers, lambda one: one.query.verb),
        "by_sentence": _by(answers, lambda one: "held out" if one.query.held_out_template else "known"),
        "baselines": {
            name: _baseline([overlap(one.true_s, guess(one.duration_s)) for one in seen])
            for name, guess in _baselines(rng).items()
        },
    }


def _by(answers: Sequence[Answered], group_of: Callable[[Answered], str]) -> dict[str, dict[str, float]]:
    groups: dict[str, dict[str, float]] = {}
    for name in sorted({group_of(one) for one in answers}):
        own = [one for one in answers if group_of(one) == name]
        ious = [overlap(one.true_s, one.told_s) for one in own if one.true_s]
        silent = [not one.told_s for one in own if not one.true_s]
        groups[name] = _baseline(ious) | {"not_seen_recall": _mean(silent), "questions": len(own)}
    return groups


def _baselines(rng: np.random.Generator) -> dict[str, Callable[[float], tuple[Seconds, ...]]]:
    """Answers that need no model; none of them ever says "not seen"."""

    def random(duration_s: float) -> tuple[Seconds, ...]:
        start_s, end_s = sorted(rng.uniform(0.0, duration_s, 2))
        return ((float(start_s), float(end_s)),)

    return {
        "whole_clip": lambda duration_s: ((0.0, duration_s),),
        "middle_half": lambda duration_s: ((duration_s / 4, 3 * duration_s / 4),),
        "random": random,
    }


def _baseline(ious: Sequence[float]) -> dict[str, float]:
    return {"miou": _mean(ious), "p_at_05": _mean([iou >= 0.5 for iou in ious])}


def patrol_summary(patrols: Sequence[Patrol]) -> dict[str, Any]:
    """Return the figures of the patrols, all together."""
    hours = sum(patrol.duration_s for patrol in patrols) / 3600
    happened = sum(patrol.happened for patrol in patrols)
    delays = [delay for patrol in patrols for delay in patrol.delays_s]
    return {
        "false_alarms_per_hour": round(sum(patrol.false_alarms for patrol in patrols) / hours, 2),
        "patrol_hours": round(hours, 3),
        "patrol_scripted_events": happened,
        "patrol_recall": round(sum(patrol.reported for patrol in patrols) / max(1, happened), 4),
        "patrol_delay_s_median": round(statistics.median(delays), 2) if delays else None,
        "standing_queries": STANDING,
    }


def overlap(true_s: Sequence[Seconds], told_s: Sequence[Seconds]) -> float:
    """Intersection over union of two sets of intervals; of one interval each it is temporal IoU."""
    points = sorted({edge for interval in (*true_s, *told_s) for edge in interval})
    shared = union = 0.0
    for start_s, end_s in zip(points, points[1:], strict=False):
        inside = [any(a <= start_s and end_s <= b for a, b in intervals) for intervals in (true_s, told_s)]
        shared += (end_s - start_s) * all(inside)
        union += (end_s - start_s) * any(inside)
    return shared / union if union > 0 else 0.0


def table(result: dict[str, Any]) -> Iterator[str]:
    """Lines for people."""
    yield f"{'':16}{'mIoU':>8}{'P@0.5':>8}{'not seen':>10}"
    yield f"{result['checkpoint']:16}{result['miou']:8.3f}{result['p_at_05']:8.3f}{result['not_seen_recall']:10.3f}"
    for name, row in (*result["by_verb"].items(), *result["by_sentence"].items()):
        yield f"  {name:14}{row['miou']:8.3f}{row['p_at_05']:8.3f}{row['not_seen_recall']:10.3f}"
    for name, row in result["baselines"].items():
        yield f"{name:16}{row['miou']:8.3f}{row['p_at_05']:8.3f}{0.0:10.3f}"
    yield (
        f"patrol of {result['patrol_hours']:.2f} h with {result['standing_queries']} standing queries: "
        f"{result['false_alarms_per_hour']:.1f} false alarms an hour, {result['patrol_recall']:.2f} of "
        f"{result['patrol_scripted_events']} scripted events reported"
    )


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4) if len(values) else 0.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila bench events", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=EMBEDDED_CHECKPOINT, help="default: the embedded one")
    add_precision_option(parser)
    parser.add_argument("--clips", type=int, default=200, help="of 16 s each, five from a flat (default: %(default)s)")
    parser.add_argument("--patrol-minutes", type=float, default=60.0, help="simulated (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of each process (default: 1 beside others, else one a core)")
    add_pool_options(parser, workers=1)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    return parser
