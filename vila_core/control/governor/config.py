"""The limits of the governor, which hold whatever the model, the navigator and the controller say."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from vila_core.config import check_fields
from vila_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class GovernorConfig:
    """Speeds, lives and patience of the governor; all are above 0."""

    max_linear_mps: float = 0.3  # speed limit
    max_angular_rps: float = 0.5  # turning speed limit
    max_linear_accel_mps2: float = 1.0  # change of speed; a stop is not delayed by it
    max_angular_accel_rps2: float = 2.0  # change of turning speed; a stop is not delayed by it
    max_linear_jerk_mps3: float = 10.0  # growth of acceleration
    max_angular_jerk_rps3: float = 40.0  # growth of angular acceleration
    command_life_s: float = 0.3  # a velocity command is obeyed for so long
    watchdog_life_s: float = 0.3  # the robot stands while the watchdog has been silent for so long
    lost_s: float = 0.8  # a controller amid a motion, navigator or watchdog that is silent so long ends the mission
    held_up_s: float = 0.5  # a governor that was not run for so long amid a mission ends it
    operator_s: float = 0.5  # the operator's last command is obeyed for so long
    stop_publish_s: float = 1.0  # after a stop zeros are published for so long, then nothing
    extra_share: float = 0.2  # the commands of an action may add up to its size and this share of it, or 0.1 m
    max_distance_m: float = 0.75  # a longer action passes nothing
    max_turn_rad: float = math.radians(45.0)  # a larger action passes nothing
    max_steering_rad: float = math.radians(90.0)  # turning that may be commanded for a forward action
    slowest_mps: float = 0.04  # an action may take as long as its size at this speed needs, and
    slowest_rps: float = 0.045  # see slowest_mps
    extra_time_s: float = 2.0  # so long besides

    def __post_init__(self) -> None:
        check_fields(self)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ConfigError(f"{field.name} = {value!r}: must be above 0")
