"""Pieces of SDF that world and robot share: poses, shapes, materials, plugins."""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element, SubElement

from vila_sim.flats.scene import Primitive
from vila_sim.gazebo.versions import GazeboVersion

Value = str | float | int | bool | tuple[float, ...]


def add(parent: Element, tag: str, value: Value | None = None, **attributes: str) -> Element:
    """Append an element with a value and attributes, and return it."""
    element = SubElement(parent, tag, attributes)
    if value is not None:
        element.text = written(value)
    return element


def written(value: Value) -> str:
    """Return a value in SDF's spelling; numbers with six digits."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return " ".join(written(one) for one in value)
    return value if isinstance(value, str) else f"{value:.6g}"


def add_shape(parent: Element, part: Primitive) -> None:
    """Append the <geometry> of a primitive."""
    shape = add(add(parent, "geometry"), part.shape)
    first, second, _ = part.half_size_m
    if part.shape == "box":
        add(shape, "size", tuple(2 * half for half in part.half_size_m))
    elif part.shape == "ellipsoid":
        add(shape, "radii", part.half_size_m)
    else:
        add(shape, "radius", first)
        if part.shape in ("cylinder", "capsule"):
            add(shape, "length", 2 * second)


def add_pose(parent: Element, part: Primitive) -> None:
    """Append the <pose> of a primitive in its link."""
    add(parent, "pose", (*part.position_m, *part.euler_rad))


def add_material(parent: Element, part: Primitive, *, glows: bool = False) -> None:
    """Append the <material>: the colour, and the texture's file beside the world if it wears one."""
    material = add(parent, "material")
    colour = (*part.rgb, 1.0)
    add(material, "ambient", colour)
    add(material, "diffuse", colour)
    add(material, "specular", (0.06, 0.06, 0.06, 1.0))
    if glows:
        add(material, "emissive", (*(0.45 * channel for channel in part.rgb), 1.0))
    if part.texture:
        metal = add(add(material, "pbr"), "metal")
        add(metal, "albedo_map", f"textures/{part.texture}.png")
        add(metal, "roughness", 0.9)
        add(metal, "metalness", 0.0)


def add_system(parent: Element, version: GazeboVersion, kind: str, system: str) -> Element:
    """Append the <plugin> of one of Gazebo's systems and return it."""
    filename, name = version.plugin(kind, system)
    return add(parent, "plugin", filename=filename, name=name)


def add_inertia(link: Element, kg: float, centre_m: tuple[float, ...], diagonal: tuple[float, ...]) -> None:
    """Append the <inertial> of a link."""
    inertial = add(link, "inertial")
    add(inertial, "pose", (*centre_m, 0.0, 0.0, 0.0))
    add(inertial, "mass", kg)
    inertia = add(inertial, "inertia")
    for name, value in zip(("ixx", "iyy", "izz"), diagonal, strict=True):
        add(inertia, name, value)
    for name in ("ixy", "ixz", "iyz"):
        add(inertia, name, 0.0)


def wheel_inertia(kg: float, radius_m: float, width_m: float) -> tuple[float, float, float]:
    """Return the moments of a cylinder about its axis z, and across it: (across, across, about)."""
    across = kg * (3 * radius_m**2 + width_m**2) / 12
    return across, across, kg * radius_m**2 / 2


UPRIGHT_WHEEL = (-math.pi / 2, 0.0, 0.0)  # turns a cylinder's z to the axle
