"""Clips and patrols that a model watches for `vila bench events`, in a pool of workers; and what is true of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vila_core.config import EventsConfig
from vila_core.engine.backend import Backend, load_backend
from vila_core.types import Frame, TemporalEvent
from vila_core.watcher import EventWatcher
from vila_sim.episodes.splits import layout_seed
from vila_sim.events.clips import PERIOD_S, Clip, clips_in, patrol_in
from vila_sim.events.event_queries import ClipQuery, draw_queries
from vila_sim.events.event_score import is_false_alarm, is_near
from vila_sim.truth import Seconds, as_events
from vila_tools.workers.pool import WorkerPool

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


@dataclass(frozen=True, slots=True)
class EventFilm:
    """What a worker is asked to watch: so many clips of the flat of that number, or a patrol of so many seconds."""

    number: int
    clips: int = 0
    patrol_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FilmAnswers:
    """What came of it."""

    checkpoint: str
    answers: tuple[Answered, ...]
    patrols: tuple[Patrol, ...]


@dataclass(frozen=True, slots=True)
class FilmSettings:
    """What a worker needs: the model, and the seed of all films."""

    checkpoint: Path
    precision: str
    seed: int
    threads: int


def films_of(clips: int, patrol_s: float) -> list[EventFilm]:
    """Return the films: so many clips, flat by flat, and patrols of PATROL_S that take so long in all."""
    flats = [
        EventFilm(number, clips=min(CLIPS_PER_FLAT, clips - first))
        for number, first in enumerate(range(0, clips, CLIPS_PER_FLAT))
    ]
    patrols = range(max(1, round(patrol_s / PATROL_S)))
    return flats + [EventFilm(number, patrol_s=min(PATROL_S, patrol_s)) for number in patrols]


def watch_films(settings: FilmSettings, films: Sequence[EventFilm], pool: WorkerPool) -> list[FilmAnswers]:
    """Have the films watched; return what came of each, in their order, whoever was ready first."""
    watched = dict[int, FilmAnswers]()
    with tqdm(total=len(films), desc="films", unit="film", disable=None) as bar:
        for number, one in pool.run(partial(_start_worker, settings), films, brings=[settings.checkpoint]):
            watched[number] = one
            bar.update()
    return [watched[number] for number in range(len(films))]


def _start_worker(settings: FilmSettings, at: Callable[[Path], Path]) -> Callable[[EventFilm], FilmAnswers]:
    import torch  # only where a model is asked for

    torch.set_num_threads(settings.threads)
    backend = load_backend("torch", at(settings.checkpoint), precision=settings.precision)
    return partial(watch_film, backend, settings.seed)


def watch_film(backend: Backend, seed: int, film: EventFilm) -> FilmAnswers:
    """Show it to the model and ask."""
    answers = tuple(_ask_clips(backend, film.number, film.clips, seed)) if film.clips else ()
    patrols = (_go_on_patrol(backend, film.number, film.patrol_s, seed),) if film.patrol_s else ()
    return FilmAnswers(backend.info.name, answers, patrols)


def _ask_clips(backend: Backend, flat: int, count: int, seed: int) -> Iterator[Answered]:
    """Show each clip of a flat to a watcher of its own and ask all its questions.

    Left out is what was no more than glimpsed, or shorter than what counts as an event.
    """
    rng = np.random.default_rng([seed, 1, flat])
    for at, clip in enumerate(clips_in(layout_seed(SPLIT, flat, seed), rng, count)):
        yield from _ask(backend, clip, flat * CLIPS_PER_FLAT + at, rng)


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


def _go_on_patrol(backend: Backend, number: int, duration_s: float, seed: int) -> Patrol:
    """Watch one patrol, each in another flat, with standing queries, as the node does."""
    rng = np.random.default_rng([seed, 2, number])
    clip = patrol_in(layout_seed(SPLIT, _FIRST_PATROL_FLAT + number, seed), rng, duration_s)
    queries = draw_queries(clip.truth, rng, held_out=HELD_OUT_SHARE)
    chosen = [queries[at] for at in rng.permutation(len(queries))[:STANDING]]
    return _watch(backend, clip, chosen, first_ns=(_FIRST_PATROL + number) * _CLIP_GAP_NS)


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


def frames_of(images: NDArray[np.uint8], first_ns: int) -> list[Frame]:
    """Stamp a clip's images [T, S, S, 3]."""
    return [Frame(image, first_ns + round(number * PERIOD_S * 1e9)) for number, image in enumerate(images)]


def _in_seconds(start_ns: int, end_ns: int, first_ns: int) -> Seconds:
    return (start_ns - first_ns) / 1e9, (end_ns - first_ns) / 1e9
