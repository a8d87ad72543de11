"""The USD stage: USD's own validators pass it, and UsdPhysics finds the robot that RobotConfig describes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pxr")

from pxr import Gf, Usd, UsdGeom, UsdPhysics, UsdShade, UsdUtils, UsdValidation

from vila_core.types import Pose
from vila_sim.flats.flat import generate_flat
from vila_sim.isaac.graph import ros_graph
from vila_sim.isaac.world import write_isaac_world
from vila_sim.robot import CameraConfig, RobotConfig, wheeled_robot

CAMERA, ROBOT, START = CameraConfig(), RobotConfig(), Pose(3.0, 4.0, 0.5)
WHEELED = wheeled_robot(CAMERA, ROBOT)
BASE = "/World/robot/base_link"


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return write_isaac_world(tmp_path_factory.mktemp("isaac") / "world", generate_flat(3), START)


@pytest.fixture
def stage(path: Path) -> Usd.Stage:
    return Usd.Stage.Open(str(path))


def complaints(path: Path) -> list[str]:
    """What USD's validators say, which replaced UsdUtils.ComplianceChecker."""
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    assert len(validators) > 10
    found = UsdValidation.ValidationContext(validators).Validate(Usd.Stage.Open(str(path)))
    return [f"{error.GetName()}: {error.GetMessage()}" for error in found]


def test_usds_own_validators_have_nothing_to_say(path) -> None:
    assert complaints(path) == []


def test_usds_own_validators_would_have_something_to_say(path, tmp_path) -> None:
    broken = tmp_path / "broken.usda"
    text = path.read_text().replace('defaultPrim = "World"', "").replace('upAxis = "Z"', "")
    broken.write_text(text.replace("./textures/", "./nowhere/"))
    assert complaints(broken)


def test_metres_with_z_up_and_a_default_prim(stage) -> None:
    assert UsdGeom.GetStageUpAxis(stage) == "Z" and UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    assert UsdPhysics.GetStageKilogramsPerUnit(stage) == 1.0
    assert stage.GetDefaultPrim().GetPath() == "/World"


def test_gravity_pulls_down_onto_a_plane_at_zero(stage) -> None:
    (scene,) = (UsdPhysics.Scene(prim) for prim in stage.Traverse() if prim.IsA(UsdPhysics.Scene))
    assert scene.GetGravityDirectionAttr().Get() == Gf.Vec3f(0, 0, -1)
    assert scene.GetGravityMagnitudeAttr().Get() == pytest.approx(9.81)
    plane = stage.GetPrimAtPath("/World/ground")
    assert plane.IsA(UsdGeom.Plane) and plane.HasAPI(UsdPhysics.CollisionAPI)


def test_only_the_robot_is_of_rigid_bodies(stage) -> None:
    bodies = {str(prim.GetPath()) for prim in stage.Traverse() if prim.HasAPI(UsdPhysics.RigidBodyAPI)}
    assert bodies == {BASE, "/World/robot/left_wheel", "/World/robot/right_wheel"}


def test_the_parser_of_usd_physics_finds_one_articulation_of_three_bodies_and_two_joints(stage) -> None:
    load = getattr(UsdPhysics, "UsdPhysicsLoadStageFromPrimRange", None) or UsdPhysics.LoadUsdPhysicsFromRange  # 26.3
    found = load(stage, ["/"])
    (roots,) = [value for kind, value in found.items() if kind == UsdPhysics.ObjectType.Articulation]
    assert [str(path) for path in roots[0]] == ["/World/robot"]
    joints = found[UsdPhysics.ObjectType.RevoluteJoint]
    assert {str(one.body0) for one in joints[1]} == {BASE}
    assert {str(one.body1) for one in joints[1]} == {"/World/robot/left_wheel", "/World/robot/right_wheel"}
    assert all(one.isValid and one.drive.enabled and one.drive.stiffness == 0.0 for one in joints[1])
    assert len(found[UsdPhysics.ObjectType.RigidBody][0]) == 3
    for kind in ("Cube", "Sphere", "Capsule", "Cylinder", "Plane", "Mesh"):
        objects = found.get(getattr(UsdPhysics.ObjectType, f"{kind}Shape"), ([], []))[1]
        assert all(one.isValid for one in objects), kind


def test_the_wheels_are_where_they_are_driven(stage) -> None:
    for wheel in WHEELED.wheels:
        joint = UsdPhysics.RevoluteJoint(stage.GetPrimAtPath(f"/World/robot/{wheel.name}_joint"))
        assert joint.GetAxisAttr().Get() == "Y"
        assert np.allclose(joint.GetLocalPos0Attr().Get(), wheel.position_m)
        tyre = stage.GetPrimAtPath(f"/World/robot/{wheel.name}/tyre")
        cache = UsdGeom.XformCache()
        base = cache.GetLocalToWorldTransform(stage.GetPrimAtPath(BASE))
        matrix = np.array(cache.GetLocalToWorldTransform(tyre) * base.GetInverse()).T
        assert np.allclose(matrix[:3, 3], wheel.position_m) and np.allclose(np.abs(matrix[:3, 2]), (0, 1, 0), atol=1e-6)
        assert UsdGeom.Cylinder(tyre).GetRadiusAttr().Get() == pytest.approx(wheel.radius_m)
        contact = stage.GetPrimAtPath(f"/World/robot/{wheel.name}/contact")
        assert contact.HasAPI(UsdPhysics.CollisionAPI)
        assert UsdGeom.Sphere(contact).GetRadiusAttr().Get() == pytest.approx(
            wheel.position_m[2]
        )  # it stands on the floor


def test_the_servos_are_those_of_the_robot(stage) -> None:
    for wheel in WHEELED.wheels:
        drive = UsdPhysics.DriveAPI(stage.GetPrimAtPath(f"/World/robot/{wheel.name}_joint"), "angular")
        assert math.degrees(drive.GetDampingAttr().Get()) == pytest.approx(
            WHEELED.wheel_damping_nms
        )  # per degree there
        assert drive.GetMaxForceAttr().Get() == pytest.approx(WHEELED.wheel_torque_nm)
        assert drive.GetStiffnessAttr().Get() == 0.0 and drive.GetTypeAttr().Get() == "force"


def test_casters_slip_and_wheels_do_not(stage) -> None:
    def friction(path: str) -> tuple[float, str]:
        binding = UsdShade.MaterialBindingAPI(stage.GetPrimAtPath(path))
        material = binding.ComputeBoundMaterial("physics")[0].GetPrim()
        mode = material.GetAttribute("physxMaterial:frictionCombineMode").Get()
        return UsdPhysics.MaterialAPI(material).GetDynamicFrictionAttr().Get(), mode or "average"

    assert {friction(f"{BASE}/caster_{number}") for number in range(2)} == {(0.0, "min")}
    wheels = [f"/World/robot/{wheel.name}/contact" for wheel in WHEELED.wheels]
    assert {friction(path) for path in (*wheels, "/World/ground")} == {(1.0, "average")}


def test_mass_and_hull_are_those_of_the_robot(stage) -> None:
    masses = [
        UsdPhysics.MassAPI(prim).GetMassAttr().Get() for prim in stage.Traverse() if prim.HasAPI(UsdPhysics.MassAPI)
    ]
    assert sum(masses) == pytest.approx(ROBOT.mass_kg)
    hull = UsdGeom.Cylinder(stage.GetPrimAtPath(f"{BASE}/hull"))
    assert hull.GetRadiusAttr().Get() == pytest.approx(ROBOT.radius_m)
    assert hull.GetPrim().HasAPI(UsdPhysics.CollisionAPI)
    assert hull.GetPurposeAttr().Get() == "guide"  # not seen by camera and laser, which are inside


def test_the_camera_looks_as_configured(stage) -> None:
    camera = UsdGeom.Camera(stage.GetPrimAtPath(f"{BASE}/camera")).GetCamera()
    fov = [camera.GetFieldOfView(axis) for axis in (Gf.Camera.FOVHorizontal, Gf.Camera.FOVVertical)]
    assert fov == pytest.approx([CAMERA.hfov_deg, CAMERA.vfov_deg], abs=1e-3)
    matrix = np.array(camera.transform).T
    pitch = math.radians(CAMERA.pitch_deg)
    ahead = (math.cos(START.yaw_rad) * math.cos(pitch), math.sin(START.yaw_rad) * math.cos(pitch), -math.sin(pitch))
    assert np.allclose(-matrix[:3, 2], ahead, atol=1e-6)
    assert np.allclose(matrix[:3, 3], (START.x_m, START.y_m, CAMERA.height_m), atol=1e-6)
    assert matrix[2, 1] == pytest.approx(math.cos(pitch))  # upright


def test_the_laser_is_level_at_its_height(stage) -> None:
    laser = stage.GetPrimAtPath(f"{BASE}/laser")
    assert laser.GetTypeName() == "OmniLidar"
    assert laser.GetAttribute("xformOp:translate").Get() == Gf.Vec3d(0, 0, ROBOT.scan_height_m)
    count = laser.GetAttribute("omni:sensor:Core:numberOfEmitters").Get()
    for name in ("azimuthDeg", "elevationDeg", "fireTimeNs", "channelId"):
        assert len(laser.GetAttribute(f"omni:sensor:Core:emitterState:s001:{name}").Get()) == count


def test_what_the_graph_points_to_is_there(stage) -> None:
    graph = ros_graph(CAMERA, ROBOT)
    for node in graph.nodes:
        assert all(stage.GetPrimAtPath(prim) for prim in node.targets.values())
        for joint in node.values.get("jointNames", ()):
            assert stage.GetPrimAtPath(f"/World/robot/{joint}").IsA(UsdPhysics.RevoluteJoint)


def test_every_file_that_is_named_is_there(path) -> None:
    layers, assets, unresolved = UsdUtils.ComputeAllDependencies(str(path))
    assert len(layers) == 1 and not unresolved
    assert {Path(str(asset)).parent.name for asset in assets} == {"textures"}
