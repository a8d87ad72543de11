"""What the simulator node simulates: its parameters, and the flat, the start and the script that they ask for."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated

from vila_core.config import check_fields
from vila_core.errors import ConfigError
from vila_core.fields import Bounds, OneOf, Settable
from vila_core.types import Pose
from vila_ros.common.qos import RELIABILITIES
from vila_ros.common.velocity import VELOCITY_TYPES
from vila_sim.episodes.episode_files import parse_world_name, world_name
from vila_sim.episodes.route import Route
from vila_sim.episodes.scenario import first_pose, live_world, named_pair
from vila_sim.episodes.splits import split_flat
from vila_sim.events.patrol_scenario import DURATION_S, make_patrol
from vila_sim.events.scripted_events import Script
from vila_sim.flats.scene import Flat

PATROL = "patrol"
FROM_NEXT_RESET = Settable("from the next ~/reset on")


@dataclass(frozen=True, slots=True)
class SimulatorNodeConfig:
    """The parameters of the node itself; the camera's are `camera.*`, the robot's `robot.*`."""

    # a flat by its name in episode files, such as flat/12 or flat/rich/12; empty: chosen by seed and instruction
    world: Annotated[str, FROM_NEXT_RESET] = ""
    # which flat, where the robot starts, and what happens
    seed: Annotated[int, Bounds(least=-2_147_483_648, most=2_147_483_647), FROM_NEXT_RESET] = 0
    # "patrol": doors, and once ~/begin is called things happen on a patrol; empty: none
    scripted_events: Annotated[str, OneOf(("", PATROL))] = ""
    scripted_events_s: Annotated[float, Bounds(above=0, most=1000)] = DURATION_S  # how long the patrol is
    scripted_events_drive: bool = True  # the robot drives the patrol by itself, deaf to cmd_vel until it is over
    # the flat will hold what it names, the robot starts in that room; empty: anything
    instruction: Annotated[str, FROM_NEXT_RESET] = ""
    # where the robot begins, along the flat's x; NaN: chosen by the seed
    start_x_m: Annotated[float, Bounds(least=-1000, most=1000), FROM_NEXT_RESET] = math.nan
    # where the robot begins, along the flat's y; NaN: chosen by the seed
    start_y_m: Annotated[float, Bounds(least=-1000, most=1000), FROM_NEXT_RESET] = math.nan
    # heading in which the robot begins, left of x; NaN: chosen by the seed
    start_yaw_rad: Annotated[float, Bounds(least=-1000, most=1000), FROM_NEXT_RESET] = math.nan
    realtime_factor: Annotated[float, Bounds(above=0, most=1000)] = 1.0  # simulated seconds in one of the wall clock's
    publish_clock: bool = True  # false: the /clock of another simulator is followed, whatever realtime_factor says
    # of images published, in simulated time as all rates here
    image_rate_hz: Annotated[float, Bounds(least=0.01, most=1000)] = 10.0
    odometry_rate_hz: Annotated[float, Bounds(least=0.01, most=1000)] = 30.0  # of messages that tell where the robot is
    scan_rate_hz: Annotated[float, Bounds(least=0.01, most=1000)] = 10.0  # of turns of the laser, published as scans
    scan_rays: Annotated[int, Bounds(least=1, most=1000)] = 180  # directions that the laser measures in a full circle
    # of point clouds, of a laser with many rings in the same place
    cloud_rate_hz: Annotated[float, Bounds(least=0.01, most=1000)] = 10.0
    # of our end of the images
    image_reliability: Annotated[str, OneOf(tuple(RELIABILITIES))] = "best_effort"
    # of cmd_vel: stamped, plain, or auto, as the ROS distribution has it
    velocity_type: Annotated[str, OneOf(VELOCITY_TYPES)] = "auto"
    odometry_frame: str = "odom"  # frame_id of the odometry that is published
    base_frame: str = "base_link"  # child_frame_id of odometry
    publish_tf: bool = True  # odometry_frame to base_frame, and where camera and laser are, if tf2_msgs is installed
    camera_link: str = "camera_link"  # frame of the camera's body in tf, x ahead
    camera_frame: str = "camera_optical"  # frame_id of the images that are published
    scan_frame: str = "laser"  # frame_id of scans and point clouds

    def __post_init__(self) -> None:
        check_fields(self)
        if self.scripted_events and self.world:
            raise ConfigError(f"world = {self.world!r}: must be empty where events are scripted")
        if self.world:
            parse_world_name(self.world)
        if self.scripted_events and self.instruction:
            raise ConfigError(f"instruction = {self.instruction!r}: must be empty where events are scripted")


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """A flat, the robot's start in it, and what happens there.

    config: what it was made of. name: of the flat, as in episode files; of a patrol, its seed. script: what happens
    once it is begun, None if nothing is. route: where the robot then drives, None if it is told by cmd_vel.
    """

    config: SimulatorNodeConfig
    name: str
    flat: Flat
    start: Pose
    script: Script | None = None
    route: Route | None = None


def make_world(config: SimulatorNodeConfig) -> World:
    """Build the world that the parameters ask for; a start that is given replaces the chosen one."""
    if config.scripted_events:
        patrol = make_patrol(config.seed, config.scripted_events_s)
        route = patrol.route if config.scripted_events_drive else None
        name = f"{PATROL}/{config.seed}"
        return World(config, name, patrol.flat, _overridden(patrol.route.start, config), patrol.script, route)
    if config.world:
        flat = split_flat(*parse_world_name(config.world))
        return World(config, config.world, flat, _overridden(first_pose(flat), config))
    flat, start = live_world(config.seed, config.instruction)
    pairs = (named_pair(config.instruction),) if config.instruction else ()
    return World(config, world_name(flat.seed, pairs), flat, _overridden(start, config))


def _overridden(pose: Pose, config: SimulatorNodeConfig) -> Pose:
    given = {"x_m": config.start_x_m, "y_m": config.start_y_m, "yaw_rad": config.start_yaw_rad}
    return dataclasses.replace(pose, **{name: value for name, value in given.items() if math.isfinite(value)})
