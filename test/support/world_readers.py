"""Reads back what a file of each simulator holds, as rows that can be compared with a flat."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vila_sim.flats.scene import Flat, Primitive, SceneObject
from vila_sim.flats.solids import SLAB_M, WALL_RGB

NUMBERS = {"box": 3, "ellipsoid": 3, "sphere": 1, "cylinder": 2, "capsule": 2}


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A solid in the world's frame. look: its colour, or its texture's name. collision: the shape that collides."""

    shape: str
    half_size: tuple[float, ...]
    position: NDArray[np.float64]
    rotation: NDArray[np.float64]  # [3, 3]
    look: tuple[float, ...] | str
    collision: Row | None = None


def turned(rpy: tuple[float, float, float]) -> NDArray[np.float64]:
    """Rotation about the fixed axes x, y, z, in turn."""
    roll, pitch, yaw = rpy
    about_x = np.array([[1, 0, 0], [0, math.cos(roll), -math.sin(roll)], [0, math.sin(roll), math.cos(roll)]])
    about_y = np.array([[math.cos(pitch), 0, math.sin(pitch)], [0, 1, 0], [-math.sin(pitch), 0, math.cos(pitch)]])
    about_z = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def expected(flat: Flat) -> dict[str, Row]:
    """What the flat itself says, without the description that the writers share."""
    rows = {}
    things = [*((f"object:{i}", thing, True) for i, thing in enumerate(flat.objects))]
    things += [(f"clutter:{i}", thing, True) for i, thing in enumerate(flat.clutter)]
    things += [(f"leaf:{i}", leaf.thing, False) for i, leaf in enumerate(flat.leaves)]
    things += [(f"decor:{i}", thing, False) for i, thing in enumerate(flat.decor)]
    for key, thing, collides in things:
        for k, part in enumerate(thing.primitives):
            rows[f"{key}:{k}"] = _row(part, thing, collides)
    whole = (0.0, 0.0, flat.width_m, flat.depth_m)
    rows["ceiling:0:0"] = _slab(whole, 2.5, 2.5 + 2 * SLAB_M, (0.86, 0.86, 0.84))
    return rows | {f"shell:0:{k}": row for k, row in enumerate(_shell(flat, whole))}


def _row(part: Primitive, thing: SceneObject, collides: bool) -> Row:
    base = turned((0.0, 0.0, thing.yaw_rad))
    row = Row(
        part.shape,
        part.half_size_m[: NUMBERS[part.shape]],
        base @ np.array(part.position_m) + (thing.x_m, thing.y_m, 0.0),
        base @ turned(part.euler_rad),
        part.texture or part.rgb,
    )
    return _colliding(row) if collides else row


def _colliding(row: Row) -> Row:
    return Row(row.shape, row.half_size, row.position, row.rotation, row.look, row)


def _shell(flat: Flat, whole: tuple[float, ...]) -> list[Row]:
    rows = [_slab(whole, -0.104, -0.004, (0.3, 0.25, 0.2))]
    for room in flat.rooms:
        bounds = (room.x_min_m, room.y_min_m, room.x_max_m, room.y_max_m)
        rows.append(_slab(bounds, -0.04, 0.0, room.floor_texture))
    for wall in flat.walls:
        bounds = (wall.x_min_m, wall.y_min_m, wall.x_max_m, wall.y_max_m)
        rows.append(_colliding(_slab(bounds, 0.0, wall.height_m, WALL_RGB)))
    return rows


def _slab(bounds: tuple[float, ...], low: float, high: float, look: tuple[float, ...] | str) -> Row:
    x0, y0, x1, y1 = bounds
    half = (x1 - x0) / 2, (y1 - y0) / 2, (high - low) / 2
    return Row("box", half, np.array([(x0 + x1) / 2, (y0 + y1) / 2, (low + high) / 2]), np.eye(3), look)


# --- MJCF


def read_mjcf(path: Path) -> dict[str, Row]:
    """What MuJoCo makes of the file."""
    import mujoco

    model = mujoco.MjModel.from_xml_path(str(path))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    shapes = {int(getattr(mujoco.mjtGeom, f"mjGEOM_{name.upper()}")): name for name in NUMBERS}
    rows = {}
    for index in range(model.ngeom):
        geom = model.geom(index)
        if geom.name == "hull":
            continue
        shape = shapes[int(model.geom_type[index])]
        material = int(model.geom_matid[index])
        worn = int(max(model.mat_texid[material])) if material >= 0 else -1
        look = model.tex(worn).name if worn >= 0 else tuple(model.geom_rgba[index][:3])
        row = Row(
            shape,
            tuple(model.geom_size[index][: NUMBERS[shape]]),
            data.geom_xpos[index].copy(),
            data.geom_xmat[index].reshape(3, 3).copy(),
            look,
        )
        rows[geom.name] = _colliding(row) if model.geom_contype[index] else row
    return rows


# --- SDF


def read_sdf(path: Path) -> dict[str, Row]:
    """What the text says; meshes and textures are those that lie where it says."""
    rows = {}
    for model in ElementTree.parse(path).getroot().find("world").findall("model"):
        if model.get("name") in ("robot", "ground"):
            continue
        base = _pose(model)
        for link in model.findall("link"):
            collisions = {c.get("name").removesuffix(":collision"): c for c in link.findall("collision")}
            for visual in link.findall("visual"):
                row = _sdf_row(visual, base, path.parent)
                collision = collisions.pop(visual.get("name"), None)
                if collision is not None:
                    shape = _sdf_row(collision, base, path.parent)
                    row = Row(row.shape, row.half_size, row.position, row.rotation, row.look, shape)
                rows[visual.get("name")] = row
            assert not collisions
    return rows


def _pose(element: ElementTree.Element) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = [float(word) for word in element.findtext("pose", "0 0 0 0 0 0").split()]
    return np.array(values[:3]), turned((values[3], values[4], values[5]))


def _sdf_row(element: ElementTree.Element, base: tuple[NDArray[np.float64], NDArray[np.float64]], folder: Path) -> Row:
    position, rotation = _pose(element)
    (shape,) = element.find("geometry")
    at = base[0] + base[1] @ position
    return Row(*_sdf_size(shape, folder), at, base[1] @ rotation, _sdf_look(element.find("material"), folder))


def _sdf_size(shape: ElementTree.Element, folder: Path) -> tuple[str, tuple[float, ...]]:
    def numbers(tag: str) -> list[float]:
        return [float(word) for word in shape.findtext(tag).split()]

    if shape.tag == "mesh":
        lines = (folder / shape.findtext("uri")).read_text().splitlines()
        points = np.array([[float(word) for word in line.split()[1:]] for line in lines if line.startswith("v ")])
        return "box", half_extents(points)
    if shape.tag == "box":
        return "box", tuple(size / 2 for size in numbers("size"))
    if shape.tag == "ellipsoid":
        return "ellipsoid", tuple(numbers("radii"))
    half = [numbers("length")[0] / 2] if shape.tag != "sphere" else []
    return shape.tag, (*numbers("radius"), *half)


def _sdf_look(material: ElementTree.Element | None, folder: Path) -> tuple[float, ...] | str:
    if material is None:
        return ""
    texture = material.findtext("pbr/metal/albedo_map")
    if texture:
        assert (folder / texture).is_file()
        return Path(texture).stem
    assert material.findtext("ambient") == material.findtext("diffuse")
    return tuple(float(word) for word in material.findtext("diffuse").split()[:3])


def half_extents(points: NDArray[np.float64]) -> tuple[float, ...]:
    """Of points around the origin."""
    assert np.allclose(points.max(axis=0), -points.min(axis=0), atol=1e-5)
    return tuple(points.max(axis=0))


# --- USD


def read_usd(path: Path) -> dict[str, Row]:
    """What OpenUSD makes of the file."""
    from pxr import Usd, UsdGeom, UsdPhysics

    stage = Usd.Stage.Open(str(path))
    cache = UsdGeom.XformCache()
    rows = {}
    for body in stage.GetPrimAtPath("/World/flat").GetChildren():
        for prim in body.GetChildren():
            matrix = np.array(cache.GetLocalToWorldTransform(prim)).T
            scale = np.linalg.norm(matrix[:3, :3], axis=0)
            shape, half = _usd_size(prim, scale)
            row = Row(shape, half, matrix[:3, 3], matrix[:3, :3] / scale, _usd_look(prim, path.parent))
            name = prim.GetName().replace("_", ":")
            rows[name] = _colliding(row) if prim.HasAPI(UsdPhysics.CollisionAPI) else row
    return rows


def _usd_size(prim: object, scale: NDArray[np.float64]) -> tuple[str, tuple[float, ...]]:
    kind = prim.GetTypeName()
    if kind == "Mesh":
        points = np.array(prim.GetAttribute("points").Get(), float)
        inside = np.abs(points) < 1e-6
        return ("ellipsoid" if inside.any() else "box"), half_extents(points)
    if kind == "Cube":
        return "box", tuple(scale * prim.GetAttribute("size").Get() / 2)
    assert np.allclose(scale, 1.0)
    radius = prim.GetAttribute("radius").Get()
    if kind == "Sphere":
        return "sphere", (radius,)
    assert prim.GetAttribute("axis").Get() == "Z"
    return kind.lower(), (radius, prim.GetAttribute("height").Get() / 2)


def _usd_look(prim: object, folder: Path) -> tuple[float, ...] | str:
    from pxr import UsdShade

    material = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial()[0]
    colour = material.ComputeSurfaceSource()[0].GetInput("diffuseColor")
    if not colour.HasConnectedSource():
        return tuple(colour.Get())
    texture = UsdShade.Shader(colour.GetConnectedSource()[0].GetPrim())
    file = folder / texture.GetInput("file").Get().path
    assert file.is_file()
    return file.stem
