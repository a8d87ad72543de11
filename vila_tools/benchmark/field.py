"""The contenders of a benchmark that are still in: ours, which must not fail, and the peers, which may."""

from __future__ import annotations

import contextlib
from typing import Any

from vila_core.errors import BackendError
from vila_tools.benchmark.job import StepJob
from vila_tools.benchmark.peers.table import Peer, why_missing
from vila_tools.benchmark.process import WorkerProcess

OWN = "ours"


class Field:
    """Resident processes, which end with the stack; of a peer that is out, the reason stands in `missing`."""

    def __init__(self, stack: contextlib.ExitStack, target: str, job: StepJob, weights_mb: float) -> None:
        """Start ours, "module:class" of a Contender; weights_mb: of the model in bfloat16. BackendError if it fails."""
        self._stack = stack
        self.weights_mb = weights_mb
        self.missing: dict[str, str] = {}
        self.peers: dict[str, WorkerProcess] = {}
        self.ours = self._start(target, job)

    @property
    def workers(self) -> dict[str, WorkerProcess]:
        """All that are in, ours first."""
        return {OWN: self.ours, **self.peers}

    def add_peer(self, name: str, peer: Peer, job: StepJob) -> None:
        """Start a peer's process, or note why it is missing."""
        doubled = peer.follows and job.precision == "float32"
        reason = why_missing(peer, self.weights_mb * (1 + doubled))
        if reason is None:
            try:
                self.peers[name] = self._start(peer.target, job)
            except BackendError as err:
                reason = str(err)
        if reason is not None:
            self.missing[name] = reason

    def run_peer(self, name: str, way: str) -> dict[str, Any] | None:
        """Run a peer once; one that fails is out from then on, and None is returned."""
        try:
            return self.peers[name].run(way)
        except BackendError as err:
            self.missing[name] = str(err)
            self.peers.pop(name).close()
            return None

    def _start(self, target: str, job: StepJob) -> WorkerProcess:
        worker = WorkerProcess(target, job)
        self._stack.callback(worker.close)
        return worker
