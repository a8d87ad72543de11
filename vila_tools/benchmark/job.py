"""What a worker process is told of the step that it is to run."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from vila_core.testing import make_frame
from vila_core.types import Frame, Instruction

INSTRUCTION = Instruction("Walk down the hall, turn left at the red chair and stop in front of the table.")
HEIGHT, WIDTH = 480, 640


@dataclass(frozen=True, slots=True)
class StepJob:
    """One navigation step at a checkpoint's shape.

    frames: in the history, the current one comes on top. tokens: of an answer that is decoded. prompt_tokens: of the
    whole prompt, visual ones included; 0 where the worker is to count them. folder: for files that a peer converts.
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
    """The number-th picture of a made-up camera: noise, [480, 640, 3], a tenth of a second after the one before."""
    return make_frame(number * 100_000_000, height=HEIGHT, width=WIDTH, seed=number)
