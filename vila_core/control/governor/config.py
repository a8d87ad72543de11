"""The limits of the governor, which hold whatever the model, the navigator and the controller say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from vila_core.config import check_fields
from vila_core.fields import AT_ONCE, FROM_NEXT_ACTION, Bounds


@dataclass(frozen=True, slots=True)
class GovernorConfig:
    """Speeds, lives and patience of the governor."""

    # speed limit, whatever is commanded
    max_linear_mps: Annotated[float, Bounds(above=0, most=3), AT_ONCE] = 0.3
    # turning speed limit, whatever is commanded
    max_angular_rps: Annotated[float, Bounds(above=0, most=6), AT_ONCE] = 0.5
    # growth of speed; a stop is not delayed by it
    max_linear_accel_mps2: Annotated[float, Bounds(least=0.01, most=10), AT_ONCE] = 1.0
    # growth of turning speed; a stop is not delayed by it
    max_angular_accel_rps2: Annotated[float, Bounds(least=0.01, most=50), AT_ONCE] = 2.0
    # growth of acceleration, for a gentle start
    max_linear_jerk_mps3: Annotated[float, Bounds(least=0.01, most=1000), AT_ONCE] = 10.0
    # growth of angular acceleration, for a gentle start
    max_angular_jerk_rps3: Annotated[float, Bounds(least=0.01, most=1000), AT_ONCE] = 40.0
    # a velocity command is obeyed for so long
    command_life_s: Annotated[float, Bounds(least=0.05, most=5), AT_ONCE] = 0.3
    # the robot stands while the watchdog has been silent for so long
    watchdog_life_s: Annotated[float, Bounds(least=0.05, most=10), AT_ONCE] = 0.3
    # a controller amid a motion, navigator or watchdog that is silent so long ends the mission
    lost_s: Annotated[float, Bounds(least=0.05, most=60), AT_ONCE] = 0.4
    # a governor that was not run for so long amid a mission ends it
    held_up_s: Annotated[float, Bounds(least=0.05, most=60), AT_ONCE] = 0.4
    # the operator's last command is obeyed for so long
    operator_s: Annotated[float, Bounds(least=0.05, most=10), AT_ONCE] = 0.5
    # after a stop zeros are published for so long, then nothing
    stop_publish_s: Annotated[float, Bounds(least=0.1, most=3600), AT_ONCE] = 1.0
    # the commands of an action may add up to its size and this share of it, or 0.1 m
    extra_share: Annotated[float, Bounds(above=0, most=10), FROM_NEXT_ACTION] = 0.2
    # an action that drives farther passes nothing
    max_distance_m: Annotated[float, Bounds(above=0, most=10), FROM_NEXT_ACTION] = 0.75
    # an action that turns farther passes nothing
    max_turn_rad: Annotated[float, Bounds(above=0, most=3.1416), FROM_NEXT_ACTION] = math.radians(45.0)
    # turning that may be commanded for a forward action
    max_steering_rad: Annotated[float, Bounds(above=0, most=63), FROM_NEXT_ACTION] = math.radians(90.0)
    # a forward action may take as long as its size at this speed needs, and extra_time_s
    slowest_mps: Annotated[float, Bounds(least=0.001, most=3), FROM_NEXT_ACTION] = 0.04
    # a turn may take as long as its size at this speed needs, and extra_time_s
    slowest_rps: Annotated[float, Bounds(least=0.001, most=6), FROM_NEXT_ACTION] = 0.045
    # an action may take so long besides its size at the slowest speed
    extra_time_s: Annotated[float, Bounds(above=0, most=600), FROM_NEXT_ACTION] = 2.0

    def __post_init__(self) -> None:
        check_fields(self)
