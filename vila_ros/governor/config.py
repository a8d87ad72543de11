"""The parameters of the governor node that are not the governor's own (`limits.*`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from vila_core.config import check_fields
from vila_core.fields import AT_ONCE, Bounds, OneOf
from vila_ros.common.qos import RELIABILITIES
from vila_ros.common.velocity import VELOCITY_TYPES


@dataclass(frozen=True, slots=True)
class GovernorNodeConfig:
    """Who may command, how the operator takes over, what is published how often."""

    # of velocity commands while something passes
    rate_hz: Annotated[float, Bounds(least=10, most=200), AT_ONCE] = 50.0
    # of all velocity topics: stamped, plain, or auto, as the ROS distribution has it
    velocity_type: Annotated[str, OneOf(VELOCITY_TYPES)] = "auto"
    base_frame: str = "base_link"  # frame_id of stamped velocities
    navigator: str = "navigator"  # name of the node whose missions and actions count
    controller: str = "controller"  # name of the node whose commands pass
    watchdog: str = "watchdog"  # name of the node that publishes zero if this one dies
    needs_watchdog: bool = True  # false: a mission runs without it too
    publishes_alone: bool = True  # false: other publishers of cmd_vel are let be
    # of our end of emergency_stop; best_effort where its publisher is
    emergency_stop_reliability: Annotated[str, OneOf(tuple(RELIABILITIES))] = "reliable"
    # index of the button that stops, and stays so; -1: none does
    joy_emergency_button: Annotated[int, Bounds(least=-1, most=1000)] = -1
    # an axis that leaves its rest by more is the operator's
    joy_deadzone: Annotated[float, Bounds(above=0, below=1)] = 0.2
    # of the process, as `nice` counts: the lower the sooner it is run; where it is not allowed, that is told
    priority: Annotated[int, Bounds(least=-20, most=19)] = -10

    def __post_init__(self) -> None:
        check_fields(self)
