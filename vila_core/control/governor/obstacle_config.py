"""Settings of the obstacle guard and of the sensors that it believes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from vila_core.config import check_fields
from vila_core.control.governor.polygons import HERE, Circle, Shape, parse_shape
from vila_core.errors import ConfigError
from vila_core.fields import AT_ONCE, FROM_NEXT_MEASUREMENT, Bounds, OneOf

SOURCES = ("scan", "cloud", "depth")
RELIABILITIES = ("best_effort", "reliable")
SLOWEST_MPS = 0.1  # a slower robot may come nearer than the stop margin: it stops as many seconds before as this one
_MOST_STEPS = 500  # of a simulated path: more take longer than the governor has between two ticks

Mount = tuple[float, float, float, float, float]  # x, y, z in m, yaw, pitch in rad


@dataclass(frozen=True, slots=True)
class ObstacleConfig:
    """What stops or slows the robot, and which sensors tell; the defaults fit a round robot of 0.4 m."""

    sources: str = "scan"  # sensors that count, comma separated, of scan, cloud, depth; empty: none
    required: bool = True  # stand still while one of the sources is missing or too old
    source_timeout_s: Annotated[float, Bounds(least=0.02, most=10), AT_ONCE] = 0.5  # an older measurement is none
    footprint_radius_m: Annotated[float, Bounds(least=0.01, most=10), AT_ONCE] = 0.2  # size of a round robot
    # "[[x, y], ...]" of a robot that is not round, in base_frame; empty: the radius
    footprint: Annotated[str, AT_ONCE] = ""
    # path that must be left before something is touched
    stop_margin_m: Annotated[float, Bounds(least=0, most=10), AT_ONCE] = 0.1
    side_margin_m: Annotated[float, Bounds(least=0, most=10), AT_ONCE] = 0.02  # distance at which things are passed
    # nearer than this the speed falls with the time that is left
    time_before_collision_s: Annotated[float, Bounds(least=0.1, most=10), AT_ONCE] = 1.0
    # between two places of the footprint along its path
    simulation_time_step_s: Annotated[float, Bounds(least=0.02, most=1), AT_ONCE] = 0.1
    creep_mps: Annotated[float, Bounds(least=0.001, most=1), AT_ONCE] = 0.02  # a slower robot counts as standing
    # after a stop something this quick must be possible before the robot moves again; at least creep_mps
    resume_mps: Annotated[float, Bounds(least=0.001, most=1), AT_ONCE] = 0.05
    # things that come nearer within lookahead_s slow the robot down; 0: none does
    slow_distance_m: Annotated[float, Bounds(least=0, most=10), AT_ONCE] = 0.15
    # share of the wanted speed near things and in the slow zone
    slow_ratio: Annotated[float, Bounds(least=0.01, most=1), AT_ONCE] = 0.5
    # of the slow distance: it reaches farther ahead the quicker the robot is
    lookahead_s: Annotated[float, Bounds(least=0, most=5), AT_ONCE] = 0.5
    # fewer within 0.1 m of each other are taken for noise
    min_points: Annotated[int, Bounds(least=1, most=1000), AT_ONCE] = 2
    # measurements that are older than a sensor's newest by at most this still count
    memory_s: Annotated[float, Bounds(least=0, most=1), FROM_NEXT_MEASUREMENT] = 0.15
    # nothing may come nearer inside it: "[[x, y], ...]" in base_frame, or a radius; empty: none
    stop_zone: Annotated[str, AT_ONCE] = ""
    # things that come nearer inside it slow the robot to slow_ratio; as stop_zone
    slow_zone: Annotated[str, AT_ONCE] = ""
    # things that come nearer inside it slow it to limit_linear_mps and limit_angular_rps; as stop_zone
    limit_zone: Annotated[str, AT_ONCE] = ""
    # top speed with something in the limit zone
    limit_linear_mps: Annotated[float, Bounds(least=0, most=10), AT_ONCE] = 0.2
    # top turning speed with something in the limit zone
    limit_angular_rps: Annotated[float, Bounds(least=0, most=10), AT_ONCE] = 0.5
    # points nearer to the robot's middle are its own parts
    ignore_radius_m: Annotated[float, Bounds(least=0, most=10), FROM_NEXT_MEASUREMENT] = 0.0
    base_frame: str = "base_link"  # tf frame of the footprint and the zones
    scan_mount: str = ""  # laser in base_frame: x y z yaw pitch (m, rad); empty: from tf; without tf at its origin
    cloud_mount: str = ""  # of the cloud's sensor: x y z yaw pitch; empty: from tf, without which it must be given
    depth_mount: str = ""  # the same of the depth camera's body: x ahead, not of its optical frame
    # lower points of cloud and depth are floor; below max_height_m
    min_height_m: Annotated[float, Bounds(least=-10, most=10), FROM_NEXT_MEASUREMENT] = 0.04
    # higher points of cloud and depth pass over the robot
    max_height_m: Annotated[float, Bounds(least=-10, most=10), FROM_NEXT_MEASUREMENT] = 1.2
    # farther points of cloud and depth do not count
    max_range_m: Annotated[float, Bounds(least=0.1, most=100), FROM_NEXT_MEASUREMENT] = 3.0
    # share of rays ahead that are not known, above which a measurement is none
    max_unknown: Annotated[float, Bounds(least=0, most=1), FROM_NEXT_MEASUREMENT] = 0.5
    # of our end of the sensors' topics; reliable where the sensors are
    reliability: Annotated[str, OneOf(RELIABILITIES)] = "best_effort"
    # of our end of the laser's topic; empty: as reliability
    scan_reliability: Annotated[str, OneOf(("", *RELIABILITIES))] = ""
    # of our end of the cloud's topic; empty: as reliability
    cloud_reliability: Annotated[str, OneOf(("", *RELIABILITIES))] = ""
    # of our end of the depth camera's topics; empty: as reliability
    depth_reliability: Annotated[str, OneOf(("", *RELIABILITIES))] = ""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in self.source_names:
            if name not in SOURCES:
                raise ConfigError(f"sources = {name!r}: must be of {', '.join(SOURCES)}")
        if self.required and not self.source_names:
            raise ConfigError("sources is empty, but required is true: name a sensor, or set required to false")
        if self.resume_mps < self.creep_mps:
            raise ConfigError(f"resume_mps = {self.resume_mps}: must be at least creep_mps = {self.creep_mps}")
        if self.min_height_m >= self.max_height_m:
            raise ConfigError(f"min_height_m = {self.min_height_m}: must be below max_height_m = {self.max_height_m}")
        if self.simulated_s > _MOST_STEPS * self.simulation_time_step_s:
            least_s = self.simulated_s / _MOST_STEPS
            raise ConfigError(
                f"simulation_time_step_s = {self.simulation_time_step_s}: must be at least {least_s:.2g} to simulate "
                f"{self.simulated_s:.4g} s, of time_before_collision_s, source_timeout_s and stop_margin_m"
            )
        if self.outline.distances(np.zeros((1, 2), np.float32), HERE)[0, 0] >= 0:
            raise ConfigError(f"footprint = {self.footprint[:80]!r}: must hold the origin of {self.base_frame}")
        for name in ("stop_zone", "slow_zone", "limit_zone"):
            parse_shape(getattr(self, name), name)
        for name in SOURCES:
            self.mount(name)

    def reliability_of(self, source: str) -> str:
        """Return the reliability of our end of a source's topics."""
        return str(getattr(self, f"{source}_reliability")) or self.reliability

    @property
    def simulated_s(self) -> float:
        """How far ahead the robot's path is simulated at most."""
        return self.time_before_collision_s + self.source_timeout_s + self.stop_margin_m / SLOWEST_MPS

    @property
    def source_names(self) -> tuple[str, ...]:
        """The sources, each once."""
        return tuple(dict.fromkeys(name.strip() for name in self.sources.split(",") if name.strip()))

    @property
    def outline(self) -> Shape:
        """The robot's outline."""
        return parse_shape(self.footprint, "footprint") or Circle(self.footprint_radius_m)

    def zone(self, name: str) -> Shape | None:
        """Return the shape of the stop, slow or limit zone, None if there is none."""
        return parse_shape(getattr(self, f"{name}_zone"), f"{name}_zone")

    def mount(self, source: str) -> Mount | None:
        """Return where a source's sensor is mounted, None if tf must tell. Raises ConfigError if it is no mount."""
        text = getattr(self, f"{source}_mount")
        if not text.strip():
            return None
        try:
            x, y, z, yaw, pitch = (float(word) for word in text.replace(",", " ").split())
        except ValueError as err:
            raise ConfigError(f'{source}_mount = {text[:80]!r}: write five numbers, "x y z yaw pitch" ({err})') from err
        if not all(math.isfinite(value) and abs(value) <= 100.0 for value in (x, y, z, yaw, pitch)):
            raise ConfigError(f"{source}_mount = {text[:80]!r}: must be finite metres and radians")
        return x, y, z, yaw, pitch
