"""The parameters of the governor node that are not the governor's own (`limits.*`)."""

from __future__ import annotations

from dataclasses import dataclass

from vila_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class GovernorNodeConfig:
    """Who may command, how the operator takes over, what is published how often."""

    rate_hz: float = 50.0  # of velocity commands while something passes
    velocity_type: str = "auto"  # of all velocity topics: stamped, plain, or as the ROS distribution has it
    base_frame: str = "base_link"  # frame_id of stamped velocities
    navigator: str = "navigator"  # name of the node whose missions and actions count
    controller: str = "controller"  # name of the node whose commands pass
    watchdog: str = "watchdog"  # name of the node that publishes zero if this one dies
    needs_watchdog: bool = True  # false: a mission runs without it too
    publishes_alone: bool = True  # false: other publishers of cmd_vel are let be
    emergency_stop_reliability: str = "reliable"  # of our end of emergency_stop; or best_effort, where its publisher is
    joy_emergency_button: int = -1  # index of the joystick's button that stops, and stays so; -1: none
    joy_deadzone: float = 0.2  # an axis that leaves its rest by more is the operator's
    priority: int = -10  # of the process, as `nice` counts: -20 to 19; where it is not allowed, that is told

    def __post_init__(self) -> None:
        if not 10.0 <= self.rate_hz <= 200.0:
            raise ConfigError(f"rate_hz = {self.rate_hz!r}: must be from 10 to 200")
        if not 0.0 < self.joy_deadzone < 1.0:
            raise ConfigError(f"joy_deadzone = {self.joy_deadzone!r}: must be above 0 and below 1")
        if not -20 <= self.priority <= 19:
            raise ConfigError(f"priority = {self.priority!r}: must be from -20 to 19")
