"""`vila bench nav`: how often the robot arrives, beside the baselines, on episodes of a split.

Every policy drives the same episodes through the same environment: 25 cm and 15 degree steps,
all unit-step frames shown, one decision at a time, 60 decisions at most. Success: stop called
nearer than 1.0 m (geodesic) to where the robot can stand at the object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vila_core.config import HISTORY_POLICIES, HistoryConfig
from vila_core.engine.backend import EMBEDDED_CHECKPOINT, Backend, load_backend
from vila_core.errors import ConfigError
from vila_core.files.writing import write_text
from vila_core.types import Action, Pose
from vila_sim.environment import FlatEnv
from vila_sim.episodes import SPLITS, SUCCESS_RADIUS_M, Episode
from vila_sim.oracle import MAX_DECISIONS
from vila_tools.evaluation.chosen_episodes import chosen_episodes
from vila_tools.evaluation.metrics import NavigationMetrics, mean_metrics, navigation_metrics, wilson_interval
from vila_tools.evaluation.policies import (
    MODEL_POLICIES,
    POLICIES,
    SEEING_POLICIES,
    OraclePolicy,
    Policy,
    make_policy,
)
from vila_tools.report import with_kernels


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker process needs to build the policies."""

    policies: tuple[str, ...]
    checkpoint: Path
    backend: str
    device: str
    precision: str
    seed: int
    history: HistoryConfig
    signs: tuple[str, ...] = ("",)  # on the walls: each episode is driven once with each, see vila_sim.signs

    def __post_init__(self) -> None:
        unknown = [name for name in self.policies if name not in POLICIES]
        if unknown or not self.policies:
            raise ConfigError(f"policies {list(self.policies)}: choose from {', '.join(POLICIES)}")


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """How one policy did in one episode.

    actions: one for each decision, but for the last one of a policy that held. path: the start, then one pose for each
    unit step. decision_ms: the time of each decision.
    """

    policy: str
    episode_id: str
    metrics: NavigationMetrics
    collisions: int
    held: bool  # it held, and the episode ended there
    decision_ms: tuple[float, ...]
    actions: tuple[Action, ...]
    path: tuple[Pose, ...]
    sign: str  # on the walls, or ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; print a table and, as the last line, a JSON object."""
    args = _parser().parse_args(argv)
    names = tuple(name for name in args.policies.split(",") if name)
    history = HistoryConfig(policy=args.history)
    precision = chosen_precision(args, names)
    settings = Settings(names, args.checkpoint, args.backend, args.device, precision, args.seed, history)
    episodes = chosen_episodes(args)
    results: list[EpisodeResult] = []
    for done in tqdm(run_policies(settings, episodes, args.workers), total=len(episodes), unit="episode"):
        results += done
    report = make_report(names, episodes[0].split, results)
    report["checkpoint"] = str(args.checkpoint) if MODEL_POLICIES & set(names) else ""
    report = with_kernels(report)
    report["precision"], report["seed"], report["history"] = precision, args.seed, args.history
    print(make_table(report))
    print(json.dumps(report))
    if args.json:
        write_text(args.json, json.dumps(report, indent=1) + "\n")
    return 0


def chosen_precision(args: argparse.Namespace, names: Sequence[str]) -> str:
    """Return what the model computes in, told here and not by every worker; that of engines they tell themselves."""
    if not MODEL_POLICIES & set(names) or args.backend == "tensorrt":
        return args.precision
    from vila_tools.options import told_precision  # imports torch, needed for a model alone

    return told_precision(args.checkpoint, args.precision, args.device)


def run_episode(env: FlatEnv, policy: Policy, name: str, episode: Episode, sign: str = "") -> EpisodeResult:
    """Let a policy drive one episode until it stops, holds or has made 60 decisions; sign: hangs on the walls."""
    sees, knows = name in SEEING_POLICIES, isinstance(policy, OraclePolicy)
    first = env.reset(episode, track_target=knows, render=sees, sign=sign)
    policy.start(episode.instruction)
    policy.observe(*first)
    times: list[float] = []
    actions: list[Action] = []
    action = None
    while len(times) < MAX_DECISIONS and not env.stop_called:
        began = time.perf_counter()
        action = policy.decide()
        times.append((time.perf_counter() - began) * 1e3)
        if action is None:
            break
        actions.append(action)
        for seen in env.act(action):
            policy.observe(*seen)
    metrics = navigation_metrics(
        [(pose.x_m, pose.y_m) for pose in env.path],
        env.distances_m,
        episode.reference_path,
        stop_called=env.stop_called,
        radius_m=SUCCESS_RADIUS_M,
    )
    return EpisodeResult(
        policy=name,
        episode_id=episode.episode_id,
        metrics=metrics,
        collisions=env.collisions,
        held=action is None,
        decision_ms=tuple(times),
        actions=tuple(actions),
        path=tuple(env.path),
        sign=sign,
    )


def make_report(names: Sequence[str], split: str, results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Sum up: the first policy's row at the top, the others under "baselines" by name.

    Rates are fractions; sr_low and sr_high bound the 95 % Wilson interval of sr.
    """
    rows = {name: _summary([r for r in results if r.policy == name]) for name in names}
    first = names[0]
    others = {name: row for name, row in rows.items() if name != first}
    return {"policy": first, "split": split, **rows[first], "baselines": others}


def make_table(report: dict[str, Any]) -> str:
    """The report as text, a line for each policy."""
    rows = {report["policy"]: report, **report["baselines"]}
    lines = [
        f"{report['split']}, {report['episodes']} episodes, success within {SUCCESS_RADIUS_M} m, stop called",
        f"{'policy':<18} {'SR':>5} {'95 %':>11} {'OS':>5} {'SPL':>5} {'NE m':>6} {'nDTW':>5} "
        f"{'steps':>6} {'coll.':>6} {'dec/s':>7} {'ms':>6}",
    ]
    for name, row in rows.items():
        lines.append(
            f"{name:<18} {row['sr']:5.3f} {row['sr_low']:5.2f}-{row['sr_high']:5.2f} {row['os']:5.3f} "
            f"{row['spl']:5.3f} {row['ne_m']:6.2f} {row['ndtw']:5.2f} {row['steps']:6.1f} "
            f"{row['collisions']:6.2f} {row['decisions_per_s']:7.1f} {row['decision_ms']:6.1f}"
        )
    return "\n".join(lines)


def _summary(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    mean = mean_metrics([r.metrics for r in results])
    low, high = wilson_interval(sum(r.metrics.success for r in results), len(results))
    times = [ms for r in results for ms in r.decision_ms]
    return {
        "episodes": len(results),
        "sr": round(mean.success, 4),
        "sr_low": round(low, 4),
        "sr_high": round(high, 4),
        "os": round(mean.oracle_success, 4),
        "spl": round(mean.spl, 4),
        "soft_spl": round(mean.soft_spl, 4),
        "ne_m": round(mean.navigation_error_m, 3),
        "path_length_m": round(mean.path_length_m, 3),
        "ndtw": round(mean.ndtw, 4),
        "sdtw": round(mean.sdtw, 4),
        "steps": round(mean.steps, 2),
        "collisions": round(float(np.mean([r.collisions for r in results])), 3),
        "held": sum(r.held for r in results),
        "decisions_per_s": round(1e3 * len(times) / max(sum(times), 1e-9), 1),
        "decision_ms": round(statistics.median(times), 2),
    }


class _Worker:
    """One process's environment, model and policies."""

    def __init__(self, settings: Settings) -> None:
        names, self.signs = settings.policies, settings.signs
        self.env = FlatEnv()
        backend = _load_model(settings) if MODEL_POLICIES & set(names) else None
        self.policies = {name: make_policy(name, self.env, backend, settings.seed, settings.history) for name in names}

    def run(self, episode: Episode) -> list[EpisodeResult]:
        return [
            run_episode(self.env, policy, name, episode, sign)
            for sign in self.signs
            for name, policy in self.policies.items()
        ]


def _load_model(settings: Settings) -> Backend:
    import torch  # only where a model is asked for

    torch.set_num_threads(1)
    return load_backend(settings.backend, settings.checkpoint, device=settings.device, precision=settings.precision)


def run_policies(settings: Settings, episodes: Sequence[Episode], workers: int) -> Iterator[list[EpisodeResult]]:
    """Yield what each policy did in an episode, with each sign, in any order of the episodes."""
    if workers <= 1:
        yield from map(_Worker(settings).run, episodes)
        return
    with multiprocessing.get_context("spawn").Pool(workers, _start_worker, (settings,)) as pool:
        yield from pool.imap_unordered(_work, episodes)


_worker: _Worker | None = None  # of this process: a pool can't pass its workers an object of their own


def _start_worker(settings: Settings) -> None:
    global _worker
    _worker = _Worker(settings)


def _work(episode: Episode) -> list[EpisodeResult]:
    assert _worker is not None
    return _worker.run(episode)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila bench nav", description="Navigate episodes beside the baselines.")
    add_run_options(parser, episodes=200)
    parser.add_argument(
        "--ros", action="store_true", help="drive them by the simulator and navigator that run; see `--ros --help`"
    )
    parser.add_argument("--policies", default=",".join(POLICIES), help="comma-separated; the first is reported on top")
    parser.add_argument(
        "--history",
        choices=HISTORY_POLICIES,
        default="navila",
        help="of the model's other policies",
    )
    return parser


def add_run_options(parser: argparse.ArgumentParser, *, episodes: int) -> None:
    """Add which episodes are driven, by which model, in how many processes, and where the report goes."""
    parser.add_argument("--split", choices=SPLITS, default="val_unseen_layout")
    parser.add_argument("--episodes", type=int, default=episodes, help="default: %(default)s")
    parser.add_argument(
        "--episode-file", type=Path, help="episodes in the JSON form of VLN-CE instead of generated ones"
    )
    parser.add_argument("--checkpoint", type=Path, default=EMBEDDED_CHECKPOINT)
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--precision", default="auto", help="auto: what the device computes well (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the episodes and of the random baseline")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--json", type=Path, help="also write the report here")


if __name__ == "__main__":
    sys.exit(main())
