"""`vila bench step --parts`: decoding, short passes, prefill and a picture, quantized, beside the peers' best forms.

A model's half at a time: its targets stay loaded in processes of their own, and every part is run by each of them in
turn, in an order that rotates from round to round, so that a ratio compares two times of the same minute.
"""

from __future__ import annotations

import contextlib
import dataclasses
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vila_core.errors import BackendError
from vila_core.models.config import CheckpointConfig
from vila_core.models.costs import count_parameters
from vila_core.models.stored.config_reader import read_checkpoint_config
from vila_core.models.stored.layouts import open_layout
from vila_core.models.stored.quantized_weights import stored_quantization
from vila_tools.benchmark.part_targets import HALVES, PARTS
from vila_tools.benchmark.peers.table import PEERS, Form
from vila_tools.benchmark.process import WorkerProcess
from vila_tools.benchmark.rounds import medians, minima, ratio, rotated, rounded
from vila_tools.benchmark.running_targets import OWN, RunningTargets, why_missing
from vila_tools.benchmark.target import StepJob

PROMPT_TOKENS = 1300  # a navigation prompt of nine frames
OURS = {half: f"vila_tools.benchmark.our_parts:{half.capitalize()}" for half in HALVES}
CONVERT_OURS = "vila_tools.benchmark.our_parts:convert"
_PLACES = 18  # of a column

Round = dict[str, float]  # milliseconds by target


@dataclass(slots=True)
class Measured:
    """What the rounds gave.

    rounds: by part. missing: why a peer, or its half "peer.half", is out. resident_mb, facts: by target and half.
    """

    rounds: dict[str, list[Round]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    resident_mb: dict[str, dict[str, float]] = field(default_factory=dict)
    facts: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)


def measure_parts(
    job: StepJob, peers: Sequence[str], rounds: int, *, wanted: Sequence[str] = tuple(PARTS), warm_up: bool = True
) -> Measured:
    """Convert what is not there yet, then run the rounds of each half.

    peers: those of PEERS with an entry for a half. wanted: of PARTS; a half of which none is wanted is not loaded.
    Raises BackendError if ours fails.
    """
    measured = Measured()
    halves = {half: [part for part in parts if part in wanted] for half, parts in HALVES.items()}
    halves = {half: parts for half, parts in halves.items() if parts}
    weights_mb = sum(count_parameters(read_checkpoint_config(Path(job.checkpoint))).values()) * 2 / 1e6
    forms = _forms(peers, list(halves), measured)
    _convert(job, forms, weights_mb, measured)
    for half, parts in halves.items():
        with contextlib.ExitStack() as stack:
            targets = RunningTargets(stack, OURS[half], own_job(job), weights_mb)
            turns = _Turns(targets, parts)
            for name in tqdm([OWN, *forms[half]], desc=f"{half}: start", disable=None):
                if name != OWN:
                    targets.add_peer(name, forms[half][name], peer_job(job, name, half))
                if warm_up and name in turns.names:
                    turns.warm_up(name)  # at once: some take most of their memory only then
            for number in tqdm(range(rounds), desc=f"{half}: rounds", disable=None):
                for part in parts:
                    measured.rounds.setdefault(part, []).append(turns.run(part, number))
            _note(half, targets, measured)
    return measured


class _Turns:
    """The targets of a half, one after the other."""

    def __init__(self, targets: RunningTargets, parts: Sequence[str]) -> None:
        self._targets, self._parts = targets, parts

    @property
    def names(self) -> list[str]:
        return [OWN, *self._targets.peers]

    def warm_up(self, name: str) -> None:
        for part in self._parts:
            if name in self.names:
                self._turn(name, part)

    def run(self, part: str, number: int) -> Round:
        """Milliseconds of each target that is in, in the order of the number-th round."""
        times = {name: self._turn(name, part) for name in rotated(self.names, number)}
        return {name: time for name, time in times.items() if time is not None}

    def _turn(self, name: str, part: str) -> float | None:
        reply = self._targets.ours.run(part) if name == OWN else self._targets.run_peer(name, part)
        return None if reply is None else float(reply["parts"]["ms"])


def _forms(peers: Sequence[str], halves: Sequence[str], measured: Measured) -> dict[str, dict[str, Form]]:
    """The peers' forms by half; why a peer has none is noted."""
    forms: dict[str, dict[str, Form]] = {half: {} for half in halves}
    for name in peers:
        for half in halves:
            form = PEERS[name].get(half)
            if isinstance(form, Form):
                forms[half][name] = form
            elif form is not None:
                measured.missing[f"{name}.{half}"] = form
    return forms


def own_job(job: StepJob) -> StepJob:
    """The job as our halves are told it, with the folder that both are loaded from."""
    return dataclasses.replace(job, folder=str(Path(job.folder) / OWN))


def peer_job(job: StepJob, name: str, half: str) -> StepJob:
    """The job as a peer's half is told it, with a folder of its own."""
    return dataclasses.replace(job, folder=str(Path(job.folder) / f"{name}_{half}"))


def _convert(job: StepJob, forms: dict[str, dict[str, Form]], weights_mb: float, measured: Measured) -> None:
    """Write what targets load and what is not there from an earlier run, each in a process that ends with it."""
    if not stored_quantization(open_layout(Path(job.checkpoint))):
        _convert_one(own_job(job), CONVERT_OURS)
    chosen = [(half, name) for half, row in forms.items() for name, form in row.items() if form.converter]
    for half, name in tqdm(chosen, desc="conversion", disable=None):
        reason = _not_converted(peer_job(job, name, half), forms[half][name], weights_mb)
        if reason is not None:
            measured.missing[f"{name}.{half}"] = reason
            del forms[half][name]


def _not_converted(job: StepJob, form: Form, weights_mb: float) -> str | None:
    """Convert a form unless that is done; returns why it cannot be."""
    if Path(job.folder).exists():
        return None
    reason = why_missing(form.libraries, form.conversion * weights_mb)
    if reason is None:
        try:
            _convert_one(job, form.converter)
        except BackendError as err:
            reason = str(err)
    return reason


def _convert_one(job: StepJob, converter: str) -> None:
    if not Path(job.folder).exists():
        WorkerProcess(converter, job).close()


def _note(half: str, targets: RunningTargets, measured: Measured) -> None:
    for name, worker in targets.workers.items():
        measured.resident_mb.setdefault(name, {})[half] = worker.resident_mb
        measured.facts.setdefault(name, {})[half] = worker.facts
    measured.missing.update({f"{name}.{half}": reason for name, reason in targets.missing.items()})


# --- the result --------------------------------------------------------------------------------


def parts_result(measured: Measured, job: StepJob, config: CheckpointConfig) -> dict[str, Any]:
    """Return what the JSON holds.

    Of each part: ours_ms and peers, medians; min_ms; best_peer, the one of the least median; best_peer_over_ours, the
    median over the rounds of (the round's quickest peer / ours), so that no peer is held to its usual form.
    """
    facts, language, vision = measured.facts, config.language, config.vision
    return rounded(
        {
            **{part: _part(rounds) for part, rounds in measured.rounds.items()},
            "shape": {
                "name": config.name,
                "decoder": [language.model_type, language.layers, language.hidden_size, language.intermediate_size],
                "tower": [vision.image_size, vision.layers, vision.hidden_size, vision.intermediate_size],
                "vocab_size": language.vocab_size,
                "prompt_tokens": job.prompt_tokens,
                "threads": job.threads,
                "precision": {
                    name: {half: told["precision"] for half, told in row.items()} for name, row in facts.items()
                },
            },
            "about": {name: part.about for name, part in PARTS.items()},
            "rounds": measured.rounds,
            "missing": measured.missing,
            "resident_mb": measured.resident_mb,
            "versions": {
                "python": platform.python_version(),
                **{
                    name: {key: told for half in row.values() for key, told in half["versions"].items()}
                    for name, row in facts.items()
                },
            },
        }
    )


def _part(rounds: list[dict[str, float]]) -> dict[str, Any]:
    typical = medians(rounds)
    peers = {name: time for name, time in typical.items() if name != OWN}
    return {
        "ours_ms": typical[OWN],
        "peers": peers,
        "best_peer": min(peers, key=lambda name: peers[name]) if peers else None,
        "best_peer_over_ours": ratio(rounds, list(peers), OWN) if peers else None,
        "peer_over_ours": {name: ratio(rounds, name, OWN) for name in peers},
        "min_ms": minima(rounds),
    }


def parts_table(result: dict[str, Any]) -> Iterator[str]:
    """Lines for people: who took how long for each part, and how the quickest peer compares with us."""
    shape, parts = result["shape"], [part for part in PARTS if part in result]
    yield f"{shape['name']}: {shape['threads']} threads, a prompt of {shape['prompt_tokens']} tokens in the cache"
    yield from (f"  {part}: {PARTS[part].about}" for part in parts)
    yield "median (min) ms".ljust(16) + "".join(part.rjust(_PLACES) for part in parts)
    for name in shape["precision"]:
        yield name.ljust(16) + "".join(_cell(result[part], name).rjust(_PLACES) for part in parts)
    yield "best peer".ljust(16) + "".join(str(result[part]["best_peer"] or "-").rjust(_PLACES) for part in parts)
    yield "  over ours".ljust(16) + "".join(_times(result[part]["best_peer_over_ours"]) for part in parts)
    for name, halves in shape["precision"].items():
        for half, precision in halves.items():
            yield f"{name} {half}: {precision}; {result['resident_mb'][name][half]:.0f} MB resident"
    for name, reason in result["missing"].items():
        yield f"{name}: missing: {reason}"


def _cell(part: dict[str, Any], name: str) -> str:
    typical = part["ours_ms"] if name == OWN else part["peers"].get(name)
    return "-" if typical is None else f"{typical:.1f} ({part['min_ms'][name]:.1f})"


def _times(value: float | None) -> str:
    return ("-" if value is None else f"{value:.2f}").rjust(_PLACES)
