"""`vila bench step`: one navigation step of ours beside our naive one, the peers run naively, and the machine's floor.

Every contender stays loaded in a process of its own; each round runs all of them once, one at a time, in an order that
rotates. A ratio compares two times of the same round, and what is printed is the median over the rounds: the speed of
a shared machine changes within a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import platform
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vila_core.benchmark.floors import Machine, StepCounts, step_floor_ms
from vila_core.benchmark.job import StepJob
from vila_core.benchmark.peers.table import PEERS, chosen_peers, why_missing
from vila_core.benchmark.process import WorkerProcess
from vila_core.benchmark.rounds import medians, minima, ratio, rotated
from vila_core.commands.info import count_parameters
from vila_core.commands.make_random import make_random
from vila_core.commands.model_shapes import SHAPES, model_shape
from vila_core.errors import BackendError, ConfigError
from vila_core.models.checkpoint import DTYPES
from vila_core.models.config import CheckpointConfig
from vila_core.models.config_reader import read_checkpoint_config
from vila_core.models.costs import Storage

QUICK = "nvila-lite-small"
_OURS = "vila_core.benchmark.ours:Ours"
_WAYS = ("cached", "exact", "naive", "rebuild")
_MACHINE = "machine"
_OWN = (_MACHINE, *_WAYS)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table, then the result as one JSON object; --json writes that to a file too."""
    args = _parser().parse_args(argv)
    peers = chosen_peers(args.peers)
    with tempfile.TemporaryDirectory(prefix="vila-bench-") as folder:
        result = bench_step(_job(args, Path(folder)), peers, args.rounds, warm_up=args.warm_up)
    result["shape"]["name"] = args.checkpoint.name if args.checkpoint else _like(args)
    for line in table(result):
        print(line)
    text = json.dumps(result)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


def bench_step(job: StepJob, peers: Sequence[str], rounds: int, *, warm_up: bool = True) -> dict[str, Any]:
    """Run the rounds and return what the JSON holds.

    peers: rows of PEERS; one that cannot be run, or fails, stands in "missing" with the reason. Raises BackendError
    if ours fails.
    """
    config = read_checkpoint_config(Path(job.checkpoint))
    _check(config)
    with contextlib.ExitStack() as stack:
        field = Field(stack, job, config)
        for name in tqdm([*_OWN, *peers], desc="warm-up" if warm_up else "start", disable=None):
            if name in PEERS:
                field.add_peer(name)
            if warm_up and name in field.names:
                field.run(
                    name
                )  # at once: some take most of their memory only then, and the next one must fit beside it
        for number in tqdm(range(rounds), desc="rounds", disable=None):
            field.run_round(number)
        return _result(field, config)


class Field:
    """The contenders that are still in, and what their rounds gave; their processes end with the stack."""

    def __init__(self, stack: contextlib.ExitStack, job: StepJob, config: CheckpointConfig) -> None:
        self.missing: dict[str, str] = {}
        self.rounds: list[dict[str, float]] = []
        self.details: list[dict[str, dict[str, Any]]] = []
        self._stack = stack
        self.weights_mb = sum(count_parameters(config).values()) * 2 / 1e6
        self.ours = self._start(_OURS, job)
        self.job = dataclasses.replace(job, prompt_tokens=self.ours.facts["prompt_tokens"])
        self.peers: dict[str, WorkerProcess] = {}

    @property
    def names(self) -> list[str]:
        """Those that a round runs: the machine's own figures, our ways, the peers."""
        return [*_OWN, *self.peers]

    def add_peer(self, name: str) -> None:
        """Start a peer's process, or note why it is missing."""
        reason = why_missing(PEERS[name], self.weights_mb)
        if reason is None:
            try:
                self.peers[name] = self._start(PEERS[name].target, self.job)
            except BackendError as err:
                reason = str(err)
        if reason is not None:
            self.missing[name] = reason

    def run(self, name: str) -> dict[str, Any] | None:
        """Run one contender once; a peer that fails is out from then on, and None is returned."""
        if name not in self.peers:
            return self.ours.run(name)
        try:
            return self.peers[name].run(name)
        except BackendError as err:
            self.missing[name] = str(err)
            self.peers.pop(name).close()
            return None

    def run_round(self, number: int) -> None:
        """Run everyone once, in the order of the number-th round."""
        replies = {name: self.run(name) for name in rotated(self.names, number)}
        details = {name: reply for name, reply in replies.items() if reply is not None}
        self.details.append(details)
        self.rounds.append({name: reply["ms"] for name, reply in details.items() if name != _MACHINE})

    def _start(self, target: str, job: StepJob) -> WorkerProcess:
        worker = WorkerProcess(target, job)
        self._stack.callback(worker.close)
        return worker


def _result(field: Field, config: CheckpointConfig) -> dict[str, Any]:
    typical, least = medians(field.rounds), minima(field.rounds)
    machine = _machine(field)
    facts = field.ours.facts
    counts = StepCounts(
        1,
        facts["new_prompt_tokens"] + facts["reply_tree_tokens"],
        facts["prompt_tokens"] - facts["new_prompt_tokens"],
    )
    floor_ms = step_floor_ms(config, counts, machine, Storage(DTYPES[field.job.precision].itemsize))
    return _rounded(
        {
            **{f"ours_{way}_ms": typical.get(way) for way in _WAYS},
            "peers": {name: typical[name] for name in field.peers},
            "floor_ms": floor_ms,
            "shape": _shape(field, config),
            "ratios": _ratios(field),
            "min_ms": least,
            "rounds": field.rounds,
            "parts": _typical(field, "parts"),
            "idle": _typical(field, "idle"),
            "bandwidth_gbps": machine.bandwidth_gbps,
            "peak_tflops": machine.peak_tflops,
            "missing": field.missing,
            "resident_mb": {name: worker.resident_mb for name, worker in (("ours", field.ours), *field.peers.items())},
            "versions": {
                "python": platform.python_version(),
                "torch": facts["torch"],
                **{name: worker.facts["versions"] for name, worker in field.peers.items()},
            },
        }
    )


def _machine(field: Field) -> Machine:
    """The best of each that any round saw: a floor is what the machine can do."""
    seen = [row[_MACHINE]["parts"] for row in field.details]
    return Machine(max(part["bandwidth_gbps"] for part in seen), max(part["peak_tflops"] for part in seen))


def _ratios(field: Field) -> dict[str, float | None]:
    peers, rounds = list(field.peers), field.rounds
    return {
        "naive_over_cached": ratio(rounds, "naive", "cached"),
        "naive_over_exact": ratio(rounds, "naive", "exact"),
        "naive_over_rebuild": ratio(rounds, "naive", "rebuild"),
        "best_peer_over_cached": ratio(rounds, peers, "cached") if peers else None,
        "best_peer_over_exact": ratio(rounds, peers, "exact") if peers else None,
        **{f"{name}_over_cached": ratio(rounds, name, "cached") for name in peers},
    }


def _typical(field: Field, key: str) -> dict[str, dict[str, float]]:
    """Of each of our ways, the median over the rounds of each of its parts."""
    columns = {way: medians([row[way][key] for row in field.details]) for way in _WAYS}
    return {way: column for way, column in columns.items() if column}


def _shape(field: Field, config: CheckpointConfig) -> dict[str, Any]:
    job, facts, language, vision = field.job, field.ours.facts, config.language, config.vision
    return {
        "name": config.name,
        "decoder": [language.model_type, language.layers, language.hidden_size, language.intermediate_size],
        "tower": [vision.image_size, vision.layers, vision.hidden_size, vision.intermediate_size],
        "vocab_size": language.vocab_size,
        "weights_mb": field.weights_mb,
        "tokens_per_frame": facts["tokens_per_frame"],
        "prompt_tokens": facts["prompt_tokens"],
        "new_prompt_tokens": facts["new_prompt_tokens"],
        "reply_tree_tokens": facts["reply_tree_tokens"],
        "frames": job.frames + 1,
        "answer_tokens": job.tokens,
        "threads": job.threads,
        "precision": {"ours": job.precision}
        | {name: worker.facts["precision"] for name, worker in field.peers.items()},
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 3) if isinstance(value, float) else value


def table(result: dict[str, Any]) -> Iterator[str]:
    """Lines for people: who took how long, and how many times our cached step that is."""
    shape, ratios = result["shape"], result["ratios"]
    yield (
        f"{shape['name']}: {shape['frames']} frames of {shape['tokens_per_frame']} visual tokens, prompt of "
        f"{shape['prompt_tokens']}, answer of {shape['answer_tokens']}, {shape['threads']} threads"
    )
    yield f"{'':16}{'median ms':>12}{'min ms':>12}{'x cached':>10}  precision"
    for name in (*_WAYS, *result["peers"]):
        ours = name in _WAYS
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


def _job(args: argparse.Namespace, folder: Path) -> StepJob:
    if args.checkpoint is not None and (args.like or args.quick):
        raise ConfigError("give either --checkpoint or a shape (--like, --quick)")
    if min(args.rounds, args.frames, args.tokens, args.threads) < 1:
        raise ConfigError("--rounds, --frames, --tokens and --threads must be at least 1")
    checkpoint = args.checkpoint
    if checkpoint is None:
        checkpoint = folder / "checkpoint"
        make_random(checkpoint, model_shape(_like(args)), name=_like(args))
    return StepJob(str(checkpoint), args.frames, args.tokens, args.threads, args.precision, folder=str(folder))


def _like(args: argparse.Namespace) -> str:
    return args.like or (QUICK if args.quick else "nvila-lite-2b")


def _check(config: CheckpointConfig) -> None:
    if config.images.s2_scales:
        raise ConfigError(f"{config.name}: pictures at several scales are not measured; take a model without S2")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila bench step", description=__doc__)
    parser.add_argument("--like", choices=SHAPES, metavar="NAME", help=f"a shape: {', '.join(SHAPES)}")
    parser.add_argument("--quick", action="store_true", help=f"the shape {QUICK}: a minute in all")
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint directory, instead of random weights")
    parser.add_argument(
        "--peers", default="all", help=f"all, none, or some of {','.join(PEERS)} (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=8, help="in the history (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=12, help="of an answer that is decoded (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=sorted(DTYPES), default="bfloat16", help="default: %(default)s")
    parser.add_argument("--no-warm-up", dest="warm_up", action="store_false", help="skip the round that does not count")
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    return parser
