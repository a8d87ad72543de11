"""Writes a flat and its robot as an SDF 1.9 world, with its meshes, textures and the bridge to ROS beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from vila_core.files.writing import written_whole
from vila_core.types import Pose
from vila_sim.flats.lighting import Lighting
from vila_sim.flats.meshes import Mesh, textured_box
from vila_sim.flats.scene import Flat
from vila_sim.flats.solids import Body, Solid, bodies_of, texture_assets
from vila_sim.gazebo.bridge import bridge_yaml
from vila_sim.gazebo.elements import add, add_material, add_pose, add_shape, add_system
from vila_sim.gazebo.robot import add_robot
from vila_sim.gazebo.versions import DEFAULT, GazeboVersion, gazebo_version
from vila_sim.robot import CameraConfig, RobotConfig

WORLD_FILE, BRIDGE_FILE = "world.sdf", "bridge.yaml"
STEP_S = 0.004
_SYSTEMS = (
    ("physics", "Physics"),
    ("sensors", "Sensors"),
    ("user-commands", "UserCommands"),
    ("scene-broadcaster", "SceneBroadcaster"),
)


@dataclass(frozen=True, slots=True)
class SdfWorld:
    """The text of a world, and its meshes (OBJ) by file name."""

    text: str
    meshes: dict[str, str]


def write_gazebo_world(
    folder: Path,
    flat: Flat,
    start: Pose,
    *,
    gz: str = DEFAULT,
    camera: CameraConfig | None = None,
    robot: RobotConfig | None = None,
) -> Path:
    """Write world.sdf, textures/, meshes/ and bridge.yaml for a version of Gazebo; return the path of the world.

    Raises ConfigError for an unknown version, OutputError where it cannot be written.
    """
    version = gazebo_version(gz)
    world = sdf_world(flat, camera or CameraConfig(), robot or RobotConfig(), start, version)
    with written_whole(folder) as made:
        for name in ("textures", "meshes"):
            (made / name).mkdir(parents=True)
        for name, pixels in texture_assets(flat).items():
            (made / "textures" / name).write_bytes(pixels)
        for name, text in world.meshes.items():
            (made / "meshes" / name).write_text(text, encoding="utf-8")
        (made / WORLD_FILE).write_text(world.text, encoding="utf-8")
        (made / BRIDGE_FILE).write_text(bridge_yaml(version), encoding="utf-8")
    return folder / WORLD_FILE


def sdf_world(flat: Flat, camera: CameraConfig, robot: RobotConfig, start: Pose, version: GazeboVersion) -> SdfWorld:
    """Return the world that holds the flat and, at its start, the model `robot`.

    Models bear the names of solids.bodies_of, visuals those of the solids, collisions SOLID:collision. What wears
    a texture is a mesh, since SDF cannot tile a texture on a box; what collides is always the primitive.
    """
    root = Element("sdf", version="1.9")
    world = add(root, "world", name="flat")
    _add_physics(world, version)
    _add_light(world, flat.lighting)
    _add_ground(world)
    meshes: dict[str, str] = {}
    for body in bodies_of(flat):
        _add_body(world, body, meshes)
    add_robot(world, camera, robot, start, version)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode", xml_declaration=False)
    return SdfWorld(f'<?xml version="1.0"?>\n{text}\n', meshes)


def _add_physics(world: Element, version: GazeboVersion) -> None:
    physics = add(world, "physics", name="steps", type="ignored")
    add(physics, "max_step_size", STEP_S)
    add(physics, "real_time_factor", 1.0)
    for kind, system in _SYSTEMS:
        plugin = add_system(world, version, kind, system)
        if system == "Sensors":
            add(plugin, "render_engine", "ogre2")
    add(world, "gravity", (0.0, 0.0, -9.81))


def _add_light(world: Element, lighting: Lighting) -> None:
    scene = add(world, "scene")
    add(scene, "ambient", (*lighting.ambient, 1.0))
    add(scene, "background", (0.0, 0.0, 0.0, 1.0))
    add(scene, "shadows", False)
    add(scene, "grid", False)
    for number, far in enumerate(lighting.directional):
        light = add(world, "light", name=f"light_{number}", type="directional")
        add(light, "pose", (0.0, 0.0, 4.0, 0.0, 0.0, 0.0))
        add(light, "direction", far.direction)
        add(light, "diffuse", (*far.rgb, 1.0))
        add(light, "specular", (*(value / 2 for value in far.rgb), 1.0))
        add(light, "cast_shadows", False)
    for number, lamp in enumerate(lighting.points):
        light = add(world, "light", name=f"lamp_{number}", type="point")
        add(light, "pose", (*lamp.position_m, 0.0, 0.0, 0.0))
        add(light, "diffuse", (*lamp.rgb, 1.0))
        add(light, "specular", (0.0, 0.0, 0.0, 1.0))
        fading = add(light, "attenuation")
        add(fading, "range", 20.0)
        add(fading, "constant", 1.0)
        add(fading, "linear", 0.0)
        add(fading, "quadratic", 1 / lamp.reach_m**2)
        add(light, "cast_shadows", False)


def _add_ground(world: Element) -> None:
    """Append the plane that the wheels stand on, unseen; the floors that are seen are thin boxes that end there."""
    model = add(world, "model", name="ground")
    add(model, "static", True)
    collision = add(add(model, "link", name="link"), "collision", name="plane")
    plane = add(add(collision, "geometry"), "plane")
    add(plane, "normal", (0, 0, 1))
    add(plane, "size", (100, 100))


def _add_body(world: Element, body: Body, meshes: dict[str, str]) -> None:
    model = add(world, "model", name=body.name)
    add(model, "static", True)
    add(model, "pose", (body.x_m, body.y_m, 0.0, 0.0, 0.0, body.yaw_rad))
    link = add(model, "link", name="link")
    for solid in body.solids:
        visual = add(link, "visual", name=solid.name)
        add_pose(visual, solid.part)
        if solid.part.texture:
            _add_mesh(visual, solid, meshes)
        else:
            add_shape(visual, solid.part)
        add_material(visual, solid.part, glows=solid.finish == "glow")
        if solid.collides:
            collision = add(link, "collision", name=f"{solid.name}:collision")
            add_pose(collision, solid.part)
            add_shape(collision, solid.part)


def _add_mesh(visual: Element, solid: Solid, meshes: dict[str, str]) -> None:
    name = f"{solid.name.replace(':', '_')}.obj"
    meshes[name] = obj_text(textured_box(solid.part))
    add(add(add(visual, "geometry"), "mesh"), "uri", f"meshes/{name}")


def obj_text(mesh: Mesh) -> str:
    """Return a mesh as Wavefront OBJ."""
    return "\n".join(["o box", *_obj_lines(mesh), ""])


def _obj_lines(mesh: Mesh) -> Iterator[str]:
    for kind, rows in (("v", mesh.points), ("vt", mesh.uvs), ("vn", mesh.normals)):
        for row in rows:
            yield " ".join([kind, *(f"{value:.6g}" for value in row)])
    corner = 1  # OBJ counts from one
    for face in mesh.faces:
        yield " ".join(["f", *(f"{point + 1}/{corner + k}/{corner + k}" for k, point in enumerate(face))])
        corner += len(face)
