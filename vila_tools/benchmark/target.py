"""A benchmark target: a loaded model that a worker process runs, and what the process is told of the step to run."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from dataclasses import dataclass
from typing import Any, Protocol

from vila_core.testing import make_frame
from vila_core.types import Frame, Instruction

INSTRUCTION = Instruction("Walk down the hall, turn left at the red chair and stop in front of the table.")
HEIGHT, WIDTH = 480, 640

Timings = dict[str, float]


class BenchmarkTarget(Protocol):
    """A loaded model that makes steps by one method, or by several; facts: what it is and runs at, for the result."""

    facts: dict[str, Any]

    def prepare(self, method: str) -> Timings:
        """Reach the state that a running robot would be in; not timed. Returns what is done in idle time, in ms."""
        ...

    def step(self, method: str) -> Timings:
        """Make the step that is timed. Returns its parts in ms, if they can be told apart."""
        ...


@dataclass(frozen=True, slots=True)
class StepJob:
    """One navigation step at a checkpoint's shape.

    frames: in the history, the current one comes on top. tokens: of an answer that is decoded. prompt_tokens: of the
    whole prompt, visual ones included; 0 where the worker is to count them. folder: for files that a target converts.
    """

    checkpoint: str
    frames: int
    tokens: int
    threads: int
    precision: str
    prompt_tokens: int = 0
    folder: str = ""

    def to_json(self) -> str:
        """The job as one line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> StepJob:
        """Read what to_json wrote."""
        return cls(**json.loads(text))


def camera_frame(number: int) -> Frame:
    """The number-th picture of a made-up camera: [480, 640, 3], a tenth of a second after the one before."""
    return make_frame(number * 100_000_000, height=HEIGHT, width=WIDTH, seed=number)


def versions(*packages: str) -> dict[str, str]:
    """The installed version of each package, for a target's facts; none of them is imported."""
    return {name: importlib.metadata.version(name) for name in packages}
