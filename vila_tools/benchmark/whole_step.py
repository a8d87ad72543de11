"""One navigation step of ours beside our naive one, the peers run naively, and the machine's floor.

Every target stays loaded in a process of its own; each round runs all of them once, one at a time, in an order that
rotates. A ratio compares two times of the same round, and what is printed is the median over the rounds: the speed of
a shared machine changes within a minute.
"""

from __future__ import annotations

import contextlib
import dataclasses
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vila_core.engine.cached_decoder import CHUNK
from vila_core.errors import ConfigError
from vila_core.models.config import CheckpointConfig
from vila_core.models.costs import Storage, count_parameters
from vila_core.models.roofline import Roofline, StepCounts, step_floor_ms
from vila_core.models.stored.checkpoint import DTYPES
from vila_core.models.stored.config_reader import read_checkpoint_config
from vila_tools.benchmark.peers.table import PEERS, STEP
from vila_tools.benchmark.rounds import medians, minima, ratio, rotated, rounded
from vila_tools.benchmark.running_targets import RunningTargets
from vila_tools.benchmark.target import StepJob

_OURS = "vila_tools.benchmark.ours:Ours"
_METHODS = ("cached", "exact", "naive", "rebuild")
_MACHINE = "machine"
_OWN = (_MACHINE, *_METHODS)


def bench_step(job: StepJob, peers: Sequence[str], rounds: int, *, warm_up: bool = True) -> dict[str, Any]:
    """Run the rounds and return what the JSON holds.

    peers: those of PEERS that make whole steps; one that cannot be run, or fails, stands in "missing" with the reason.
    Raises BackendError if ours fails.
    """
    config = read_checkpoint_config(Path(job.checkpoint))
    require_one_scale(config)
    with contextlib.ExitStack() as stack:
        targets = RunningTargets(stack, _OURS, job, sum(count_parameters(config).values()) * 2 / 1e6)
        steps = _Steps(targets, job)
        for name in tqdm([*_OWN, *peers], desc="warm-up" if warm_up else "start", disable=None):
            if name in peers:
                targets.add_peer(name, PEERS[name][STEP], steps.job)
            if warm_up and name in steps.names:
                steps.run(name)  # at once: some take most of their memory only then, and the next one must fit in too
        for number in tqdm(range(rounds), desc="rounds", disable=None):
            steps.run_round(number)
        return _result(steps, config)


class _Steps:
    """The rounds so far; job: as the peers are told it, with the length of our prompt."""

    def __init__(self, targets: RunningTargets, job: StepJob) -> None:
        self.targets = targets
        self.job = dataclasses.replace(job, prompt_tokens=targets.ours.facts["prompt_tokens"])
        self.rounds: list[dict[str, float]] = []
        self.details: list[dict[str, dict[str, Any]]] = []

    @property
    def names(self) -> list[str]:
        """Those that a round runs: the machine's own figures, our methods, the peers."""
        return [*_OWN, *self.targets.peers]

    def run(self, name: str) -> dict[str, Any] | None:
        """Run one target once; None if it is a peer that fails."""
        return self.targets.ours.run(name) if name in _OWN else self.targets.run_peer(name, name)

    def run_round(self, number: int) -> None:
        """Run everyone once, in the order of the number-th round."""
        replies = {name: self.run(name) for name in rotated(self.names, number)}
        details = {name: reply for name, reply in replies.items() if reply is not None}
        self.details.append(details)
        self.rounds.append({name: reply["ms"] for name, reply in details.items() if name != _MACHINE})


def require_one_scale(config: CheckpointConfig) -> None:
    """Raise ConfigError for a model that reads pictures at several scales."""
    if config.images.s2_scales:
        raise ConfigError(f"{config.name}: pictures at several scales are not measured; take a model without S2")


def _result(steps: _Steps, config: CheckpointConfig) -> dict[str, Any]:
    typical, least = medians(steps.rounds), minima(steps.rounds)
    roofline = _roofline(steps)
    facts = steps.targets.ours.facts
    counts = StepCounts(
        1,
        facts["new_prompt_tokens"] + facts["reply_tree_tokens"],
        facts["prompt_tokens"] - facts["new_prompt_tokens"],
    )
    storage = Storage(DTYPES[steps.job.precision].itemsize)
    floor_ms = step_floor_ms(config, storage, counts, roofline, chunk=CHUNK)
    return rounded(
        {
            **{f"ours_{method}_ms": typical.get(method) for method in _METHODS},
            "peers": {name: typical[name] for name in steps.targets.peers},
            "floor_ms": floor_ms,
            "shape": _shape(steps, config),
            "ratios": _ratios(steps),
            "min_ms": least,
            "rounds": steps.rounds,
            "parts": _typical(steps, "parts"),
            "idle": _typical(steps, "idle"),
            "bandwidth_gbps": roofline.bandwidth_gbps,
            "peak_tflops": roofline.language_tflops,
            "missing": steps.targets.missing,
            "resident_mb": {name: worker.resident_mb for name, worker in steps.targets.workers.items()},
            "versions": {
                "python": platform.python_version(),
                "torch": facts["torch"],
                **{name: worker.facts["versions"] for name, worker in steps.targets.peers.items()},
            },
        }
    )


def _roofline(steps: _Steps) -> Roofline:
    """The best of each that any round saw: a floor is what the machine can do."""
    seen = [row[_MACHINE]["parts"] for row in steps.details]
    bandwidth, tflops = (max(part[name] for part in seen) for name in ("bandwidth_gbps", "peak_tflops"))
    return Roofline(bandwidth, tower_tflops=tflops, language_tflops=tflops)


def _ratios(steps: _Steps) -> dict[str, float | None]:
    peers, rounds = list(steps.targets.peers), steps.rounds
    return {
        "naive_over_cached": ratio(rounds, "naive", "cached"),
        "naive_over_exact": ratio(rounds, "naive", "exact"),
        "naive_over_rebuild": ratio(rounds, "naive", "rebuild"),
        "best_peer_over_cached": ratio(rounds, peers, "cached") if peers else None,
        "best_peer_over_exact": ratio(rounds, peers, "exact") if peers else None,
        **{f"{name}_over_cached": ratio(rounds, name, "cached") for name in peers},
    }


def _typical(steps: _Steps, key: str) -> dict[str, dict[str, float]]:
    """Of each of our methods, the median over the rounds of each of its parts."""
    columns = {method: medians([row[method][key] for row in steps.details]) for method in _METHODS}
    return {method: column for method, column in columns.items() if column}


def _shape(steps: _Steps, config: CheckpointConfig) -> dict[str, Any]:
    job, facts, language, vision = steps.job, steps.targets.ours.facts, config.language, config.vision
    return {
        "name": config.name,
        "decoder": [language.model_type, language.layers, language.hidden_size, language.intermediate_size],
        "tower": [vision.image_size, vision.layers, vision.hidden_size, vision.intermediate_size],
        "vocab_size": language.vocab_size,
        "weights_mb": steps.targets.weights_mb,
        "tokens_per_frame": facts["tokens_per_frame"],
        "prompt_tokens": facts["prompt_tokens"],
        "new_prompt_tokens": facts["new_prompt_tokens"],
        "reply_tree_tokens": facts["reply_tree_tokens"],
        "frames": job.frames + 1,
        "answer_tokens": job.tokens,
        "threads": job.threads,
        "precision": {"ours": job.precision}
        | {name: worker.facts["precision"] for name, worker in steps.targets.peers.items()},
    }


def table(result: dict[str, Any]) -> Iterator[str]:
    """Lines for people: who took how long, and how many times our cached step that is."""
    shape, ratios = result["shape"], result["ratios"]
    yield (
        f"{shape['name']}: {shape['frames']} frames of {shape['tokens_per_frame']} visual tokens, prompt of "
        f"{shape['prompt_tokens']}, answer of {shape['answer_tokens']}, {shape['threads']} threads"
    )
    yield f"{'':16}{'median ms':>12}{'min ms':>12}{'x cached':>10}  precision"
    for name in (*_METHODS, *result["peers"]):
        ours = name in _METHODS
        typical = result[f"ours_{name}_ms"] if ours else result["peers"][name]
        above = 1.0 if name == "cached" else ratios.get(f"{name}_over_cached") or typical / result["ours_cached_ms"]
        precision = shape["precision"]["ours" if ours else name]
        label = f"ours {name}" if ours else name
        yield f"{label:16}{typical:12.1f}{result['min_ms'][name]:12.1f}{above:10.2f}  {precision}"
    yield (
        f"{'floor (cached)':16}{result['floor_ms']:12.1f}   at {result['bandwidth_gbps']:.1f} GB/s "
        f"and {result['peak_tflops']:.2f} TFLOP/s"
    )
    for name, reason in result["missing"].items():
        yield f"{name:16}missing: {reason}"
