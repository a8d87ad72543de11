"""Policies on episodes by a pool of workers; what they do is the same with any number of them, wherever they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from vila_core.config import HistoryConfig
from vila_core.engine.backend import Backend, load_backend
from vila_core.errors import ConfigError
from vila_sim.environment import FlatEnv
from vila_sim.episodes.splits import Episode
from vila_tools.evaluation.episode_run import EpisodeResult, run_episode
from vila_tools.evaluation.policies import AGAINST, MODEL_POLICIES, POLICIES, Policy, make_policy
from vila_tools.workers.pool import WorkerPool

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


def run_policies(settings: Settings, episodes: Sequence[Episode], pool: WorkerPool) -> Iterator[list[EpisodeResult]]:
    """Yield what each policy did in an episode, with each sign, in any order of the episodes."""
    yield from run_jobs(settings, [(episode, settings.policies) for episode in episodes], pool)


def run_jobs(settings: Settings, jobs: Sequence[Job], pool: WorkerPool) -> Iterator[list[EpisodeResult]]:
    """Yield what the policies of each job did, in any order of the jobs; without jobs nothing is loaded."""
    for _, results in pool.run(partial(_start_worker, settings), jobs, brings=_checkpoints(settings)):
        yield results


def _checkpoints(settings: Settings) -> list[Path]:
    """What is loaded of this machine's files."""
    ours = [settings.checkpoint] if MODEL_POLICIES & {*settings.policies} - {AGAINST} else []
    return ours if settings.against is None else [*ours, settings.against]


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


def _start_worker(settings: Settings, at: Callable[[Path], Path]) -> Callable[[Job], list[EpisodeResult]]:
    against = None if settings.against is None else at(settings.against)
    return _Worker(replace(settings, checkpoint=at(settings.checkpoint), against=against)).run
