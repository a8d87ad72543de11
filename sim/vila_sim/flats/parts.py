"""Shorthands for the primitives that furniture is made of: full sizes in metres, z is the bottom of the part."""

from __future__ import annotations

import math

from vila_sim.flats.scene import Primitive

Rgb = tuple[float, float, float]
Vector = tuple[float, float, float]


def box(size: Vector, at: Vector, rgb: Rgb, pitch: float = 0.0) -> Primitive:
    """A box whose bottom is at `at`, turned about y by the pitch, radians."""
    half = (size[0] / 2, size[1] / 2, size[2] / 2)
    return Primitive("box", half, (at[0], at[1], at[2] + half[2]), rgb, (0.0, pitch, 0.0))


def post(radius: float, height: float, at: Vector, rgb: Rgb) -> Primitive:
    """An upright cylinder."""
    return Primitive("cylinder", (radius, height / 2, 0.0), (at[0], at[1], at[2] + height / 2), rgb)


def rod(radius: float, start: Vector, end: Vector, rgb: Rgb) -> Primitive:
    """A cylinder from one point to another."""
    dx, dy, dz = (b - a for a, b in zip(start, end, strict=True))
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, (start[2] + end[2]) / 2)
    half = math.sqrt(dx * dx + dy * dy + dz * dz) / 2
    turn = (0.0, math.atan2(math.hypot(dx, dy), dz), math.atan2(dy, dx))
    return Primitive("cylinder", (radius, half, 0.0), middle, rgb, turn)


def globe(radius: float, at: Vector, rgb: Rgb) -> Primitive:
    """A sphere."""
    return Primitive("sphere", (radius, 0.0, 0.0), (at[0], at[1], at[2] + radius), rgb)


def egg(axes: Vector, at: Vector, rgb: Rgb) -> Primitive:
    """An ellipsoid of these semi-axes."""
    return Primitive("ellipsoid", axes, (at[0], at[1], at[2] + axes[2]), rgb)


def corners(length: float, width: float) -> tuple[tuple[float, float], ...]:
    """The four corners (x, y) of a rectangle about the origin."""
    x, y = length / 2, width / 2
    return ((x, y), (x, -y), (-x, y), (-x, -y))


def legs(length: float, width: float, height: float, thick: float, rgb: Rgb) -> tuple[Primitive, ...]:
    """Four square legs at the corners of a rectangle."""
    return tuple(box((thick, thick, height), (*corner, 0.0), rgb) for corner in corners(length - thick, width - thick))
