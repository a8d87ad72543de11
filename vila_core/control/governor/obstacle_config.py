"""Settings of the obstacle guard and of the sensors that it believes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vila_core.config import check_fields
from vila_core.control.governor.polygons import HERE, Circle, Shape, parse_shape
from vila_core.errors import ConfigError

SOURCES = ("scan", "cloud", "depth")
RELIABILITIES = ("best_effort", "reliable")

Mount = tuple[float, float, float, float, float]  # x, y, z in m, yaw, pitch in rad


@dataclass(frozen=True, slots=True)
class ObstacleConfig:
    """What stops or slows the robot, and which sensors tell; the defaults fit a round robot of 0.4 m."""

    sources: str = "scan"  # comma separated, of scan, cloud, depth; empty: none
    required: bool = True  # stand still while one of the sources is missing or too old
    source_timeout_s: float = 0.5  # an older measurement is none
    footprint_radius_m: float = 0.2  # of a round robot
    footprint: str = ""  # "[[x, y], ...]" of one that is not round, in base_frame; empty: the radius
    stop_margin_m: float = 0.1  # path that must be left before something is touched
    side_margin_m: float = 0.02  # distance at which things are passed
    time_before_collision_s: float = 1.0  # nearer than this the speed falls with the time that is left
    simulation_time_step_s: float = 0.1  # of the footprint along its path
    creep_mps: float = 0.02  # slower than this counts as standing
    resume_mps: float = 0.05  # after a stop something this quick must be possible before the robot moves again
    slow_distance_m: float = 0.15  # things that come nearer within lookahead_s slow the robot down; 0: none does
    slow_ratio: float = 0.5  # of the wanted speed, there
    lookahead_s: float = 0.5  # of the slow distance: it reaches farther ahead the quicker the robot is
    min_points: int = 2  # fewer within 0.1 m of each other are taken for noise
    memory_s: float = 0.15  # measurements that are older than a sensor's newest by at most this still count
    stop_zone: str = ""  # nothing may come nearer inside it: "[[x, y], ...]" in base_frame, or a radius; empty: none
    slow_zone: str = ""  # the same, for slow_ratio
    limit_zone: str = ""  # the same, for limit_linear_mps and limit_angular_rps
    limit_linear_mps: float = 0.2  # top speed with something in the limit zone
    limit_angular_rps: float = 0.5  # top turning speed, there
    ignore_radius_m: float = 0.0  # points nearer to the robot's middle are its own parts
    base_frame: str = "base_link"  # frame of the footprint and the zones
    scan_mount: str = ""  # laser in base_frame: x y z yaw pitch (m, rad); empty: from tf; without tf at its origin
    cloud_mount: str = ""  # of the cloud's sensor: x y z yaw pitch; empty: from tf, without which it must be given
    depth_mount: str = ""  # the same of the depth camera's body: x ahead, not of its optical frame
    min_height_m: float = 0.04  # lower points of cloud and depth are floor
    max_height_m: float = 1.2  # higher points of cloud and depth pass over the robot
    max_range_m: float = 3.0  # farther points of cloud and depth do not count
    max_unknown: float = 0.5  # share of unknown rays ahead, above which a measurement is none
    reliability: str = "best_effort"  # of our end of the sensors' topics; or reliable
    scan_reliability: str = ""  # of our end of the laser's topic; empty: as reliability
    cloud_reliability: str = ""  # of our end of the cloud's topic; empty: as reliability
    depth_reliability: str = ""  # of our end of the depth camera's topics; empty: as reliability

    def __post_init__(self) -> None:
        check_fields(self)
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} = {value!r}: must be {low:g} to {high:g}")
        _check_words("sources", self.source_names, SOURCES)
        _check_words("reliability", (self.reliability,), RELIABILITIES)
        for name in SOURCES:
            _check_words(f"{name}_reliability", (self.reliability_of(name),), RELIABILITIES)
        if self.required and not self.source_names:
            raise ConfigError("sources is empty, but required is true: name a sensor, or set required to false")
        if self.resume_mps < self.creep_mps:
            raise ConfigError(f"resume_mps = {self.resume_mps}: must be at least creep_mps = {self.creep_mps}")
        if self.min_height_m >= self.max_height_m:
            raise ConfigError(f"min_height_m = {self.min_height_m}: must be below max_height_m = {self.max_height_m}")
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


_RANGES: dict[str, tuple[float, float]] = {
    "source_timeout_s": (0.02, 10.0),
    "footprint_radius_m": (0.01, 10.0),
    "stop_margin_m": (0.0, 10.0),
    "side_margin_m": (0.0, 10.0),
    "time_before_collision_s": (0.1, 10.0),
    "simulation_time_step_s": (0.02, 1.0),
    "creep_mps": (0.001, 1.0),
    "resume_mps": (0.001, 1.0),
    "slow_distance_m": (0.0, 10.0),
    "slow_ratio": (0.01, 1.0),
    "lookahead_s": (0.0, 5.0),
    "min_points": (1, 1000),
    "memory_s": (0.0, 1.0),
    "limit_linear_mps": (0.0, 10.0),
    "limit_angular_rps": (0.0, 10.0),
    "ignore_radius_m": (0.0, 10.0),
    "min_height_m": (-10.0, 10.0),
    "max_height_m": (-10.0, 10.0),
    "max_range_m": (0.1, 100.0),
    "max_unknown": (0.0, 1.0),
}


def _check_words(name: str, words: tuple[str, ...], known: tuple[str, ...]) -> None:
    for word in words:
        if word not in known:
            raise ConfigError(f"{name} = {word!r}: must be of {', '.join(known)}")
