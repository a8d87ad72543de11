"""The robot as a USD articulation: a base and two driven wheels, camera and laser; and where in the stage they are."""

from __future__ import annotations

import math
from typing import Any

from vila_core.types import Pose
from vila_sim.flats.scene import Primitive
from vila_sim.isaac.materials import Materials
from vila_sim.isaac.paths import BASE, CAMERA, LASER, ROBOT, joint_name
from vila_sim.isaac.shapes import define_frame, define_shape
from vila_sim.isaac.usd import Gf, Sdf, UsdGeom, UsdPhysics
from vila_sim.robot import (
    SCAN_MAX_M,
    SCAN_MIN_M,
    SCAN_RATE_HZ,
    SCAN_RAYS,
    CameraConfig,
    RobotConfig,
    Wheel,
    wheeled_robot,
)

_APERTURE_MM = 20.955  # of a sensor 35 mm wide on film; only its ratio to the focal length counts
_LASER_CORE = "omni:sensor:Core:"


def define_robot(stage: Any, materials: Materials, camera: CameraConfig, robot: RobotConfig, start: Pose) -> None:
    """Define the robot at its start."""
    wheeled = wheeled_robot(camera, robot)
    root = define_frame(stage, ROBOT, (start.x_m, start.y_m, 0.0), start.yaw_rad)
    UsdPhysics.ArticulationRootAPI.Apply(root.GetPrim())
    base = define_frame(stage, BASE, (0.0, 0.0, 0.0))
    _make_rigid(base.GetPrim(), wheeled.base_kg, wheeled.centre_of_mass_m, wheeled.inertia_kgm2)
    hull = define_shape(stage, f"{BASE}/hull", wheeled.hull, collides=True)
    UsdGeom.Imageable(hull).CreatePurposeAttr(UsdGeom.Tokens.guide)  # it stands around camera and laser
    materials.bind_friction(hull, 0.1)
    for number, part in enumerate(wheeled.visuals):
        materials.bind(define_shape(stage, f"{BASE}/part_{number}", part), part)
    for number, part in enumerate(wheeled.casters):
        caster = define_shape(stage, f"{BASE}/caster_{number}", part, collides=True)
        materials.bind(caster, part)
        materials.bind_friction(caster, 0.0)
    _define_camera(stage, camera)
    _define_laser(stage, robot)
    for wheel in wheeled.wheels:
        joint = _define_wheel(stage, materials, wheel)
        drive = UsdPhysics.DriveAPI.Apply(joint.GetPrim(), UsdPhysics.Tokens.angular)
        drive.CreateTypeAttr(UsdPhysics.Tokens.force)
        drive.CreateStiffnessAttr(0.0)
        drive.CreateDampingAttr(wheeled.wheel_damping_nms * math.radians(1.0))  # USD counts angles in degrees
        drive.CreateMaxForceAttr(wheeled.wheel_torque_nm)
        drive.CreateTargetVelocityAttr(0.0)


def _make_rigid(prim: Any, kg: float, centre_m: tuple[float, ...], inertia_kgm2: tuple[float, ...]) -> None:
    UsdPhysics.RigidBodyAPI.Apply(prim)
    mass = UsdPhysics.MassAPI.Apply(prim)
    mass.CreateMassAttr(kg)
    mass.CreateCenterOfMassAttr(Gf.Vec3f(*centre_m))
    mass.CreateDiagonalInertiaAttr(Gf.Vec3f(*inertia_kgm2))
    mass.CreatePrincipalAxesAttr(Gf.Quatf(1.0))


def _define_wheel(stage: Any, materials: Materials, wheel: Wheel) -> Any:
    """Define a wheel beside the base, and the joint about y on which it turns; return the joint."""
    path = f"{ROBOT}/{wheel.name}"
    link = define_frame(stage, path, wheel.position_m)
    across = wheel.mass_kg * (3 * wheel.radius_m**2 + wheel.width_m**2) / 12
    about = wheel.mass_kg * wheel.radius_m**2 / 2
    _make_rigid(link.GetPrim(), wheel.mass_kg, (0.0, 0.0, 0.0), (across, about, across))
    upright = (-math.pi / 2, 0.0, 0.0)
    tyre = Primitive("cylinder", (wheel.radius_m, wheel.width_m / 2, 0.0), (0.0, 0.0, 0.0), (0.1, 0.1, 0.1), upright)
    materials.bind(define_shape(stage, f"{path}/tyre", tyre), tyre)
    contact = define_shape(stage, f"{path}/contact", wheel.contact, collides=True)
    UsdGeom.Imageable(contact).CreatePurposeAttr(UsdGeom.Tokens.guide)
    materials.bind_friction(contact, 1.0)
    joint = UsdPhysics.RevoluteJoint.Define(stage, f"{ROBOT}/{joint_name(wheel)}")
    joint.CreateAxisAttr("Y")
    joint.CreateBody0Rel().SetTargets([BASE])
    joint.CreateBody1Rel().SetTargets([path])
    joint.CreateLocalPos0Attr(Gf.Vec3f(*wheel.position_m))
    joint.CreateLocalRot0Attr(Gf.Quatf(1.0))
    joint.CreateLocalPos1Attr(Gf.Vec3f(0.0))
    joint.CreateLocalRot1Attr(Gf.Quatf(1.0))
    return joint


def _define_camera(stage: Any, camera: CameraConfig) -> None:
    """Define the camera; one of USD looks along -z with y up, and is turned to look ahead and down."""
    prim = UsdGeom.Camera.Define(stage, CAMERA)
    prim.AddTranslateOp().Set(Gf.Vec3d(0.0, 0.0, camera.height_m))
    prim.AddRotateXYZOp().Set(Gf.Vec3f(90.0 - camera.pitch_deg, 0.0, -90.0))
    prim.CreateHorizontalApertureAttr(_APERTURE_MM)
    prim.CreateVerticalApertureAttr(_APERTURE_MM * camera.height_px / camera.width_px)
    prim.CreateFocalLengthAttr(_APERTURE_MM * camera.focal_px / camera.width_px)
    prim.CreateClippingRangeAttr(Gf.Vec2f(0.03, 30.0))


def _define_laser(stage: Any, robot: RobotConfig) -> None:
    """Define the laser in one plane, as Isaac's own prim of a rotating lidar; usd-core does not know its schema."""
    prim = stage.DefinePrim(LASER, "OmniLidar")
    for schema in ("OmniSensorGenericLidarCoreAPI", "OmniSensorGenericLidarCoreEmitterStateAPI:s001"):
        prim.AddAppliedSchema(schema)
    _set(prim, "xformOp:translate", "Double3", Gf.Vec3d(0.0, 0.0, robot.scan_height_m))
    _set(prim, "xformOpOrder", "TokenArray", ["xformOp:translate"], Sdf.VariabilityUniform)
    _set(prim, "omni:sensor:tickRate", "Float", SCAN_RATE_HZ)
    firing_hz = round(SCAN_RATE_HZ) * SCAN_RAYS
    core = {
        "scanType": ("Token", "ROTARY"),
        "rotationDirection": ("Token", "CCW"),
        "rayType": ("Token", "IDEALIZED"),
        "elementsCoordsType": ("Token", "CARTESIAN"),
        "outputFrameOfReference": ("Token", "SENSOR"),
        "nearRangeM": ("Float", SCAN_MIN_M),
        "farRangeM": ("Float", SCAN_MAX_M),
        "validStartAzimuthDeg": ("Float", 0.0),
        "validEndAzimuthDeg": ("Float", 360.0),
        "scanRateBaseHz": ("UInt", round(SCAN_RATE_HZ)),
        "reportRateBaseHz": ("UInt", firing_hz),
        "patternFiringRateHz": ("UInt", firing_hz),  # the same in newer schemas
        "numberOfEmitters": ("UInt", 1),
        "numberOfChannels": ("UInt", 1),
        "maxReturns": ("UInt", 1),
        "emitterState:s001:azimuthDeg": ("FloatArray", [0.0]),
        "emitterState:s001:elevationDeg": ("FloatArray", [0.0]),
        "emitterState:s001:fireTimeNs": ("UIntArray", [0]),
        "emitterState:s001:channelId": ("UIntArray", [1]),  # they count from one
    }
    for name, (kind, value) in core.items():
        _set(prim, _LASER_CORE + name, kind, value)


def _set(prim: Any, name: str, kind: str, value: Any, variability: Any = None) -> None:
    how = Sdf.VariabilityVarying if variability is None else variability
    prim.CreateAttribute(name, getattr(Sdf.ValueTypeNames, kind), False, how).Set(value)
