"""What the simulator node simulates: its parameters, and the flat, the start and the script that they ask for."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from vila_core.errors import ConfigError
from vila_core.types import Pose
from vila_sim.patrol_scenario import DURATION_S, make_patrol
from vila_sim.robot import (
    BASE_FRAME,
    CAMERA_FRAME,
    CLOUD_RATE_HZ,
    IMAGE_RATE_HZ,
    ODOMETRY_FRAME,
    ODOMETRY_RATE_HZ,
    SCAN_FRAME,
    SCAN_RATE_HZ,
    SCAN_RAYS,
)
from vila_sim.route import Route
from vila_sim.scenario import live_world
from vila_sim.scene import Flat
from vila_sim.scripted_events import Script

PATROL = "patrol"


@dataclass(frozen=True, slots=True)
class SimulatorNodeConfig:
    """The parameters of the node itself; the camera's are `camera.*`, the robot's `robot.*`."""

    seed: int = 0  # which flat, where the robot starts, and what happens
    scripted_events: str = ""  # "patrol": doors, and once ~/begin is called things happen on a patrol; empty: none
    scripted_events_s: float = DURATION_S  # how long the patrol is
    scripted_events_drive: bool = True  # the robot drives the patrol by itself, deaf to cmd_vel until it is over
    instruction: str = ""  # the flat will hold what it names, the robot starts in that room; empty: anything
    start_x_m: float = math.nan  # NaN: chosen by the seed
    start_y_m: float = math.nan  # see start_x_m
    start_yaw_rad: float = math.nan  # see start_x_m
    realtime_factor: float = 1.0  # simulated seconds in one of the wall clock's
    image_rate_hz: float = IMAGE_RATE_HZ  # of simulated time, as all rates here
    odometry_rate_hz: float = ODOMETRY_RATE_HZ  # of odometry
    scan_rate_hz: float = SCAN_RATE_HZ  # of laser scans
    scan_rays: int = SCAN_RAYS  # in a full circle
    cloud_rate_hz: float = CLOUD_RATE_HZ  # of point clouds, of a laser with many rings in the same place
    image_reliability: str = "best_effort"  # of the images; or reliable
    velocity_type: str = "auto"  # of cmd_vel: stamped, plain, or as the ROS distribution has it
    odometry_frame: str = ODOMETRY_FRAME  # frame_id of odometry
    base_frame: str = BASE_FRAME  # child_frame_id of odometry
    camera_frame: str = CAMERA_FRAME  # frame_id of images
    scan_frame: str = SCAN_FRAME  # frame_id of scans and point clouds

    def __post_init__(self) -> None:
        rates = ("realtime_factor", "image_rate_hz", "odometry_rate_hz", "scan_rate_hz", "cloud_rate_hz")
        for name in (*rates, "scan_rays", "scripted_events_s"):
            value = getattr(self, name)
            if not 0 < value <= 1000:
                raise ConfigError(f"{name} = {value!r}: must be above 0 and at most 1000")
        if self.scripted_events not in ("", PATROL):
            raise ConfigError(f"scripted_events = {self.scripted_events!r}: must be {PATROL!r} or empty")
        if self.scripted_events and self.instruction:
            raise ConfigError(f"instruction = {self.instruction!r}: must be empty where events are scripted")


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """A flat, the robot's start in it, and what happens there.

    script: what happens once it is begun. route: where the robot then drives, None if it is told by cmd_vel.
    """

    flat: Flat
    start: Pose
    script: Script = ()
    route: Route | None = None


def make_world(config: SimulatorNodeConfig) -> World:
    """Build the world that the parameters ask for; a start that is given replaces the chosen one."""
    if config.scripted_events:
        patrol = make_patrol(config.seed, config.scripted_events_s)
        route = patrol.route if config.scripted_events_drive else None
        return World(patrol.flat, _overridden(patrol.route.start, config), patrol.script, route)
    flat, start = live_world(config.seed, config.instruction)
    return World(flat, _overridden(start, config))


def _overridden(pose: Pose, config: SimulatorNodeConfig) -> Pose:
    given = {"x_m": config.start_x_m, "y_m": config.start_y_m, "yaw_rad": config.start_yaw_rad}
    return dataclasses.replace(pose, **{name: value for name, value in given.items() if math.isfinite(value)})
