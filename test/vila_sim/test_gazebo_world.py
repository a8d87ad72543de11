"""The SDF world: the checker passes it, it holds nothing that SDF 1.9 does not know, and RobotConfig's robot."""

from __future__ import annotations

import functools
import importlib
import math
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import yaml

from vila_core.errors import ConfigError
from vila_core.types import Pose
from vila_sim.flats.doors import with_leaves
from vila_sim.flats.flat import generate_flat
from vila_sim.gazebo.bridge import TOPICS
from vila_sim.gazebo.versions import BY_ROS, DEFAULT, VERSIONS, gazebo_version
from vila_sim.gazebo.world import write_gazebo_world
from vila_sim.robot import CLOUD_RAYS, CLOUD_RINGS, SCAN_MAX_M, SCAN_RAYS, CameraConfig, RobotConfig, wheeled_robot

CAMERA, ROBOT, START = CameraConfig(), RobotConfig(), Pose(3.0, 4.0, 0.5)
WHEELED = wheeled_robot(CAMERA, ROBOT)
HANG_S = 120

# What we write: the attributes of an element, and what may stand in it. The checker lets unknown elements pass.
POSE, SHAPE = {"pose"}, {"pose", "geometry"}
KNOWN: dict[str, tuple[set[str], set[str]]] = {
    "sdf": ({"version"}, {"world"}),
    "world": ({"name"}, {"physics", "plugin", "gravity", "scene", "light", "model"}),
    "physics": ({"name", "type"}, {"max_step_size", "real_time_factor"}),
    "scene": (set(), {"ambient", "background", "shadows", "grid"}),
    "light": ({"name", "type"}, {"pose", "direction", "diffuse", "specular", "cast_shadows"}),
    "model": ({"name"}, {"pose", "static", "link", "joint", "plugin"}),
    "link": ({"name"}, {"pose", "inertial", "visual", "collision", "sensor"}),
    "inertial": (set(), {"pose", "mass", "inertia"}),
    "inertia": (set(), {"ixx", "iyy", "izz", "ixy", "ixz", "iyz"}),
    "visual": ({"name"}, SHAPE | {"material"}),
    "collision": ({"name"}, SHAPE | {"surface"}),
    "geometry": (set(), {"box", "cylinder", "sphere", "capsule", "ellipsoid", "mesh", "plane"}),
    "box": (set(), {"size"}),
    "cylinder": (set(), {"radius", "length"}),
    "capsule": (set(), {"radius", "length"}),
    "sphere": (set(), {"radius"}),
    "ellipsoid": (set(), {"radii"}),
    "mesh": (set(), {"uri"}),
    "plane": (set(), {"normal", "size"}),
    "material": (set(), {"ambient", "diffuse", "specular", "emissive", "pbr"}),
    "pbr": (set(), {"metal"}),
    "metal": (set(), {"albedo_map", "roughness", "metalness"}),
    "surface": (set(), {"friction"}),
    "friction": (set(), {"ode"}),
    "ode": (set(), {"mu", "mu2"}),
    "joint": ({"name", "type"}, {"parent", "child", "axis"}),
    "axis": (set(), {"xyz", "limit"}),
    "limit": (set(), {"lower", "upper"}),
    "sensor": ({"name", "type"}, {"pose", "update_rate", "always_on", "topic", "camera", "lidar"}),
    "camera": (set(), {"horizontal_fov", "image", "clip"}),
    "image": (set(), {"width", "height", "format"}),
    "clip": (set(), {"near", "far"}),
    "lidar": (set(), {"scan", "range"}),
    "scan": (set(), {"horizontal", "vertical"}),
    "horizontal": (set(), {"samples", "resolution", "min_angle", "max_angle"}),
    "vertical": (set(), {"samples", "resolution", "min_angle", "max_angle"}),
    "range": (set(), {"min", "max", "resolution"}),
}
FREE = {"plugin", "gz_frame_id", "ignition_frame_id"}  # Gazebo's own, which SDF hands on as they are
DRIVE = {"left_joint", "right_joint", "wheel_separation", "wheel_radius", "topic", "odom_topic", "tf_topic", "frame_id"}
DRIVE |= {"child_frame_id", "odom_publish_frequency"}
DRIVE |= {
    f"{end}_{kind}_{what}"
    for end in ("max", "min")
    for kind in ("linear", "angular")
    for what in ("velocity", "acceleration")
}


@pytest.fixture(scope="module", params=VERSIONS)
def path(request, tmp_path_factory) -> Path:
    flat = generate_flat(3, include=[("red", "bear"), ("blue", "lamp")])
    return write_gazebo_world(tmp_path_factory.mktemp(request.param) / "world", flat, START, gz=request.param)


@pytest.fixture
def world(path: Path) -> ElementTree.Element:
    return ElementTree.parse(path).getroot().find("world")


@pytest.fixture
def robot(world) -> ElementTree.Element:
    return world.find("model[@name='robot']")


def complaints(path: Path) -> list[str]:
    """What the checker of Debian's sdformat says is wrong."""
    if not _has_sdf_command():
        pytest.skip("no `ign sdf`: apt-get install ignition-tools libsdformat-dev sdformat-sdf ruby")
    ran = subprocess.run(["ign", "sdf", "-k", str(path)], capture_output=True, text=True, timeout=HANG_S, check=False)
    told = [line for line in (ran.stderr + ran.stdout).splitlines() if line.startswith("Error")]
    return told if "Valid." in ran.stdout else [*told, "not called valid"]


@functools.cache
def _has_sdf_command() -> bool:
    if shutil.which("ign") is None or shutil.which("ruby") is None:
        return False
    ran = subprocess.run(["ign", "--commands"], capture_output=True, text=True, timeout=HANG_S, check=False)
    return "sdf" in ran.stdout.split()


@pytest.mark.slow
def test_the_checker_calls_it_valid(path) -> None:
    assert complaints(path) == []


@pytest.mark.slow
def test_the_checker_calls_doors_valid(tmp_path) -> None:
    flat = with_leaves(generate_flat(5), np.random.default_rng(0))
    assert complaints(write_gazebo_world(tmp_path / "world", flat, START)) == []


def test_the_checker_would_notice(tmp_path) -> None:
    broken = write_gazebo_world(tmp_path / "world", generate_flat(0), START)
    broken.write_text(broken.read_text().replace("<child>left_wheel</child>", "<child>nobody</child>"))
    assert complaints(broken)


def test_nothing_is_written_that_sdf_does_not_know(path) -> None:
    pending = [ElementTree.parse(path).getroot()]
    while pending:
        element = pending.pop()
        if element.tag in FREE:
            continue
        attributes, children = KNOWN.get(element.tag, (set(), set()))
        assert set(element.attrib) <= attributes, element.tag
        assert {child.tag for child in element} <= children | FREE, element.tag
        assert len(element) == 0 or not (element.text or "").strip()
        pending.extend(element)


SPECIFICATION = next(iter(sorted(Path("/usr/share").glob("sdformat*/1.9/root.sdf"))), None)


@pytest.mark.skipif(SPECIFICATION is None, reason="no specification of SDF 1.9: apt-get install libsdformat-dev")
def test_what_we_know_of_sdf_is_in_its_specification() -> None:
    files = {"box": "box_shape", "cylinder": "cylinder_shape", "sphere": "sphere_shape", "capsule": "capsule_shape"}
    files |= {"ellipsoid": "ellipsoid_shape", "mesh": "mesh_shape", "plane": "plane_shape", "sdf": "root"}
    for tag, (attributes, children) in KNOWN.items():
        own = SPECIFICATION.parent / f"{files.get(tag, tag)}.sdf"
        if own.is_file():
            elements = [ElementTree.parse(own).getroot()]
        else:
            trees = (ElementTree.parse(file).getroot() for file in SPECIFICATION.parent.glob("*.sdf"))
            elements = [one for tree in trees for one in tree.iter("element") if one.get("name") == tag]
        assert any(_holds(element, attributes, children) for element in elements), tag


def _holds(element: ElementTree.Element, attributes: set[str], children: set[str]) -> bool:
    named = {one.get("name") for one in element.findall("element")}
    included = {one.get("filename").removesuffix(".sdf").removesuffix("_shape") for one in element.findall("include")}
    return {one.get("name") for one in element.findall("attribute")} >= attributes and named | included >= children


def test_every_file_that_is_named_is_there_and_no_other(path) -> None:
    named = {element.text for element in ElementTree.parse(path).iter() if element.tag in ("uri", "albedo_map")}
    there = {str(file.relative_to(path.parent)) for file in path.parent.rglob("*") if file.is_file()}
    assert there == named | {"world.sdf", "bridge.yaml"}
    assert not any(name.startswith(("/", "file:", "model:")) for name in named)  # the folder can be put anywhere


def test_plugins_have_the_names_of_the_version(path, world) -> None:
    plugins = {(one.get("filename"), one.get("name")) for one in world.iter("plugin")}
    kinds = {"physics": "Physics", "sensors": "Sensors", "user-commands": "UserCommands"}
    kinds |= {"scene-broadcaster": "SceneBroadcaster", "diff-drive": "DiffDrive"}
    file, name = ("gz-sim-{}-system", "gz::sim::systems::{}")
    if "fortress" in str(path):
        file, name = ("ignition-gazebo-{}-system", "ignition::gazebo::systems::{}")
    assert plugins == {(file.format(kind), name.format(system)) for kind, system in kinds.items()}
    assert world.findtext("plugin/render_engine") == "ogre2"


def test_the_robot_stands_at_its_start_on_two_wheels(robot) -> None:
    x, y, z, *_, yaw = (float(word) for word in robot.findtext("pose").split())
    assert (x, y, z, yaw) == (START.x_m, START.y_m, 0.0, START.yaw_rad)
    drive = robot.find("plugin")
    assert {element.tag for element in drive} == DRIVE
    assert float(drive.findtext("wheel_separation")) == pytest.approx(WHEELED.wheel_separation_m)
    for side, wheel in zip(("left", "right"), WHEELED.wheels, strict=True):
        joint = robot.find(f"joint[@name='{drive.findtext(f'{side}_joint')}']")
        link = robot.find(f"link[@name='{joint.findtext('child')}']")
        position = [float(word) for word in link.findtext("pose").split()]
        assert position[:3] == pytest.approx(wheel.position_m)
        roll = position[3]  # the joint turns about the link's z, which must be the base's y: forward is positive
        assert (-math.sin(roll), math.cos(roll)) == pytest.approx((1.0, 0.0), abs=1e-5)
        assert joint.findtext("axis/xyz") == "0 0 1" and joint.findtext("parent") == "base_link"
        radius = float(link.findtext("collision/geometry/sphere/radius"))
        assert radius == float(drive.findtext("wheel_radius")) == pytest.approx(position[2])


def test_mass_hull_and_limits_are_those_of_the_robot(robot) -> None:
    assert sum(float(one.text) for one in robot.iter("mass")) == pytest.approx(ROBOT.mass_kg)
    hull = robot.find("link/collision[@name='hull_collision']")
    assert float(hull.findtext("geometry/cylinder/radius")) == ROBOT.radius_m
    top = float(hull.findtext("pose").split()[2]) + float(hull.findtext("geometry/cylinder/length")) / 2
    assert top == pytest.approx(ROBOT.height_m)
    drive = robot.find("plugin")
    assert float(drive.findtext("max_linear_velocity")) == ROBOT.max_linear_mps
    assert float(drive.findtext("max_angular_velocity")) == ROBOT.max_angular_rps


def test_the_camera_looks_as_configured(robot) -> None:
    camera = robot.find("link/sensor[@name='camera']")
    x, y, z, roll, pitch, yaw = (float(word) for word in camera.findtext("pose").split())
    assert (x, y, z, roll, yaw) == (0.0, 0.0, CAMERA.height_m, 0.0, 0.0)
    assert math.degrees(pitch) == pytest.approx(CAMERA.pitch_deg, abs=1e-3)
    assert math.degrees(float(camera.findtext("camera/horizontal_fov"))) == pytest.approx(CAMERA.hfov_deg, abs=1e-3)
    size = int(camera.findtext("camera/image/width")), int(camera.findtext("camera/image/height"))
    assert size == (CAMERA.width_px, CAMERA.height_px)


def test_the_lasers_are_those_of_the_simulator(robot) -> None:
    scan, rings = (robot.find(f"link/sensor[@name='{name}']") for name in ("scan", "rings"))
    around = scan.find("lidar/scan/horizontal")
    low, high = float(around.findtext("min_angle")), float(around.findtext("max_angle"))
    assert int(around.findtext("samples")) == SCAN_RAYS
    assert (high - low) / (SCAN_RAYS - 1) == pytest.approx(2 * math.pi / SCAN_RAYS, abs=1e-5)
    assert float(scan.findtext("lidar/range/max")) == SCAN_MAX_M
    assert float(scan.findtext("pose").split()[2]) == ROBOT.scan_height_m
    assert int(rings.findtext("lidar/scan/horizontal/samples")) == CLOUD_RAYS
    assert int(rings.findtext("lidar/scan/vertical/samples")) == CLOUD_RINGS


def test_nothing_that_is_drawn_stands_before_camera_or_laser() -> None:
    """Seen from the camera's edge of view; and the laser's plane, with what a ray may be off at 0.2 m."""
    steepest = math.radians(CAMERA.pitch_deg + CAMERA.vfov_deg / 2)
    for part in WHEELED.visuals:
        low, high = part.position_m[2] - part.half_size_m[1], part.position_m[2] + part.half_size_m[1]
        assert not low - 0.02 < ROBOT.scan_height_m < high + 0.02
        assert math.atan2(CAMERA.height_m - high, part.half_size_m[0]) > steepest


# --- the bridge


def test_the_bridge_is_a_list_of_topics_with_the_messages_of_the_version(path, robot) -> None:
    rows = yaml.safe_load((path.parent / "bridge.yaml").read_text())
    assert isinstance(rows, list)
    keys = {"ros_topic_name", "gz_topic_name", "ros_type_name", "gz_type_name", "direction"}
    package = "ignition.msgs." if "fortress" in str(path) else "gz.msgs."
    for row in rows:
        assert set(row) == keys and row["gz_type_name"].startswith(package)
        assert row["direction"] in ("GZ_TO_ROS", "ROS_TO_GZ")
    served = {one.text for one in robot.iter() if one.tag in ("topic", "odom_topic", "tf_topic")} | {"clock"}
    served |= {"camera/camera_info", "rings/points"}  # beside the images and below the rings
    assert {row["gz_topic_name"] for row in rows} == served - {"rings"}
    assert [row["ros_topic_name"] for row in rows if row["direction"] == "ROS_TO_GZ"] == ["cmd_vel"]


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.ros_topic)
def test_the_types_of_ros_exist(topic) -> None:
    package, _, name = topic.ros_type.split("/")
    if package == "tf2_msgs" and importlib.util.find_spec(package) is None:
        pytest.skip("tf2_msgs has no wheel")
    pytest.importorskip("rclpy")
    assert hasattr(importlib.import_module(f"{package}.msg"), name)


# --- versions


def test_versions_of_ros_have_versions_of_gazebo() -> None:
    assert {*BY_ROS.values(), DEFAULT} <= set(VERSIONS)


@pytest.mark.parametrize("name", ["", "Harmonic", "garden", "11"])
def test_an_unknown_version_is_refused_with_those_that_are_known(name, tmp_path) -> None:
    with pytest.raises(ConfigError, match="known: fortress, harmonic, ionic, jetty"):
        gazebo_version(name)
    with pytest.raises(ConfigError):
        write_gazebo_world(tmp_path / "world", generate_flat(0), START, gz=name)
    assert not (tmp_path / "world").exists()


@pytest.mark.parametrize(
    ("camera", "robot", "words"),
    [
        (CAMERA, RobotConfig(radius_m=0.05), "radius_m = 0.05"),
        (CAMERA, RobotConfig(mass_kg=0.5), "mass_kg = 0.5"),
        (CAMERA, RobotConfig(scan_height_m=0.1), "scan_height_m = 0.1"),
        (CameraConfig(height_m=0.4), ROBOT, "height_m = 0.4"),
    ],
)
def test_a_robot_that_cannot_be_built_is_refused(camera, robot, words) -> None:
    with pytest.raises(ConfigError, match=words):
        wheeled_robot(camera, robot)
