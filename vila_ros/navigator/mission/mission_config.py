"""When a mission is given up: the parameters `mission.` of the navigator, and a goal's own limits.

Where the numbers come from: a robot with up to 0.15 s of delay turns 345 to 366 degrees in 24, 12 or 8 parts of a full
circle, so 380 leaves a look around alone. In 150 episodes with the embedded checkpoint those that arrived within that
drove at most 6.2 m and had at most 14 idle motions; turning back after a look around (`look_again`) adds to those.
In 110 others they turned up to 1230 degrees in all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from vila_core.config import check_fields, from_mapping
from vila_core.control.limits import STILL_MPS, STILL_RPS
from vila_core.fields import FROM_NEXT_MISSION, Bounds


@dataclass(frozen=True, slots=True)
class MissionConfig:
    """When a mission is given up. 0 means no limit where that is said."""

    # replies in a row that are no action end the mission
    max_bad_replies: Annotated[int, Bounds(least=1, most=1_000_000), FROM_NEXT_MISSION] = 3
    # failed or late decisions in a row end the mission
    max_backend_errors: Annotated[int, Bounds(least=1, most=1_000_000), FROM_NEXT_MISSION] = 3
    # motions in a row that the controller refused or aborted end the mission
    max_aborts: Annotated[int, Bounds(least=1, most=1_000_000), FROM_NEXT_MISSION] = 3
    # so many refused or aborted motions in all end the mission
    max_aborts_total: Annotated[int, Bounds(least=1, most=1_000_000), FROM_NEXT_MISSION] = 10
    # a mission that needs more is given up
    max_decisions: Annotated[int, Bounds(least=1, most=1_000_000), FROM_NEXT_MISSION] = 100
    # a mission that lasts longer is given up
    max_duration_s: Annotated[float, Bounds(above=0, most=1_000_000), FROM_NEXT_MISSION] = 300.0
    # a mission that drives farther is given up; 0: no limit
    max_distance_m: Annotated[float, Bounds(least=0, most=1_000_000), FROM_NEXT_MISSION] = 50.0
    # so long without a usable image ends the mission
    image_timeout_s: Annotated[float, Bounds(above=0, most=600), FROM_NEXT_MISSION] = 3.0
    # so long without odometry ends the mission
    odometry_timeout_s: Annotated[float, Bounds(above=0, most=600), FROM_NEXT_MISSION] = 2.0
    # so long without a controller, or its report on a motion, ends the mission
    controller_timeout_s: Annotated[float, Bounds(above=0, most=600), FROM_NEXT_MISSION] = 2.0
    # time to stand still after the model's stop
    stop_timeout_s: Annotated[float, Bounds(above=0, most=600), FROM_NEXT_MISSION] = 3.0
    # a goal whose client has left the graph for so long ends; 0: it goes on
    client_timeout_s: Annotated[float, Bounds(least=0, most=600), FROM_NEXT_MISSION] = 2.0
    # net turn without progress that ends it: once round, not quite exact
    max_rotation_rad: Annotated[float, Bounds(above=0, most=1000), FROM_NEXT_MISSION] = math.radians(380.0)
    # turns in all, left and right, that end a search: four times round; those on a planned way do not count
    max_search_rad: Annotated[float, Bounds(above=0, most=10_000), FROM_NEXT_MISSION] = math.radians(1440.0)
    # so many without progress and without a new heading end it: swings to and fro
    max_idle_motions: Annotated[int, Bounds(least=1, most=1_000_000), FROM_NEXT_MISSION] = 24
    # distance from where it last got on that counts as progress
    progress_m: Annotated[float, Bounds(above=0, most=100), FROM_NEXT_MISSION] = 0.3
    # a stop before the first motion counts as arrival only if it is so sure
    stop_at_start_probability: Annotated[float, Bounds(least=0, most=1), FROM_NEXT_MISSION] = 0.5
    # a robot that drives slower than this, and turns slower than still_rps, stands
    still_mps: Annotated[float, Bounds(above=0, most=1), FROM_NEXT_MISSION] = STILL_MPS
    # a robot that turns slower than this, and drives slower than still_mps, stands
    still_rps: Annotated[float, Bounds(above=0, most=1), FROM_NEXT_MISSION] = STILL_RPS

    def __post_init__(self) -> None:
        check_fields(self)


def limited(
    config: MissionConfig, *, max_decisions: int, max_duration_s: float, max_distance_m: float
) -> MissionConfig:
    """Return the configuration with a goal's own limits; 0 keeps the node's.

    Raises ConfigError for a negative or non-finite limit.
    """
    given = {"max_decisions": max_decisions, "max_duration_s": max_duration_s, "max_distance_m": max_distance_m}
    own = {name: getattr(config, name) for name in config.__slots__}
    return from_mapping(MissionConfig, own | {name: value for name, value in given.items() if value != 0})
