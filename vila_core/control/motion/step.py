"""What a motion says at each step: the velocity for now, and how far it is."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from vila_core.control.reasons import MotionFault
from vila_core.types import VelocityCommand


class MotionState(enum.IntEnum):
    """How far a motion is."""

    IDLE = 0
    RUNNING = 1
    DONE = 2
    ABORTED = 3


@dataclass(frozen=True, slots=True)
class MotionStep:
    """What to drive now, and how far the motion is, measured by odometry from the anchor.

    remaining_m: along the line, 0 for a turn. remaining_rad: to the goal's yaw, left > 0.
    executed_m: from the anchor along its heading. executed_rad: since the anchor's yaw.
    commanded_m, commanded_rad: the path of the commands so far, each way counted.
    fault, detail: why aborted, NONE and empty otherwise.
    """

    command: VelocityCommand
    state: MotionState
    remaining_m: float = 0.0
    remaining_rad: float = 0.0
    executed_m: float = 0.0
    executed_rad: float = 0.0
    commanded_m: float = 0.0
    commanded_rad: float = 0.0
    fault: MotionFault = MotionFault.NONE
    detail: str = ""
