"""`vila bench miniworld`: a checkpoint in rooms that nobody here drew, beside baselines.

MiniWorld's one-room levels hold boxes, balls and keys before textures that are photographs. The robot is told to go to
a box or a ball by its colour. Success: stop called nearer than 1.0 m to it.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vila_core.actions.grammar import ACTIONS
from vila_core.config import HistoryConfig, NavigatorConfig
from vila_core.engine.backend import EMBEDDED_CHECKPOINT, Backend, load_backend
from vila_core.errors import ConfigError
from vila_core.files.writing import write_text
from vila_core.types import Action, Decision, MoveForward, Stop, Turn
from vila_sim.episodes.instructions import NEUTRAL_INSTRUCTION
from vila_sim.episodes.oracle import MAX_DECISIONS, STOP_DISTANCE_M
from vila_sim.episodes.splits import SUCCESS_RADIUS_M
from vila_tools.command_line import option, parse_options
from vila_tools.evaluation.metrics import NavigationMetrics, mean_metrics, navigation_metrics, rate_row
from vila_tools.evaluation.policies import ModelPolicy, Policy
from vila_tools.other_worlds.rooms import LEVELS, OWN_WORDS, MiniWorldRoom, RoomTask

MODEL_POLICIES = ("ours", "image_blind", "instruction_blind")
POLICIES = (*MODEL_POLICIES, "beeline", "forward", "random", "stop")
_UNIT_RAD = math.radians(15)


@dataclass(frozen=True, slots=True)
class MiniWorldOptions:
    """What is asked of the benchmark."""

    levels: str = field(default=",".join(LEVELS), metadata=option("which rooms, with commas (default: %(default)s)"))
    episodes: int = field(default=40, metadata=option("of each level (default: %(default)s)"))
    policies: str = field(default=",".join(POLICIES), metadata=option("with commas; the first is reported on top"))
    words: str = field(
        default="ours", metadata=option("ours: a box is a crate; own: it is a box (default: %(default)s)")
    )
    seed: int = field(default=0, metadata=option("of the rooms and the random baseline (default: %(default)s)"))
    checkpoint: Path = field(default=EMBEDDED_CHECKPOINT, metadata=option("of the model"))
    backend: str = field(default="torch", metadata=option("that runs it (default: %(default)s)"))
    device: str = field(default="cpu", metadata=option("where (default: %(default)s)"))
    json: Path | None = field(default=None, metadata=option("also write the report here"))

    def __post_init__(self) -> None:
        for what, given, known in (
            ("levels", self.level_names, tuple(LEVELS)),
            ("policies", self.policy_names, POLICIES),
        ):
            if not given or set(given) - set(known):
                raise ConfigError(f"{what} {','.join(given)!r}: choose from {', '.join(known)}")
        if self.words not in ("ours", "own"):
            raise ConfigError(f"words = {self.words!r}: must be ours or own")
        if self.episodes < 1 or self.seed < 0:
            raise ConfigError(f"episodes = {self.episodes}, seed = {self.seed}: at least one episode, no seed below 0")

    @property
    def level_names(self) -> tuple[str, ...]:
        """The levels, in order."""
        return tuple(name for name in self.levels.split(",") if name)

    @property
    def policy_names(self) -> tuple[str, ...]:
        """The policies, in order."""
        return tuple(name for name in self.policies.split(",") if name)


@dataclass(frozen=True, slots=True)
class RoomResult:
    """How one policy did one task."""

    policy: str
    task: RoomTask
    metrics: NavigationMetrics
    collisions: int
    decisions: int
    stopped: bool
    decision_ms: float  # the median


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; print a table and, as the last line, a JSON object."""
    options = parse_options(MiniWorldOptions, argv, prog="vila bench miniworld", description=__doc__)
    needs_model = set(options.policy_names) & set(MODEL_POLICIES)
    backend = _load_model(options) if needs_model else None
    total = len(options.level_names) * options.episodes * len(options.policy_names)
    results = list(tqdm(play(options, backend), total=total, unit="episode"))
    report = make_report(options, results)
    print(make_table(report))
    print(json.dumps(report))
    if options.json:
        write_text(options.json, json.dumps(report, indent=1) + "\n")
    return 0


def _load_model(options: MiniWorldOptions) -> Backend:
    import torch  # only where a model is asked for

    torch.set_num_threads(1)  # more gain nothing at this size
    return load_backend(options.backend, options.checkpoint, device=options.device)


def instruction_of(task: RoomTask, words: str) -> str:
    """What the robot is told."""
    kind = OWN_WORDS.get(task.kind, task.kind) if words == "own" else task.kind
    return f"go to the {task.colour} {kind}"


def play(options: MiniWorldOptions, backend: Backend | None) -> Iterator[RoomResult]:
    """Yield how each policy does each task: all drive the same."""
    for level in options.level_names:
        room = MiniWorldRoom(level)
        try:
            drivers = {name: _driver(name, room, backend, options.seed) for name in options.policy_names}
            for number in range(options.episodes):
                for name, driver in drivers.items():
                    task = room.reset(10_000 * options.seed + number)
                    yield _run(room, driver, name, task, instruction_of(task, options.words))
        finally:
            room.close()


def _run(room: MiniWorldRoom, driver: Policy, name: str, task: RoomTask, instruction: str) -> RoomResult:
    driver.start(instruction)
    driver.observe(*room.see())
    times: list[float] = []
    while len(times) < MAX_DECISIONS and not room.stop_called:
        began = time.perf_counter()
        action = driver.decide().action
        times.append((time.perf_counter() - began) * 1e3)
        if action is None:
            break
        for seen in room.act(action):
            driver.observe(*seen)
    start = room.path[0]
    metrics = navigation_metrics(
        [(pose.x_m, pose.y_m) for pose in room.path],
        room.distances_m,
        [(start.x_m, start.y_m), room.goal_m],
        stop_called=room.stop_called,
        radius_m=SUCCESS_RADIUS_M,
    )
    return RoomResult(name, task, metrics, room.collisions, len(times), room.stop_called, statistics.median(times))


def _driver(name: str, room: MiniWorldRoom, backend: Backend | None, seed: int) -> Policy:
    if name in MODEL_POLICIES:
        assert backend is not None
        neutral = NEUTRAL_INSTRUCTION if name == "instruction_blind" else None
        blank = name == "image_blind"
        return ModelPolicy(
            backend, NavigatorConfig(wording="verbatim"), HistoryConfig(), blank_images=blank, instruction=neutral
        )
    return {
        "beeline": lambda: _Baseline(lambda: _beeline(room)),
        "forward": lambda: _Baseline(lambda: Stop() if room.collisions else MoveForward(0.25)),
        "random": lambda: _Baseline(_random(seed)),
        "stop": lambda: _Baseline(Stop),
    }[name]()


class _Baseline:
    """A driver that looks at nothing."""

    def __init__(self, choose: Callable[[], Action]) -> None:
        self._choose = choose

    def decide(self) -> Decision:
        return Decision(self._choose(), 0, 1.0)

    def start(self, instruction: str) -> None:
        pass

    def observe(self, frame: Any, odometry: Any) -> None:
        pass


def _random(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return lambda: ACTIONS[rng.integers(len(ACTIONS))]


def _beeline(room: MiniWorldRoom) -> Action:
    """What knows where the goal is, and nothing of what stands between: straight to it, and stop."""
    if room.distances_m[-1] <= STOP_DISTANCE_M:
        return Stop()
    units = min(round(abs(room.bearing_rad) / _UNIT_RAD), 3)
    if units:
        return Turn(math.copysign(units * _UNIT_RAD, room.bearing_rad))
    left = room.distances_m[-1] - 0.2
    return MoveForward(next((length for length in (0.75, 0.5) if length <= left), 0.25))


def make_report(options: MiniWorldOptions, results: Sequence[RoomResult]) -> dict[str, Any]:
    """Sum up: the first policy's row at the top, all of them by level below. Bounds are 95 % Wilson intervals."""
    rows = {name: _summary([r for r in results if r.policy == name]) for name in options.policy_names}
    first = options.policy_names[0]
    by_level = {
        level: {
            name: _summary([r for r in results if r.policy == name and r.task.level == level])["sr"]
            for name in options.policy_names
        }
        for level in options.level_names
    }
    return {
        "world": "miniworld",
        "policy": first,
        **rows[first],
        "baselines": {name: row for name, row in rows.items() if name != first},
        "sr_by_level": by_level,
        "words": options.words,
        "seed": options.seed,
        "checkpoint": str(options.checkpoint) if set(options.policy_names) & set(MODEL_POLICIES) else "",
    }


def _summary(results: Sequence[RoomResult]) -> dict[str, Any]:
    mean = mean_metrics([result.metrics for result in results])
    return {
        "episodes": len(results),
        **rate_row("sr", sum(result.metrics.success for result in results), len(results)),
        "os": round(mean.oracle_success, 4),
        "spl": round(mean.spl, 4),
        "ne_m": round(mean.navigation_error_m, 3),
        "steps": round(mean.steps, 2),
        "collisions": round(float(np.mean([result.collisions for result in results])), 3),
        "stopped": round(float(np.mean([result.stopped for result in results])), 4),
        "decision_ms": round(statistics.median(result.decision_ms for result in results), 2),
    }


def make_table(report: dict[str, Any]) -> str:
    """The report as text, a line for each policy."""
    lines = [
        f"MiniWorld, {report['episodes']} episodes, success within {SUCCESS_RADIUS_M} m, stop called",
        f"{'policy':<18} {'SR':>5} {'95 %':>11} {'OS':>5} {'SPL':>5} {'NE m':>6}"
        f" {'steps':>6} {'coll.':>6} {'stops':>6}",
    ]
    for name, row in {report["policy"]: report, **report["baselines"]}.items():
        lines.append(
            f"{name:<18} {row['sr']:5.3f} {row['sr_low']:5.2f}-{row['sr_high']:5.2f} {row['os']:5.3f} "
            f"{row['spl']:5.3f} {row['ne_m']:6.2f} {row['steps']:6.1f} {row['collisions']:6.2f} {row['stopped']:6.2f}"
        )
    for level, rates in report["sr_by_level"].items():
        lines.append(f"  {level}: " + ", ".join(f"{name} {rate:.2f}" for name, rate in rates.items()))
    return "\n".join(lines)
