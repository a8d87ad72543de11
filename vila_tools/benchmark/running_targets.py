"""The targets of a benchmark that are still in: ours, which must not fail, and the peers, which may."""

from __future__ import annotations

import contextlib
import importlib.util
from typing import Any

from vila_core.errors import BackendError
from vila_core.machine.memory import available_bytes
from vila_tools.benchmark.peers.table import Form
from vila_tools.benchmark.process import WorkerProcess
from vila_tools.benchmark.target import StepJob

OWN = "ours"
_SPARE_MB = 500.0


class RunningTargets:
    """Resident processes, which end with the stack; of a peer that is out, the reason stands in `missing`."""

    def __init__(self, stack: contextlib.ExitStack, target: str, job: StepJob, weights_mb: float) -> None:
        """Start ours, "module:class" of a target; weights_mb: of the model in bfloat16. BackendError if it fails."""
        self._stack = stack
        self.weights_mb = weights_mb
        self.missing: dict[str, str] = {}
        self.peers: dict[str, WorkerProcess] = {}
        self.ours = self._start(target, job)

    @property
    def workers(self) -> dict[str, WorkerProcess]:
        """All that are in, ours first."""
        return {OWN: self.ours, **self.peers}

    def add_peer(self, name: str, form: Form | str, job: StepJob) -> None:
        """Start a peer's process, or note why it is missing."""
        reason = form if isinstance(form, str) else self._why_not_started(name, form, job)
        if reason is not None:
            self.missing[name] = reason

    def run_peer(self, name: str, method: str) -> dict[str, Any] | None:
        """Run a peer once; one that fails is out from then on, and None is returned."""
        try:
            return self.peers[name].run(method)
        except BackendError as err:
            self.missing[name] = str(err)
            self.peers.pop(name).close()
            return None

    def _why_not_started(self, name: str, form: Form, job: StepJob) -> str | None:
        doubled = form.follows and job.precision == "float32"
        reason = why_missing(form.libraries, form.memory * self.weights_mb * (1 + doubled))
        if reason is None:
            try:
                self.peers[name] = self._start(form.target, job)
            except BackendError as err:
                reason = str(err)
        return reason

    def _start(self, target: str, job: StepJob) -> WorkerProcess:
        worker = WorkerProcess(target, job)
        self._stack.callback(worker.close)
        return worker


def why_missing(libraries: tuple[str, ...], needed_mb: float) -> str | None:
    """Why a peer cannot be run here: a library is not installed, or there is too little memory; None if it can.

    Raises BackendError where nobody tells how much memory is free.
    """
    absent = [name for name in libraries if importlib.util.find_spec(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)}; run `pip install '.[peers]'`"
    free = available_bytes()
    if free is None:
        raise BackendError("this system does not tell how much memory is free")
    needed_mb += _SPARE_MB
    if needed_mb > free / 1e6:
        return f"needs about {needed_mb:.0f} MB to get ready, {free / 1e6:.0f} MB are free; ask for fewer peers at once"
    return None
