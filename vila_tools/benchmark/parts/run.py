"""`vila bench step --parts`: decoding, short passes, prefill and a picture, quantized, beside the peers' best forms.

A model's half at a time: its contenders stay loaded in processes of their own, and every part is run by each of them
in turn, in an order that rotates from round to round, so that a ratio compares two times of the same minute.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vila_core.errors import BackendError
from vila_core.models.config_reader import read_checkpoint_config
from vila_core.models.layouts import open_layout
from vila_tools.benchmark.field import OWN, Field
from vila_tools.benchmark.job import StepJob
from vila_tools.benchmark.parts.conversion import converted_folder
from vila_tools.benchmark.parts.table import CONVERT_OURS, HALVES, OURS, PART_PEERS, PARTS, Form
from vila_tools.benchmark.peers.table import why_missing
from vila_tools.benchmark.process import WorkerProcess
from vila_tools.benchmark.rounds import rotated
from vila_tools.checkpoint.info import count_parameters, stored_quantization

Round = dict[str, float]  # milliseconds by contender


@dataclass(slots=True)
class Measured:
    """What the rounds gave.

    rounds: by part. missing: why a peer, or its half "peer.half", is out. resident_mb, facts: by contender and half.
    """

    rounds: dict[str, list[Round]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    resident_mb: dict[str, dict[str, float]] = field(default_factory=dict)
    facts: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)


def measure_parts(
    job: StepJob, peers: Sequence[str], rounds: int, *, wanted: Sequence[str] = tuple(PARTS), warm_up: bool = True
) -> Measured:
    """Convert what is not there yet, then run the rounds of each half.

    peers: rows of PART_PEERS. wanted: of PARTS; a half of which none is wanted is not loaded. Raises BackendError if
    ours fails.
    """
    measured = Measured()
    halves = {half: [part for part in parts if part in wanted] for half, parts in HALVES.items()}
    halves = {half: parts for half, parts in halves.items() if parts}
    weights_mb = sum(count_parameters(read_checkpoint_config(Path(job.checkpoint))).values()) * 2 / 1e6
    forms = _forms(peers, list(halves), measured)
    _convert(job, forms, weights_mb, measured)
    for half, parts in halves.items():
        with contextlib.ExitStack() as stack:
            contenders = Field(stack, OURS[half], job, weights_mb)
            turns = _Turns(contenders, parts)
            for name in tqdm([OWN, *forms[half]], desc=f"{half}: start", disable=None):
                if name != OWN:
                    contenders.add_peer(name, forms[half][name], job)
                if warm_up and name in turns.names:
                    turns.warm_up(name)  # at once: some take most of their memory only then
            for number in tqdm(range(rounds), desc=f"{half}: rounds", disable=None):
                for part in parts:
                    measured.rounds.setdefault(part, []).append(turns.run(part, number))
            _note(half, contenders, measured)
    return measured


class _Turns:
    """The contenders of a half, one after the other."""

    def __init__(self, contenders: Field, parts: Sequence[str]) -> None:
        self._field, self._parts = contenders, parts

    @property
    def names(self) -> list[str]:
        return [OWN, *self._field.peers]

    def warm_up(self, name: str) -> None:
        for part in self._parts:
            if name in self.names:
                self._turn(name, part)

    def run(self, part: str, number: int) -> Round:
        """Milliseconds of each contender that is in, in the order of the number-th round."""
        times = {name: self._turn(name, part) for name in rotated(self.names, number)}
        return {name: time for name, time in times.items() if time is not None}

    def _turn(self, name: str, part: str) -> float | None:
        reply = self._field.ours.run(part) if name == OWN else self._field.run_peer(name, part)
        return None if reply is None else float(reply["parts"]["ms"])


def _forms(peers: Sequence[str], halves: Sequence[str], measured: Measured) -> dict[str, dict[str, Form]]:
    """The peers' forms by half; why a peer has none is noted."""
    forms: dict[str, dict[str, Form]] = {half: {} for half in halves}
    for name in peers:
        for half in halves:
            form = PART_PEERS[name][half]
            if isinstance(form, Form):
                forms[half][name] = form
            else:
                measured.missing[f"{name}.{half}"] = form
    return forms


def _convert(job: StepJob, forms: dict[str, dict[str, Form]], weights_mb: float, measured: Measured) -> None:
    """Write what contenders load and what is not there from an earlier run, each in a process that ends with it."""
    if not stored_quantization(open_layout(Path(job.checkpoint))):
        _convert_one(job, CONVERT_OURS)
    chosen = [(half, name) for half, row in forms.items() for name, form in row.items() if form.converter]
    for half, name in tqdm(chosen, desc="conversion", disable=None):
        reason = _not_converted(job, forms[half][name], weights_mb)
        if reason is not None:
            measured.missing[f"{name}.{half}"] = reason
            del forms[half][name]


def _not_converted(job: StepJob, form: Form, weights_mb: float) -> str | None:
    """Convert a form unless that is done; returns why it cannot be."""
    if converted_folder(job, form.converter).exists():
        return None
    reason = why_missing(dataclasses.replace(form, memory=form.conversion), weights_mb)
    if reason is None:
        try:
            _convert_one(job, form.converter)
        except BackendError as err:
            reason = str(err)
    return reason


def _convert_one(job: StepJob, converter: str) -> None:
    if not converted_folder(job, converter).exists():
        WorkerProcess(converter, job).close()


def _note(half: str, contenders: Field, measured: Measured) -> None:
    for name, worker in contenders.workers.items():
        measured.resident_mb.setdefault(name, {})[half] = worker.resident_mb
        measured.facts.setdefault(name, {})[half] = worker.facts
    measured.missing.update({f"{name}.{half}": reason for name, reason in contenders.missing.items()})
