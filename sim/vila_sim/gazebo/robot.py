"""The robot as an SDF model: a differential drive with camera, lasers and odometry, on the topics of a real robot."""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element

from vila_core.types import Pose
from vila_sim.flats.scene import Primitive
from vila_sim.gazebo.elements import (
    UPRIGHT_WHEEL,
    add,
    add_inertia,
    add_material,
    add_pose,
    add_shape,
    add_system,
    wheel_inertia,
)
from vila_sim.gazebo.versions import GazeboVersion
from vila_sim.robot import (
    BASE_FRAME,
    CAMERA_FRAME,
    CLOUD_MAX_M,
    CLOUD_RATE_HZ,
    CLOUD_RAYS,
    CLOUD_RINGS,
    IMAGE_RATE_HZ,
    ODOMETRY_FRAME,
    ODOMETRY_RATE_HZ,
    RINGS_RAD,
    SCAN_FRAME,
    SCAN_MAX_M,
    SCAN_MIN_M,
    SCAN_RATE_HZ,
    SCAN_RAYS,
    CameraConfig,
    RobotConfig,
    Wheel,
    WheeledRobot,
    wheeled_robot,
)

MAX_LINEAR_ACCEL_MPS2, MAX_ANGULAR_ACCEL_RPS2 = 6.0, 18.0  # MuJoCo's base is about as brisk


def add_robot(world: Element, camera: CameraConfig, robot: RobotConfig, start: Pose, version: GazeboVersion) -> None:
    """Append the model `robot`, standing at its start."""
    wheeled = wheeled_robot(camera, robot)
    model = add(world, "model", name="robot")
    add(model, "pose", (start.x_m, start.y_m, 0.0, 0.0, 0.0, start.yaw_rad))
    base = add(model, "link", name=BASE_FRAME)
    add_inertia(base, wheeled.base_kg, wheeled.centre_of_mass_m, wheeled.inertia_kgm2)
    _add_collision(base, "hull", wheeled.hull, friction=0.1)
    for number, part in enumerate(wheeled.casters):
        _add_collision(base, f"caster_{number}", part, friction=0.0)
    for number, part in enumerate((*wheeled.visuals, *wheeled.casters)):
        _add_visual(base, f"part_{number}", part)
    _add_camera(base, camera, version)
    _add_lasers(base, robot, version)
    for wheel in wheeled.wheels:
        _add_wheel(model, wheel)
    _add_drive(model, wheeled, robot, version)


def _add_collision(link: Element, name: str, part: Primitive, *, friction: float) -> None:
    collision = add(link, "collision", name=f"{name}_collision")
    add_pose(collision, part)
    add_shape(collision, part)
    ode = add(add(add(collision, "surface"), "friction"), "ode")
    add(ode, "mu", friction)
    add(ode, "mu2", friction)


def _add_visual(link: Element, name: str, part: Primitive) -> None:
    visual = add(link, "visual", name=name)
    add_pose(visual, part)
    add_shape(visual, part)
    add_material(visual, part)


def _add_wheel(model: Element, wheel: Wheel) -> None:
    """Append the wheel's link, whose z is the axle, and its joint."""
    link = add(model, "link", name=wheel.name)
    add(link, "pose", (*wheel.position_m, *UPRIGHT_WHEEL))
    add_inertia(link, wheel.mass_kg, (0.0, 0.0, 0.0), wheel_inertia(wheel.mass_kg, wheel.radius_m, wheel.width_m))
    tyre = Primitive("cylinder", (wheel.radius_m, wheel.width_m / 2, 0.0), (0.0, 0.0, 0.0), (0.1, 0.1, 0.1))
    _add_collision(link, "tyre", wheel.contact, friction=1.0)
    _add_visual(link, "tyre", tyre)
    joint = add(model, "joint", name=f"{wheel.name}_joint", type="revolute")
    add(joint, "parent", BASE_FRAME)
    add(joint, "child", wheel.name)
    axis = add(joint, "axis")
    add(axis, "xyz", (0, 0, 1))
    limit = add(axis, "limit")
    add(limit, "lower", -1e16)
    add(limit, "upper", 1e16)


def _add_camera(base: Element, camera: CameraConfig, version: GazeboVersion) -> None:
    sensor = add(base, "sensor", name="camera", type="camera")
    add(sensor, "pose", (0.0, 0.0, camera.height_m, 0.0, math.radians(camera.pitch_deg), 0.0))
    add(sensor, "update_rate", IMAGE_RATE_HZ)
    add(sensor, "always_on", True)
    add(sensor, "topic", "camera/image_raw")  # the intrinsics then come on camera/camera_info
    add(sensor, version.frame_element, CAMERA_FRAME)
    lens = add(sensor, "camera")
    add(lens, "horizontal_fov", math.radians(camera.hfov_deg))
    image = add(lens, "image")
    add(image, "width", camera.width_px)
    add(image, "height", camera.height_px)
    add(image, "format", "R8G8B8")
    clip = add(lens, "clip")
    add(clip, "near", 0.03)
    add(clip, "far", 30.0)


def _add_lasers(base: Element, robot: RobotConfig, version: GazeboVersion) -> None:
    """Append the laser in one plane (topic scan) and that with many rings (topic rings/points)."""
    one = _add_laser(base, robot, version, name="scan", rate_hz=SCAN_RATE_HZ)
    _add_rays(one, SCAN_RAYS, rings=1, max_m=SCAN_MAX_M)
    many = _add_laser(base, robot, version, name="rings", rate_hz=CLOUD_RATE_HZ)
    _add_rays(many, CLOUD_RAYS, rings=CLOUD_RINGS, max_m=CLOUD_MAX_M)


def _add_laser(base: Element, robot: RobotConfig, version: GazeboVersion, *, name: str, rate_hz: float) -> Element:
    sensor = add(base, "sensor", name=name, type="gpu_lidar")
    add(sensor, "pose", (0.0, 0.0, robot.scan_height_m, 0.0, 0.0, 0.0))
    add(sensor, "update_rate", rate_hz)
    add(sensor, "always_on", True)
    add(sensor, "topic", name)
    add(sensor, version.frame_element, SCAN_FRAME)
    return add(sensor, "lidar")


def _add_rays(lidar: Element, rays: int, *, rings: int, max_m: float) -> None:
    """Append a full circle of rays; the last ends one step before the first."""
    scan = add(lidar, "scan")
    around = add(scan, "horizontal")
    add(around, "samples", rays)
    add(around, "resolution", 1)
    add(around, "min_angle", -math.pi)
    add(around, "max_angle", math.pi - 2 * math.pi / rays)
    if rings > 1:
        upward = add(scan, "vertical")
        add(upward, "samples", rings)
        add(upward, "resolution", 1)
        add(upward, "min_angle", -RINGS_RAD)
        add(upward, "max_angle", RINGS_RAD)
    reach = add(lidar, "range")
    add(reach, "min", SCAN_MIN_M)
    add(reach, "max", max_m)
    add(reach, "resolution", 0.01)


def _add_drive(model: Element, wheeled: WheeledRobot, robot: RobotConfig, version: GazeboVersion) -> None:
    plugin = add_system(model, version, "diff-drive", "DiffDrive")
    left, right = wheeled.wheels
    add(plugin, "left_joint", f"{left.name}_joint")
    add(plugin, "right_joint", f"{right.name}_joint")
    add(plugin, "wheel_separation", wheeled.wheel_separation_m)
    add(plugin, "wheel_radius", left.radius_m)
    for kind, limit in (("linear", robot.max_linear_mps), ("angular", robot.max_angular_rps)):
        add(plugin, f"max_{kind}_velocity", limit)
        add(plugin, f"min_{kind}_velocity", -limit)
    for kind, limit in (("linear", MAX_LINEAR_ACCEL_MPS2), ("angular", MAX_ANGULAR_ACCEL_RPS2)):
        add(plugin, f"max_{kind}_acceleration", limit)
        add(plugin, f"min_{kind}_acceleration", -limit)
    add(plugin, "topic", "cmd_vel")
    add(plugin, "odom_topic", "odom")
    add(plugin, "tf_topic", "tf")
    add(plugin, "frame_id", ODOMETRY_FRAME)
    add(plugin, "child_frame_id", BASE_FRAME)
    add(plugin, "odom_publish_frequency", ODOMETRY_RATE_HZ)
