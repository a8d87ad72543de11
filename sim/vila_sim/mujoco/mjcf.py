"""Writes a flat and its robot as MJCF, the language of MuJoCo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated
from xml.sax.saxutils import quoteattr

from vila_core.config import check_fields
from vila_core.fields import Bounds
from vila_sim.decor import OVERHEAD_M
from vila_sim.plan import PLAIN_WALL
from vila_sim.scene import Flat, Primitive, Room, SceneObject, Wall
from vila_sim.textures import TEXTURES, texture_png

TIMESTEP_S = 0.005
SAMPLES = 4  # MSAA
MAP_MARGIN_M = 0.25
MAX_MAP_PX = 2048

GROUP_SHELL, GROUP_OBJECT, GROUP_DECOR, GROUP_ROBOT, GROUP_OVERHEAD = range(5)

WALL_RGB = (0.80, 0.78, 0.74)


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """The robot's pinhole camera, above the middle of its base, looking ahead and down."""

    width_px: Annotated[int, Bounds(least=8, most=MAX_MAP_PX)] = 224  # columns of pixels in an image
    height_px: Annotated[int, Bounds(least=8, most=MAX_MAP_PX)] = 224  # rows of pixels in an image
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


def write_mjcf(flat: Flat, camera: CameraConfig, robot: RobotConfig, *, movable: bool = False) -> str:
    """Write the flat, its lights, the robot with its camera `eye`, and the camera `map` above.

    Geoms of flat.objects[i] are named "object:i:k", those of flat.leaves[i] "leaf:i:k". Groups: see GROUP_*.
    Textures are named files; texture_assets gives their bytes.
    movable: each object is a mocap body of its name, as door leaves always are. Such a body can be put anywhere and
    collides with nothing: it would push the robot about with all the force in the world.
    """
    body = [
        *_lights(),
        *_map_camera(flat),
        *_shell(flat),
        *(_object(thing, f"object:{i}", GROUP_OBJECT, movable) for i, thing in enumerate(flat.objects)),
        *(_object(leaf.thing, f"leaf:{i}", GROUP_OBJECT, True) for i, leaf in enumerate(flat.leaves)),
        *(_object(thing, f"decor:{i}", GROUP_DECOR) for i, thing in enumerate(flat.decor)),
        *_robot(camera, robot),
    ]
    return "\n".join(["<mujoco>", *_header(flat, camera), "<worldbody>", *body, "</worldbody>", *_actuators(robot)])


def texture_assets(flat: Flat) -> dict[str, bytes]:
    """PNG bytes of each texture that write_mjcf names, by file name."""
    return {f"{name}.png": texture_png(name) for name in _texture_names(flat)}


def map_size(flat: Flat, width_px: int) -> tuple[int, int]:
    """Pixels (width, height) of a map of that width, margin included."""
    ratio = (flat.depth_m + 2 * MAP_MARGIN_M) / (flat.width_m + 2 * MAP_MARGIN_M)
    return width_px, round(width_px * ratio)


def _texture_names(flat: Flat) -> list[str]:
    used = {room.floor_texture for room in flat.rooms}
    used |= {wall.texture for wall in flat.walls}
    used |= {part.texture for thing in (*flat.objects, *flat.decor) for part in thing.primitives}
    return sorted(used - {"", PLAIN_WALL})


def _header(flat: Flat, camera: CameraConfig) -> list[str]:
    extent = max(flat.width_m, flat.depth_m)
    return [
        '<compiler angle="radian" eulerseq="XYZ" autolimits="true"/>',
        f'<option timestep="{TIMESTEP_S}" integrator="implicitfast" gravity="0 0 0"/>',
        f'<statistic extent="{extent:g}" center="{flat.width_m / 2:g} {flat.depth_m / 2:g} 1"/>',
        "<visual>",
        f'<global offwidth="{camera.width_px}" offheight="{camera.height_px}"/>',
        f'<quality shadowsize="0" offsamples="{SAMPLES}" numslices="14" numstacks="8" numquads="2"/>',
        '<headlight ambient="0.46 0.46 0.46" diffuse="0.24 0.24 0.24" specular="0 0 0"/>',
        '<map znear="0.003" zfar="3"/>',
        "</visual>",
        "<asset>",
        '<material name="paint" specular="0.12" shininess="0.3"/>',
        '<material name="glow" specular="0" emission="0.45"/>',
        *(line for name in _texture_names(flat) for line in _texture(name)),
        "</asset>",
        '<default><geom condim="1" friction="0.1 0.005 0.0001"/></default>',
    ]


def _texture(name: str) -> list[str]:
    tile = TEXTURES[name].tile_m
    repeat = f"{2 / tile:.4f}" if tile else "1"  # MuJoCo counts copies per 2 m of a box
    emission = "0.5" if name == "sky" else "0"
    return [
        f'<texture name="{name}" type="2d" file="{name}.png"/>',
        f'<material name="{name}" texture="{name}" texuniform="{"true" if tile else "false"}"'
        f' texrepeat="{repeat} {repeat}" specular="0.03" shininess="0.1" emission="{emission}"/>',
    ]


def _lights() -> list[str]:
    """Three directions from above, so that every side of a box has its own shade. No shadows."""
    rows = ((0.45, 0.25, -0.86, 0.34), (-0.65, 0.2, -0.73, 0.20), (0.1, -0.75, -0.65, 0.14))
    return [
        f'<light type="directional" castshadow="false" pos="0 0 4" dir="{x} {y} {z}"'
        f' diffuse="{v} {v} {v}" ambient="0 0 0" specular="{v / 2:g} {v / 2:g} {v / 2:g}"/>'
        for x, y, z, v in rows
    ]


def _map_camera(flat: Flat) -> list[str]:
    return [f'<camera name="map" pos="{flat.width_m / 2:g} {flat.depth_m / 2:g} 6" xyaxes="1 0 0 0 1 0"/>']


def _shell(flat: Flat) -> list[str]:
    """Floors, walls and the ceiling. Only walls collide: the base never leaves the floor."""
    half_x, half_y = flat.width_m / 2, flat.depth_m / 2
    slab = f'size="{half_x:g} {half_y:g} 0.05"'
    height = max(wall.height_m for wall in flat.walls)
    return [
        f'<geom type="box" {slab} pos="{half_x:g} {half_y:g} -0.054" rgba="0.3 0.25 0.2 1" {_ghost(GROUP_SHELL)}/>',
        f'<geom type="box" {slab} pos="{half_x:g} {half_y:g} {height + 0.05:g}" material="glow"'
        f' rgba="0.86 0.86 0.84 1" {_ghost(GROUP_OVERHEAD)}/>',
        *(_floor(room) for room in flat.rooms),
        *(_wall(wall) for wall in flat.walls),
    ]


def _floor(room: Room) -> str:
    x, y = (room.x_min_m + room.x_max_m) / 2, (room.y_min_m + room.y_max_m) / 2
    half = f"{(room.x_max_m - room.x_min_m) / 2:.4f} {(room.y_max_m - room.y_min_m) / 2:.4f} 0.02"
    return (
        f'<geom type="box" size="{half}" pos="{x:.4f} {y:.4f} -0.02" material="{room.floor_texture}"'
        f" {_ghost(GROUP_SHELL)}/>"
    )


def _wall(wall: Wall) -> str:
    x, y = (wall.x_min_m + wall.x_max_m) / 2, (wall.y_min_m + wall.y_max_m) / 2
    half_x, half_y = (wall.x_max_m - wall.x_min_m) / 2, (wall.y_max_m - wall.y_min_m) / 2
    paint = f'material="paint" rgba="{_numbers(WALL_RGB)} 1"'
    if wall.texture != PLAIN_WALL:
        paint = f'material="{wall.texture}"'
    return (
        f'<geom type="box" size="{half_x:.4f} {half_y:.4f} {wall.height_m / 2:g}"'
        f' pos="{x:.4f} {y:.4f} {wall.height_m / 2:g}" {paint} group="{GROUP_SHELL}"/>'
    )


def _object(thing: SceneObject, name: str, group: int, movable: bool = False) -> str:
    """One frame or mocap body holding the object's primitives; decor and what can move do not collide."""
    geoms = [_geom(part, f"{name}:{k}", group, movable) for k, part in enumerate(thing.primitives)]
    pose = f'pos="{thing.x_m:.4f} {thing.y_m:.4f} 0" euler="0 0 {thing.yaw_rad:.5f}"'
    if movable:
        return "\n".join([f'<body name={quoteattr(thing.name)} mocap="true" {pose}>', *geoms, "</body>"])
    return "\n".join([f"<frame {pose}>", *geoms, "</frame>"])


def _geom(part: Primitive, name: str, group: int, movable: bool) -> str:
    size = {"sphere": 1, "cylinder": 2, "capsule": 2}.get(part.shape, 3)
    solid = _ghost(group) if movable else f'group="{group}"'
    if group == GROUP_DECOR:
        overhead = part.position_m[2] > OVERHEAD_M and part.euler_rad == (0.0, 0.0, 0.0)
        solid = _ghost(GROUP_OVERHEAD if overhead else GROUP_DECOR)
    euler = f' euler="{_numbers(part.euler_rad)}"' if any(part.euler_rad) else ""
    return (
        f'<geom name={quoteattr(name)} type="{part.shape}" size="{_numbers(part.half_size_m[:size])}"'
        f' pos="{_numbers(part.position_m)}"{euler} rgba="{_numbers(part.rgb)} 1"'
        f' material="{part.texture or _material(part)}" {solid}/>'
    )


def _material(part: Primitive) -> str:
    return "glow" if part.position_m[2] > OVERHEAD_M and part.shape == "cylinder" else "paint"


def _robot(camera: CameraConfig, robot: RobotConfig) -> list[str]:
    """A cylinder on two slides and a hinge, clear of the floor, with the camera `eye`."""
    pitch = math.radians(camera.pitch_deg)
    axes = f"0 -1 0 {math.sin(pitch):.6f} 0 {math.cos(pitch):.6f}"
    half = robot.height_m / 2
    inertia = robot.mass_kg * robot.radius_m**2 / 2
    return [
        '<body name="base">',
        '<joint name="x" type="slide" axis="1 0 0"/>',
        '<joint name="y" type="slide" axis="0 1 0"/>',
        '<joint name="yaw" type="hinge" axis="0 0 1"/>',
        f'<inertial pos="0 0 {half:g}" mass="{robot.mass_kg:g}" diaginertia="1 1 {inertia:.5f}"/>',
        f'<geom name="hull" type="cylinder" size="{robot.radius_m:g} {half - 0.02:g}" pos="0 0 {half + 0.02:g}"'
        f' rgba="0.3 0.3 0.32 1" material="paint" group="{GROUP_ROBOT}"/>',
        f'<camera name="eye" pos="0 0 {camera.height_m:g}" xyaxes="{axes}" fovy="{camera.vfov_deg:.5f}"/>',
        "</body>",
    ]


def _actuators(robot: RobotConfig) -> list[str]:
    """Velocity servos with a time constant of 0.05 s and the force of a small robot."""
    gain, force = robot.mass_kg / 0.05, 12.0 * robot.mass_kg
    inertia = robot.mass_kg * robot.radius_m**2 / 2
    return [
        "<actuator>",
        *(f'<velocity joint="{axis}" kv="{gain:g}" forcerange="{-force:g} {force:g}"/>' for axis in ("x", "y")),
        f'<velocity joint="yaw" kv="{inertia / 0.05:g}"/>',
        "</actuator>",
        "</mujoco>",
    ]


def _ghost(group: int) -> str:
    return f'contype="0" conaffinity="0" group="{group}"'


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
