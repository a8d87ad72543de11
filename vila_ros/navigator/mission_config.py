"""When a mission is given up: the parameters `mission.` of the navigator, and a goal's own limits.

Where the numbers come from: a robot with up to 0.15 s of delay turns 345 to 366 degrees in 24, 12 or 8 parts of a full
circle, so 380 leaves a look around alone. In 150 episodes with the embedded checkpoint those that arrived within that
drove at most 6.2 m and had at most 14 idle motions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vila_core.config import from_mapping
from vila_core.control.limits import STILL_MPS, STILL_RPS
from vila_core.errors import ConfigError

_MAY_BE_ZERO = ("max_distance_m", "stop_at_start_probability", "client_timeout_s")


@dataclass(frozen=True, slots=True)
class MissionConfig:
    """When a mission is given up. 0 means no limit where that is said."""

    max_bad_replies: int = 3  # replies in a row that are no action end the mission
    max_backend_errors: int = 3  # failed or late decisions in a row end the mission
    max_aborts: int = 3  # motions in a row that the controller refused or aborted end the mission
    max_aborts_total: int = 10  # so many of them in all do too
    max_decisions: int = 100  # a mission that needs more is given up
    max_duration_s: float = 300.0  # a mission that lasts longer is given up
    max_distance_m: float = 50.0  # a mission that drives farther is given up; 0: no limit
    image_timeout_s: float = 3.0  # so long without a usable image ends the mission
    odometry_timeout_s: float = 2.0  # so long without odometry ends the mission
    controller_timeout_s: float = 2.0  # so long without a controller, or its report on a motion, ends the mission
    stop_timeout_s: float = 3.0  # time to stand still after the model's stop
    client_timeout_s: float = 2.0  # a goal whose client has left the graph for so long ends; 0: it goes on
    max_rotation_rad: float = math.radians(380.0)  # net turn without progress that ends it: once round, not quite exact
    max_search_rad: float = math.radians(1440.0)  # turns in all, left and right, that end a search: four times round
    max_idle_motions: int = 16  # motions without progress and without a new heading that end it: swings to and fro
    progress_m: float = 0.3  # distance from where it last got on that counts as progress
    stop_at_start_probability: float = 0.5  # a stop before the first motion counts as arrival only if it is so sure
    still_mps: float = STILL_MPS  # slower than this and than still_rps it stands still
    still_rps: float = STILL_RPS  # see still_mps

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            least_ok = value >= 0 if name in _MAY_BE_ZERO else value > 0
            if not (math.isfinite(value) and least_ok):
                raise ConfigError(f"{name} = {value!r}: must be finite and {'0 or above' if value < 0 else 'above 0'}")
        if self.stop_at_start_probability > 1:
            raise ConfigError(f"stop_at_start_probability = {self.stop_at_start_probability!r}: must be at most 1")


def limited(
    config: MissionConfig, *, max_decisions: int, max_duration_s: float, max_distance_m: float
) -> MissionConfig:
    """Return the configuration with a goal's own limits; 0 keeps the node's.

    Raises ConfigError for a negative or non-finite limit.
    """
    given = {"max_decisions": max_decisions, "max_duration_s": max_duration_s, "max_distance_m": max_distance_m}
    own = {name: getattr(config, name) for name in config.__slots__}
    return from_mapping(MissionConfig, own | {name: value for name, value in given.items() if value != 0})
