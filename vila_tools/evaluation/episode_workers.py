"""Policies on episodes in worker processes; what they do is the same with any number of them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vila_core.config import HistoryConfig
from vila_core.engine.backend import Backend, load_backend
from vila_core.errors import ConfigError
from vila_sim.environment import FlatEnv
from vila_sim.episodes import Episode
from vila_tools.evaluation.episode_run import EpisodeResult, run_episode
from vila_tools.evaluation.policies import AGAINST, MODEL_POLICIES, POLICIES, Policy, make_policy

Job = tuple[Episode, tuple[str, ...]]  # an episode, and the policies that are to drive it


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker process needs to build the policies.

    signs: on the walls; each episode is driven once with each, "" being the episode's own. against: another
    checkpoint, which drives as the policy of that name, in its own precision.
    """

    policies: tuple[str, ...]
    checkpoint: Path
    backend: str
    device: str
    precision: str
    seed: int
    history: HistoryConfig
    signs: tuple[str, ...] = ("",)
    against: Path | None = None
    against_precision: str = "auto"

    def __post_init__(self) -> None:
        known = POLICIES if self.against is None else (*POLICIES, AGAINST)
        unknown = [name for name in self.policies if name not in known]
        if unknown or not self.policies:
            raise ConfigError(f"policies {list(self.policies)}: choose from {', '.join(POLICIES)}")


def run_policies(settings: Settings, episodes: Sequence[Episode], workers: int) -> Iterator[list[EpisodeResult]]:
    """Yield what each policy did in an episode, with each sign, in any order of the episodes."""
    yield from run_jobs(settings, [(episode, settings.policies) for episode in episodes], workers)


def run_jobs(settings: Settings, jobs: Sequence[Job], workers: int) -> Iterator[list[EpisodeResult]]:
    """Yield what the policies of each job did, in any order of the jobs; without jobs nothing is loaded."""
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield from map(_Worker(settings).run, jobs) if jobs else ()
        return
    with multiprocessing.get_context("spawn").Pool(workers, _start_worker, (settings,)) as pool:
        yield from pool.imap_unordered(_work, jobs)


class _Worker:
    """One process's environment, model and policies."""

    def __init__(self, settings: Settings) -> None:
        self._signs = settings.signs
        self._env = FlatEnv()
        self._policies: dict[str, Policy] = {}
        ours = [name for name in settings.policies if name != AGAINST]
        backend = _load_model(settings) if MODEL_POLICIES & set(ours) else None
        for name in ours:
            self._policies[name] = make_policy(name, self._env, backend, settings.seed, settings.history)
        if settings.against is not None:
            rival = replace(settings, checkpoint=settings.against, precision=settings.against_precision)
            model = _load_model(rival)
            self._policies[AGAINST] = make_policy(AGAINST, self._env, model, settings.seed, settings.history)

    def run(self, job: Job) -> list[EpisodeResult]:
        episode, names = job
        return [
            run_episode(self._env, self._policies[name], name, episode, sign) for sign in self._signs for name in names
        ]


def _load_model(settings: Settings) -> Backend:
    import torch  # only where a model is asked for

    torch.set_num_threads(1)
    return load_backend(settings.backend, settings.checkpoint, device=settings.device, precision=settings.precision)


_worker: _Worker | None = None  # of this process: a pool can't pass its workers an object of their own


def _start_worker(settings: Settings) -> None:
    global _worker
    _worker = _Worker(settings)


def _work(job: Job) -> list[EpisodeResult]:
    assert _worker is not None
    return _worker.run(job)
