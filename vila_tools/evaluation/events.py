"""`vila bench events`: when did it happen? Clips of unseen flats beside baselines, and a patrol's false alarms."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vila_core.config import EventsConfig
from vila_core.engine.backend import EMBEDDED_CHECKPOINT, Backend, load_backend
from vila_core.errors import ConfigError
from vila_core.types import Frame, TemporalEvent
from vila_core.watcher import EventWatcher
from vila_sim.clips import PERIOD_S, Clip, clips_in, patrol_in
from vila_sim.episodes import layout_seed
from vila_sim.event_queries import ClipQuery, draw_queries
from vila_sim.event_score import is_false_alarm, is_near
from vila_sim.truth import Seconds, as_events
from vila_tools.evaluation.metrics import wilson_interval
from vila_tools.options import add_precision_option, tell_precision
from vila_tools.report import tell

SPLIT = "val_unseen_layout"
HELD_OUT_SHARE = 0.5  # of sentences that training never used
CLIPS_PER_FLAT = 5
PATROL_S = 120.0  # of one room
_FIRST_PATROL_FLAT = 10_000  # the patrols are in other flats than the clips
STANDING = 5  # queries during a patrol
_CLIP_GAP_NS = 10**12  # between the stamps of two clips: no two frames share a key
_FIRST_PATROL = 10**6  # stamps count on behind those of the clips


@dataclass(frozen=True, slots=True)
class Answered:
    """A question, what is true and what was told, in seconds from the clip's first frame."""

    query: ClipQuery
    true_s: tuple[Seconds, ...]
    told_s: tuple[Seconds, ...]
    duration_s: float


@dataclass(frozen=True, slots=True)
class Patrol:
    """What the standing queries reported on one patrol; delays_s: from a true start to its first report."""

    duration_s: float
    happened: int
    reported: int
    false_alarms: int
    delays_s: tuple[float, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table, then the result as one JSON object; --json writes that to a file too."""
    args = _parser().parse_args(argv)
    if args.clips < 1 or args.patrol_minutes <= 0:
        raise ConfigError(f"--clips {args.clips}, --patrol-minutes {args.patrol_minutes}: must be above 0")
    import torch  # only where a model is asked for

    torch.set_num_threads(args.threads)
    backend = load_backend("torch", args.checkpoint, precision=args.precision)
    tell_precision(backend.info)
    began = time.monotonic()
    answers = list(ask_clips(backend, args.clips, args.seed))
    patrols = list(go_on_patrol(backend, args.patrol_minutes * 60, args.seed))
    result = {**summary(answers, args.seed), **patrol_summary(patrols)}
    result |= {"checkpoint": backend.info.name, "seconds": round(time.monotonic() - began, 1)}
    tell(result, table(result), args.json)
    return 0


def ask_clips(backend: Backend, count: int, seed: int) -> Iterator[Answered]:
    """Show each clip to a watcher of its own and ask all its questions.

    Left out is what was no more than glimpsed, or shorter than what counts as an event.
    """
    with tqdm(total=count, desc="clips", unit="clip", disable=None) as bar:
        for number in range(count):
            flat, at = divmod(number, CLIPS_PER_FLAT)
            if at == 0:
                rng = np.random.default_rng([seed, 1, flat])
                clips = clips_in(layout_seed(SPLIT, flat, seed), rng, min(CLIPS_PER_FLAT, count - number))
            yield from _ask(backend, next(clips), number, rng)
            bar.update()


def _ask(backend: Backend, clip: Clip, number: int, rng: np.random.Generator) -> Iterator[Answered]:
    watcher = EventWatcher(backend, EventsConfig())
    frames = frames_of(clip.images, first_ns=number * _CLIP_GAP_NS)
    for frame in frames:
        watcher.observe(frame)
    for query in draw_queries(clip.truth, rng, held_out=HELD_OUT_SHARE):
        true_s = _events(query)
        if not true_s and query.glimpsed_s:
            continue
        found = watcher.localize(query.text, 0, 0)
        told_s = tuple(_in_seconds(one.start_ns, one.end_ns, frames[0].stamp_ns) for one in found)
        yield Answered(query, true_s, told_s, (frames[-1].stamp_ns - frames[0].stamp_ns) / 1e9)


def _events(query: ClipQuery) -> tuple[Seconds, ...]:
    """The true intervals, by the rules that make events of them."""
    return as_events(query.intervals_s, EventsConfig())


def go_on_patrol(backend: Backend, duration_s: float, seed: int) -> Iterator[Patrol]:
    """Watch patrols of PATROL_S, each in another flat, with standing queries, as the node does."""
    for number in tqdm(range(max(1, round(duration_s / PATROL_S))), desc="patrols", unit="patrol", disable=None):
        rng = np.random.default_rng([seed, 2, number])
        clip = patrol_in(layout_seed(SPLIT, _FIRST_PATROL_FLAT + number, seed), rng, min(PATROL_S, duration_s))
        queries = draw_queries(clip.truth, rng, held_out=HELD_OUT_SHARE)
        chosen = [queries[at] for at in rng.permutation(len(queries))[:STANDING]]
        yield _watch(backend, clip, chosen, first_ns=(_FIRST_PATROL + number) * _CLIP_GAP_NS)


def _watch(backend: Backend, clip: Clip, queries: Sequence[ClipQuery], first_ns: int) -> Patrol:
    config = EventsConfig()
    watcher = EventWatcher(backend, config)
    for number, query in enumerate(queries):
        watcher.watch(query.text, query_id=str(number))
    frames = frames_of(clip.images, first_ns)
    every = max(1, round(1.0 / (config.rate_hz * PERIOD_S)))
    heard = list[TemporalEvent]()
    for number, frame in enumerate(frames):
        watcher.observe(frame)
        if number % every == every - 1 or frame is frames[-1]:
            heard += watcher.evaluate()
    return _judged(queries, heard, first_ns, (frames[-1].stamp_ns - first_ns) / 1e9)


def _judged(queries: Sequence[ClipQuery], heard: Sequence[TemporalEvent], first_ns: int, duration_s: float) -> Patrol:
    """Compare the last report of each event with the truth; delays: until the first report of what really happened."""
    last = {event.number: event for event in heard}.values()
    false_alarms = sum(is_false_alarm(_told(one, first_ns), queries[int(one.query_id)].glimpsed_s) for one in last)
    happened, delays = 0, list[float]()
    for number, query in enumerate(queries):
        reports = [one for one in heard if one.query_id == str(number)]
        for interval in _events(query):
            happened += 1
            hits = [one for one in reports if is_near(interval, _told(one, first_ns))]
            delays += [(one.stamp_ns - first_ns) / 1e9 - interval[0] for one in hits[:1]]
    return Patrol(duration_s, happened, len(delays), false_alarms, tuple(delays))


def _told(event: TemporalEvent, first_ns: int) -> Seconds:
    return _in_seconds(event.start_ns, event.stamp_ns if event.is_open else event.end_ns, first_ns)


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


def frames_of(images: NDArray[np.uint8], first_ns: int) -> list[Frame]:
    """Stamp a clip's images [T, S, S, 3]."""
    return [Frame(image, first_ns + round(number * PERIOD_S * 1e9)) for number, image in enumerate(images)]


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


def _in_seconds(start_ns: int, end_ns: int, first_ns: int) -> Seconds:
    return (start_ns - first_ns) / 1e9, (end_ns - first_ns) / 1e9


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila bench events", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=EMBEDDED_CHECKPOINT, help="default: the embedded one")
    add_precision_option(parser)
    parser.add_argument("--clips", type=int, default=200, help="of 16 s each, five from a flat (default: %(default)s)")
    parser.add_argument("--patrol-minutes", type=float, default=60.0, help="simulated (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    return parser
