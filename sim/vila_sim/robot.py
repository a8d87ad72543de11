"""The simulated robot, once for every simulator: what it can do, what it sees, and the parts that it is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from vila_core.config import check_fields
from vila_core.errors import ConfigError
from vila_core.fields import Bounds
from vila_sim.flats.scene import Primitive

MAX_IMAGE_PX = 2048

SCAN_RAYS, SCAN_MIN_M, SCAN_MAX_M = 180, 0.05, 8.0  # of the laser in one plane, in a full circle
CLOUD_RAYS, CLOUD_RINGS, CLOUD_MAX_M = 90, 16, 3.0  # of the laser with many rings, in the same place
RINGS_RAD = math.radians(75.0)  # up and down, of its outermost rings
IMAGE_RATE_HZ, ODOMETRY_RATE_HZ, SCAN_RATE_HZ, CLOUD_RATE_HZ = 10.0, 30.0, 10.0, 10.0
ODOMETRY_FRAME, BASE_FRAME, CAMERA_FRAME, SCAN_FRAME = "odom", "base_link", "camera_optical", "laser"

SERVO_S = 0.05  # time constant with which the base takes up a velocity
WHEEL_SERVO_S = 0.01  # of a wheel, on which casters and floor may drag
MAX_FORCE_N_PER_KG = 12.0  # of the base, for each kilogram of the robot

_GREY, _DARK = (0.3, 0.3, 0.32), (0.1, 0.1, 0.1)
_CLEARANCE_M = 0.04  # of the hull above the floor
_DECK_M = 0.10  # top of what is seen of the base: so low that the rays of the laser above pass over it
_WHEEL_RADIUS_M, _WHEEL_WIDTH_M, _WHEEL_KG = 0.05, 0.03, 0.5
_CASTER_RADIUS_M, _CASTER_GAP_M = 0.019, 0.0005  # the gap leaves the weight on the wheels
_BALLAST_M = 0.10  # height of the centre of mass


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """The robot's pinhole camera, above the middle of its base, looking ahead and down."""

    width_px: Annotated[int, Bounds(least=8, most=MAX_IMAGE_PX)] = 224  # columns of pixels in an image
    height_px: Annotated[int, Bounds(least=8, most=MAX_IMAGE_PX)] = 224  # rows of pixels in an image
    hfov_deg: Annotated[float, Bounds(least=10, most=150)] = 90.0  # horizontal field of view
    height_m: Annotated[float, Bounds(above=0, most=10)] = 0.9  # of the lens above the floor
    pitch_deg: Annotated[float, Bounds(least=-90, most=90)] = 12.0  # how far it looks down

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def focal_px(self) -> float:
        """Focal length in pixels, the same along both axes."""
        return self.width_px / 2 / math.tan(math.radians(self.hfov_deg) / 2)

    @property
    def vfov_deg(self) -> float:
        """Vertical field of view."""
        return math.degrees(2 * math.atan(self.height_px / 2 / self.focal_px))


@dataclass(frozen=True, slots=True)
class RobotConfig:
    """A round robot with a velocity-controlled planar base."""

    radius_m: Annotated[float, Bounds(above=0, most=5)] = 0.2  # size of the round robot
    height_m: Annotated[float, Bounds(above=0, most=10)] = 1.0  # of the robot above the floor
    mass_kg: Annotated[float, Bounds(above=0, most=10_000)] = 15.0  # of the whole robot, for its inertia
    max_linear_mps: Annotated[float, Bounds(above=0, most=10)] = 0.5  # what the base can drive at most
    max_angular_rps: Annotated[float, Bounds(above=0, most=30)] = 1.5  # what the base can turn at most
    command_life_s: Annotated[float, Bounds(above=0, most=1e6)] = 0.3  # an older velocity command counts as zero
    scan_height_m: Annotated[float, Bounds(above=0, most=10)] = 0.25  # of the laser above the floor

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class Wheel:
    """A driven wheel; it turns about the base's y axis, forward for positive speeds."""

    name: str  # of its link; its joint is NAME_joint
    position_m: tuple[float, float, float]  # of its middle, in the base's frame
    radius_m: float
    width_m: float
    mass_kg: float

    @property
    def contact(self) -> Primitive:
        """What touches the floor, in one point: a tyre that stands on its edges turns as if the wheels were nearer."""
        return Primitive("sphere", (self.radius_m, 0.0, 0.0), (0.0, 0.0, 0.0), _DARK)


@dataclass(frozen=True, slots=True)
class WheeledRobot:
    """The robot for simulators with a floor: what collides is MuJoCo's hull, what drives are two wheels.

    The base's frame is on the floor, x ahead. visuals: what is drawn; none of it stands before camera or lasers.
    casters: without friction. inertia_kgm2: of the base about its centre of mass, diagonal.
    """

    hull: Primitive
    visuals: tuple[Primitive, ...]
    casters: tuple[Primitive, ...]
    wheels: tuple[Wheel, Wheel]  # left, right
    base_kg: float
    centre_of_mass_m: tuple[float, float, float]
    inertia_kgm2: tuple[float, float, float]

    @property
    def wheel_damping_nms(self) -> float:
        """Torque of each wheel's servo, for each radian a second that it is too slow."""
        return self._mass_kg / 2 * self.wheels[0].radius_m ** 2 / WHEEL_SERVO_S

    @property
    def wheel_torque_nm(self) -> float:
        """What the servo of a wheel gives at most."""
        return self._mass_kg / 2 * MAX_FORCE_N_PER_KG * self.wheels[0].radius_m

    @property
    def _mass_kg(self) -> float:
        return self.base_kg + sum(wheel.mass_kg for wheel in self.wheels)

    @property
    def wheel_separation_m(self) -> float:
        """Between the middles of the wheels."""
        return self.wheels[0].position_m[1] - self.wheels[1].position_m[1]


def hull_of(robot: RobotConfig) -> Primitive:
    """Return the cylinder with which the robot touches things, clear of the floor."""
    half = (robot.height_m - _CLEARANCE_M) / 2
    return Primitive("cylinder", (robot.radius_m, half, 0.0), (0.0, 0.0, _CLEARANCE_M + half), _GREY)


def wheeled_robot(camera: CameraConfig, robot: RobotConfig) -> WheeledRobot:
    """Build the robot on wheels.

    Raises ConfigError if laser and camera leave no room for what carries them, or the wheels none for the base.
    """
    reach = 0.75 * robot.radius_m
    if math.hypot(reach + _WHEEL_WIDTH_M / 2, _WHEEL_RADIUS_M) > robot.radius_m:
        raise ConfigError(f"radius_m = {robot.radius_m}: too small for wheels of {_WHEEL_RADIUS_M} m radius")
    if robot.mass_kg <= 2 * _WHEEL_KG:
        raise ConfigError(f"mass_kg = {robot.mass_kg}: two wheels alone weigh {2 * _WHEEL_KG} kg")
    if not _DECK_M + 0.05 <= robot.scan_height_m <= camera.height_m - 0.25:
        raise ConfigError(
            f"scan_height_m = {robot.scan_height_m}: must be {_DECK_M + 0.05:.2f} m or more, and 0.25 m or more below"
            f" the camera at height_m = {camera.height_m}"
        )
    base_kg = robot.mass_kg - 2 * _WHEEL_KG
    across = base_kg * (3 * robot.radius_m**2 + (2 * _BALLAST_M) ** 2) / 12
    left, right = (
        Wheel(f"{side}_wheel", (0.0, y, _WHEEL_RADIUS_M), _WHEEL_RADIUS_M, _WHEEL_WIDTH_M, _WHEEL_KG)
        for side, y in (("left", reach), ("right", -reach))
    )
    return WheeledRobot(
        hull_of(robot),
        _visuals(camera, robot),
        tuple(
            Primitive("sphere", (_CASTER_RADIUS_M, 0.0, 0.0), (x, 0.0, _CASTER_RADIUS_M + _CASTER_GAP_M), _DARK)
            for x in (reach, -reach)
        ),
        (left, right),
        base_kg,
        (0.0, 0.0, _BALLAST_M),
        (across, across, base_kg * robot.radius_m**2 / 2),
    )


def _visuals(camera: CameraConfig, robot: RobotConfig) -> tuple[Primitive, ...]:
    """A low deck, and a thin mast between laser and camera: neither is in the way of their rays."""
    half = (_DECK_M - _CLEARANCE_M) / 2
    low, high = robot.scan_height_m + 0.05, camera.height_m - 0.1
    return (
        Primitive("cylinder", (robot.radius_m - 0.01, half, 0.0), (0.0, 0.0, _CLEARANCE_M + half), _GREY),
        Primitive("cylinder", (0.02, (high - low) / 2, 0.0), (0.0, 0.0, (high + low) / 2), _DARK),
    )
