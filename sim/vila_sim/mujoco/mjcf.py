"""Writes a flat and its robot as MJCF, the language of MuJoCo."""

from __future__ import annotations

import math
from xml.sax.saxutils import quoteattr

from vila_core.types import Pose
from vila_sim.families.table import PLAIN
from vila_sim.flats.lighting import Lighting, Rgb
from vila_sim.flats.scene import Flat
from vila_sim.flats.solids import CEILING, SHELL, Body, Solid, bodies_of, texture_names
from vila_sim.flats.textures import TEXTURES
from vila_sim.robot import MAX_FORCE_N_PER_KG, MAX_IMAGE_PX, SERVO_S, CameraConfig, RobotConfig, hull_of

TIMESTEP_S = 0.005
SAMPLES = 4  # MSAA
MAP_MARGIN_M = 0.25
MAX_MAP_PX = MAX_IMAGE_PX

GROUP_SHELL, GROUP_OBJECT, GROUP_DECOR, GROUP_ROBOT, GROUP_OVERHEAD = range(5)
_GROUPS = {"shell": GROUP_SHELL, "object": GROUP_OBJECT, "decor": GROUP_DECOR, "overhead": GROUP_OVERHEAD}
_NUMBERS = {"sphere": 1, "cylinder": 2, "capsule": 2}  # that tell a shape's size; three of the others
_GHOST = 'contype="0" conaffinity="0" '


def write_mjcf(
    flat: Flat, camera: CameraConfig, robot: RobotConfig, *, movable: bool = False, start: Pose | None = None
) -> str:
    """Write the flat, its lights, the robot with its camera `eye`, and the camera `map` above.

    Geoms bear the names of solids.bodies_of, and the group of their layer: see GROUP_*. Textures are named files;
    solids.texture_assets gives their bytes.
    movable: each object is a mocap body of its name, as door leaves always are. Such a body can be put anywhere and
    collides with nothing: it would push the robot about with all the force in the world.
    start: a key frame of that name holds the robot's pose.
    """
    body = [
        *_lights(flat.lighting),
        *_map_camera(flat),
        *(_body(body, _digits(body, flat)) for body in bodies_of(flat, movable=movable)),
        *_robot(camera, robot),
    ]
    key = [] if start is None else [_key_frame(start)]
    return "\n".join(
        [
            "<mujoco>",
            *_header(flat, camera),
            "<worldbody>",
            *body,
            "</worldbody>",
            *_actuators(robot),
            *key,
            "</mujoco>",
        ]
    )


def map_size(flat: Flat, width_px: int) -> tuple[int, int]:
    """Pixels (width, height) of a map of that width, margin included."""
    ratio = (flat.depth_m + 2 * MAP_MARGIN_M) / (flat.width_m + 2 * MAP_MARGIN_M)
    return width_px, round(width_px * ratio)


def _header(flat: Flat, camera: CameraConfig) -> list[str]:
    extent = max(flat.width_m, flat.depth_m)
    return [
        '<compiler angle="radian" eulerseq="XYZ" autolimits="true"/>',
        f'<option timestep="{TIMESTEP_S}" integrator="implicitfast" gravity="0 0 0"/>',
        f'<statistic extent="{extent:g}" center="{flat.width_m / 2:g} {flat.depth_m / 2:g} 1"/>',
        "<visual>",
        f'<global offwidth="{camera.width_px}" offheight="{camera.height_px}"/>',
        f'<quality shadowsize="0" offsamples="{SAMPLES}" numslices="14" numstacks="8" numquads="2"/>',
        f'<headlight ambient="{_rgb(flat.lighting.ambient)}" diffuse="{_rgb(flat.lighting.headlight)}"'
        ' specular="0 0 0"/>',
        '<map znear="0.003" zfar="3"/>',
        "</visual>",
        "<asset>",
        '<material name="paint" specular="0.12" shininess="0.3"/>',
        '<material name="glow" specular="0" emission="0.45"/>',
        *(line for name in texture_names(flat) for line in _texture(name)),
        "</asset>",
        '<default><geom condim="1" friction="0.1 0.005 0.0001"/></default>',
    ]


def _texture(name: str) -> list[str]:
    texture = TEXTURES[name]
    if texture.is_wrapped:
        return [
            f'<texture name="{name}" type="cube" file="{name}.png"/>',
            f'<material name="{name}" texture="{name}" specular="0.08" shininess="0.2"/>',
        ]
    tile = texture.tile_m
    repeat = f"{2 / tile:.4f}" if tile else "1"  # MuJoCo counts copies per 2 m of a box
    emission = "0.5" if name == "sky" else "0"
    return [
        f'<texture name="{name}" type="2d" file="{name}.png"/>',
        f'<material name="{name}" texture="{name}" texuniform="{"true" if tile else "false"}"'
        f' texrepeat="{repeat} {repeat}" specular="0.03" shininess="0.1" emission="{emission}"/>',
    ]


def _lights(lighting: Lighting) -> list[str]:
    """Lights from afar, and lamps: those shine down, which is where everything is."""
    return [
        *(
            f'<light type="directional" castshadow="false" pos="0 0 4" dir="{x} {y} {z}"'
            f' diffuse="{_rgb(light.rgb)}" ambient="0 0 0" specular="{_rgb(light.rgb, 2)}"/>'
            for light in lighting.directional
            for x, y, z in (light.direction,)
        ),
        *(
            f'<light type="spot" castshadow="false" pos="{x} {y} {z}" dir="0 0 -1" cutoff="90" exponent="0"'
            f' attenuation="1 0 {1 / light.reach_m**2:.4f}" diffuse="{_rgb(light.rgb)}" ambient="0 0 0"'
            ' specular="0 0 0"/>'
            for light in lighting.points
            for x, y, z in (light.position_m,)
        ),
    ]


def _rgb(rgb: Rgb, divisor: int = 1) -> str:
    return " ".join(f"{value / divisor:g}" for value in rgb)


def _map_camera(flat: Flat) -> list[str]:
    return [f'<camera name="map" pos="{flat.width_m / 2:g} {flat.depth_m / 2:g} 6" xyaxes="1 0 0 0 1 0"/>']


def _digits(body: Body, flat: Flat) -> int:
    """How exact numbers are: four digits of a thing in plain flats, as the embedded model saw it; a shell is larger."""
    return 4 if flat.family == PLAIN and body.name not in (SHELL, CEILING) else 6


def _body(body: Body, digits: int) -> str:
    """One frame or mocap body holding the body's solids."""
    geoms = [_geom(solid, digits) for solid in body.solids]
    pose = f'pos="{body.x_m:.4f} {body.y_m:.4f} 0" euler="0 0 {body.yaw_rad:.5f}"'
    if body.is_movable:
        return "\n".join([f'<body name={quoteattr(body.name)} mocap="true" {pose}>', *geoms, "</body>"])
    return "\n".join([f"<frame {pose}>", *geoms, "</frame>"])


def _geom(solid: Solid, digits: int) -> str:
    part = solid.part
    group = f'group="{_GROUPS[solid.layer]}"'
    euler = f' euler="{_numbers(part.euler_rad, digits)}"' if any(part.euler_rad) else ""
    return (
        f'<geom name={quoteattr(solid.name)} type="{part.shape}"'
        f' size="{_numbers(part.half_size_m[: _NUMBERS.get(part.shape, 3)], digits)}"'
        f' pos="{_numbers(part.position_m, digits)}"{euler} rgba="{_numbers(part.rgb)} 1"'
        f"{_material(solid)} {group if solid.collides else _GHOST + group}/>"
    )


def _material(solid: Solid) -> str:
    name = solid.part.texture or solid.finish
    return "" if name == "bare" else f' material="{name}"'


def _robot(camera: CameraConfig, robot: RobotConfig) -> list[str]:
    """A cylinder on two slides and a hinge, clear of the floor, with the camera `eye`."""
    pitch = math.radians(camera.pitch_deg)
    axes = f"0 -1 0 {math.sin(pitch):.6f} 0 {math.cos(pitch):.6f}"
    hull, half = hull_of(robot), robot.height_m / 2
    inertia = robot.mass_kg * robot.radius_m**2 / 2
    return [
        '<body name="base">',
        '<joint name="x" type="slide" axis="1 0 0"/>',
        '<joint name="y" type="slide" axis="0 1 0"/>',
        '<joint name="yaw" type="hinge" axis="0 0 1"/>',
        f'<inertial pos="0 0 {half:g}" mass="{robot.mass_kg:g}" diaginertia="1 1 {inertia:.5f}"/>',
        f'<geom name="hull" type="cylinder" size="{_numbers(hull.half_size_m[:2])}" pos="{_numbers(hull.position_m)}"'
        f' rgba="{_numbers(hull.rgb)} 1" material="paint" group="{GROUP_ROBOT}"/>',
        f'<camera name="eye" pos="0 0 {camera.height_m:g}" xyaxes="{axes}" fovy="{camera.vfov_deg:.5f}"/>',
        "</body>",
    ]


def _actuators(robot: RobotConfig) -> list[str]:
    """Velocity servos with the force of a small robot."""
    gain, force = robot.mass_kg / SERVO_S, MAX_FORCE_N_PER_KG * robot.mass_kg
    inertia = robot.mass_kg * robot.radius_m**2 / 2
    return [
        "<actuator>",
        *(f'<velocity joint="{axis}" kv="{gain:g}" forcerange="{-force:g} {force:g}"/>' for axis in ("x", "y")),
        f'<velocity joint="yaw" kv="{inertia / SERVO_S:g}"/>',
        "</actuator>",
    ]


def _key_frame(start: Pose) -> str:
    return f'<keyframe><key name="start" qpos="{start.x_m:.4f} {start.y_m:.4f} {start.yaw_rad:.5f}"/></keyframe>'


def _numbers(values: tuple[float, ...], digits: int = 4) -> str:
    return " ".join(f"{value:.{digits}g}" for value in values)
