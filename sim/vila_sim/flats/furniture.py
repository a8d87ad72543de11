"""Furniture made of primitives: chunky shapes that stay legible in a small image from 3 m.

Every builder draws at nominal size in the object's frame: origin on the floor, +x its front.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vila_core.errors import WorldError
from vila_sim.flats.parts import Rgb, Vector, box, egg, globe, legs, post
from vila_sim.flats.scene import Primitive, SceneObject

COLOURS: dict[str, Rgb] = {
    "red": (0.78, 0.05, 0.05),
    "green": (0.06, 0.52, 0.10),
    "blue": (0.06, 0.15, 0.78),
    "yellow": (0.93, 0.82, 0.05),
    "orange": (0.95, 0.42, 0.02),
    "purple": (0.46, 0.10, 0.60),
    "white": (0.94, 0.94, 0.94),
    "black": (0.05, 0.05, 0.055),
}

WOOD: Rgb = (0.40, 0.27, 0.16)
METAL: Rgb = (0.46, 0.47, 0.49)
LEAF: Rgb = (0.13, 0.36, 0.10)
LINEN: Rgb = (0.80, 0.78, 0.73)
GLASS: Rgb = (0.16, 0.19, 0.23)
SCALE_JITTER = 0.10
ENLARGED: dict[str, float] = {  # larger than life, so that a small image shows them from 3 m
    "chair": 1.1,
    "stool": 1.25,
    "plant": 1.3,
    "ball": 1.15,
    "crate": 1.15,
    "vase": 1.35,
    "bin": 1.3,
    "suitcase": 1.15,
    "cone": 1.35,
    "bear": 1.15,
}


@dataclass(frozen=True, slots=True)
class Paint:
    """The named colour and two shades of it, so that edges and drawers show."""

    main: Rgb
    dark: Rgb
    light: Rgb


Builder = Callable[[Paint], tuple[Primitive, ...]]


def build_object(
    kind: str,
    colour: str,
    rng: np.random.Generator,
    *,
    name: str = "",
    room: str = "",
    x_m: float = 0.0,
    y_m: float = 0.0,
    yaw_rad: float = 0.0,
) -> SceneObject:
    """Build a piece of furniture; rng varies its size by +-10 % and its shade a little.

    Raises WorldError for a kind or a colour that is not in KINDS or COLOURS.
    """
    if kind not in KINDS:
        raise WorldError(f"unknown kind {kind!r}; known: {', '.join(KINDS)}")
    if colour not in COLOURS:
        raise WorldError(f"unknown colour {colour!r}; known: {', '.join(COLOURS)}")
    scale = ENLARGED.get(kind, 1.0) * (1.0 + rng.uniform(-SCALE_JITTER, SCALE_JITTER))
    parts = KINDS[kind](mix_paint(COLOURS[colour], rng.uniform(0.94, 1.04)))
    thing = assembled(kind, colour, scaled(parts, scale))
    return replace(thing, name=name or thing.name, room=room, x_m=x_m, y_m=y_m, yaw_rad=yaw_rad)


def assembled(kind: str, colour: str, primitives: tuple[Primitive, ...]) -> SceneObject:
    """A thing at the origin made of these parts: its footprint and height are theirs."""
    half_x, half_y, height = _bounds(primitives)
    return SceneObject(
        name=f"{colour}_{kind}" if colour else kind,
        kind=kind,
        colour=colour,
        room="",
        x_m=0.0,
        y_m=0.0,
        yaw_rad=0.0,
        footprint_m=(2 * half_x, 2 * half_y),
        height_m=height,
        primitives=primitives,
    )


def mix_paint(colour: Rgb, brightness: float = 1.0) -> Paint:
    """Derive the two shades of a colour; brightness varies the colour itself."""
    main = _clipped(tuple(channel * brightness for channel in colour))
    dark = _clipped(tuple(channel * 0.66 for channel in main))
    light = _clipped(tuple(channel + 0.15 * (1.0 - channel) for channel in main))
    return Paint(main, dark, light)


def _clipped(rgb: tuple[float, ...]) -> Rgb:
    red, green, blue = (round(min(max(channel, 0.0), 1.0), 3) for channel in rgb)
    return red, green, blue


def scaled(parts: tuple[Primitive, ...], scale: float) -> tuple[Primitive, ...]:
    """The parts of a thing made larger or smaller, to a tenth of a millimetre."""
    return tuple(
        replace(part, half_size_m=_rounded(part.half_size_m, scale), position_m=_rounded(part.position_m, scale))
        for part in parts
    )


def _rounded(vector: Vector, scale: float) -> Vector:
    x, y, z = (round(value * scale, 4) for value in vector)
    return x, y, z


def _bounds(primitives: tuple[Primitive, ...]) -> Vector:
    """Half extents along x and y of the smallest box centred on the origin, and the height."""
    half_x = half_y = height = 0.0
    for part in primitives:
        reach_x, reach_y, reach_z = _reach(part)
        half_x = max(half_x, abs(part.position_m[0]) + reach_x)
        half_y = max(half_y, abs(part.position_m[1]) + reach_y)
        height = max(height, part.position_m[2] + reach_z)
    return half_x, half_y, height


def _reach(part: Primitive) -> Vector:
    """Half extents of a primitive's axis-aligned box, after its rotation."""
    first, second, third = part.half_size_m
    if part.shape == "sphere":
        return first, first, first
    if part.shape in ("cylinder", "capsule"):
        second, third = first, second + (first if part.shape == "capsule" else 0.0)
    roll, pitch, yaw = part.euler_rad
    cr, sr, cp, sp, cy, sy = (f(a) for a in (roll, pitch, yaw) for f in (math.cos, math.sin))
    rows = (
        (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
        (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
        (-sp, cp * sr, cp * cr),
    )
    x, y, z = (abs(row[0]) * first + abs(row[1]) * second + abs(row[2]) * third for row in rows)
    return x, y, z


# --- the kinds


def _chair(paint: Paint) -> tuple[Primitive, ...]:
    return (
        box((0.48, 0.48, 0.10), (0.0, 0.0, 0.38), paint.main),
        box((0.09, 0.48, 0.56), (-0.195, 0.0, 0.46), paint.main),
        *legs(0.48, 0.48, 0.38, 0.075, paint.dark),
    )


def _stool(paint: Paint) -> tuple[Primitive, ...]:
    return (
        post(0.21, 0.12, (0.0, 0.0, 0.56), paint.main),
        post(0.055, 0.50, (0.0, 0.0, 0.06), paint.dark),
        post(0.21, 0.07, (0.0, 0.0, 0.0), paint.main),
    )


def _table(paint: Paint) -> tuple[Primitive, ...]:
    return (box((0.80, 1.30, 0.08), (0.0, 0.0, 0.68), paint.main), *legs(0.76, 1.26, 0.68, 0.09, paint.dark))


def _seat(paint: Paint, width: float, cushions: int) -> tuple[Primitive, ...]:
    inner = width - 0.36
    each = inner / cushions
    at = [-inner / 2 + each * (i + 0.5) for i in range(cushions)]
    return (
        box((0.84, width, 0.26), (0.0, 0.0, 0.05), paint.main),
        box((0.22, width, 0.50), (-0.31, 0.0, 0.31), paint.main),
        box((0.84, 0.18, 0.30), (0.0, width / 2 - 0.09, 0.31), paint.main),
        box((0.84, 0.18, 0.30), (0.0, -width / 2 + 0.09, 0.31), paint.main),
        *(box((0.60, each - 0.02, 0.13), (0.11, y, 0.31), paint.light) for y in at),
        box((0.74, width - 0.1, 0.05), (0.0, 0.0, 0.0), paint.dark),
    )


def _sofa(paint: Paint) -> tuple[Primitive, ...]:
    return _seat(paint, 1.85, 2)


def _armchair(paint: Paint) -> tuple[Primitive, ...]:
    return _seat(paint, 0.90, 1)


def _bed(paint: Paint) -> tuple[Primitive, ...]:
    return (
        box((1.94, 1.36, 0.26), (0.03, 0.0, 0.0), paint.dark),
        box((0.09, 1.40, 0.95), (-0.955, 0.0, 0.0), paint.dark),
        box((1.40, 1.40, 0.27), (0.31, 0.0, 0.24), paint.main),
        box((0.56, 1.32, 0.22), (-0.64, 0.0, 0.24), LINEN),
        box((0.38, 0.54, 0.13), (-0.68, 0.33, 0.45), LINEN),
        box((0.38, 0.54, 0.13), (-0.68, -0.33, 0.45), LINEN),
    )


def _cabinet(paint: Paint) -> tuple[Primitive, ...]:
    drawers = [box((0.03, 0.84, 0.24), (0.225, 0.0, 0.08 + 0.29 * i), paint.main) for i in range(3)]
    knobs = [globe(0.035, (0.245, y, 0.165 + 0.29 * i), METAL) for i in range(3) for y in (-0.22, 0.22)]
    top = box((0.46, 0.96, 0.05), (0.0, 0.0, 0.93), paint.main)
    return (box((0.44, 0.94, 0.95), (0.0, 0.0, 0.0), paint.dark), top, *drawers, *knobs)


def _bookshelf(paint: Paint) -> tuple[Primitive, ...]:
    shelves = [box((0.34, 0.92, 0.07), (0.0, 0.0, z), paint.main) for z in (0.0, 0.44, 0.88, 1.32, 1.74)]
    books = [
        box((0.22, width, height), (0.02, y, z), rgb)
        for y, width, height, z, rgb in (
            (-0.22, 0.30, 0.27, 0.07, WOOD),
            (0.20, 0.34, 0.24, 0.51, LINEN),
            (-0.24, 0.26, 0.28, 0.95, METAL),
            (0.22, 0.30, 0.25, 1.39, WOOD),
        )
    ]
    return (
        box((0.34, 0.08, 1.81), (0.0, 0.45, 0.0), paint.main),
        box((0.34, 0.08, 1.81), (0.0, -0.45, 0.0), paint.main),
        box((0.04, 0.90, 1.78), (-0.14, 0.0, 0.0), paint.dark),
        *shelves,
        *books,
    )


def _lamp(paint: Paint) -> tuple[Primitive, ...]:
    return (
        post(0.19, 0.06, (0.0, 0.0, 0.0), paint.main),
        post(0.04, 1.22, (0.0, 0.0, 0.06), paint.dark),
        post(0.28, 0.14, (0.0, 0.0, 1.22), paint.main),
        post(0.235, 0.13, (0.0, 0.0, 1.36), paint.main),
        post(0.18, 0.12, (0.0, 0.0, 1.49), paint.main),
    )


def _plant(paint: Paint) -> tuple[Primitive, ...]:
    around = [(0.19 * math.cos(a), 0.19 * math.sin(a)) for a in np.arange(5) * 2 * math.pi / 5]
    return (
        post(0.17, 0.20, (0.0, 0.0, 0.0), paint.main),
        post(0.21, 0.20, (0.0, 0.0, 0.20), paint.main),
        egg((0.23, 0.23, 0.24), (0.0, 0.0, 0.36), LEAF),
        *(globe(0.105, (x, y, 0.60), paint.main) for x, y in around),
        globe(0.13, (0.0, 0.0, 0.80), paint.main),
        post(0.03, 0.2, (0.0, 0.0, 0.70), LEAF),
    )


def _ball(paint: Paint) -> tuple[Primitive, ...]:
    return (globe(0.27, (0.0, 0.0, 0.0), paint.main),)


def _crate(paint: Paint) -> tuple[Primitive, ...]:
    bands = [box((0.62, 0.62, 0.09), (0.0, 0.0, z), paint.main) for z in (0.0, 0.255, 0.51)]
    return (box((0.57, 0.57, 0.58), (0.0, 0.0, 0.005), paint.dark), *bands, *legs(0.62, 0.62, 0.60, 0.09, paint.main))


def _vase(paint: Paint) -> tuple[Primitive, ...]:
    return (
        post(0.12, 0.06, (0.0, 0.0, 0.0), paint.dark),
        egg((0.22, 0.22, 0.30), (0.0, 0.0, 0.03), paint.main),
        post(0.085, 0.34, (0.0, 0.0, 0.54), paint.main),
        post(0.15, 0.06, (0.0, 0.0, 0.86), paint.light),
    )


def _television(paint: Paint) -> tuple[Primitive, ...]:
    return (
        box((0.42, 1.16, 0.42), (0.0, 0.0, 0.0), paint.main),
        box((0.02, 1.04, 0.04), (0.205, 0.0, 0.19), paint.dark),
        box((0.12, 0.30, 0.10), (-0.06, 0.0, 0.42), paint.dark),
        box((0.08, 1.10, 0.70), (-0.06, 0.0, 0.50), paint.main),
        box((0.02, 0.90, 0.50), (-0.015, 0.0, 0.60), GLASS),
    )


def _bin(paint: Paint) -> tuple[Primitive, ...]:
    return (
        post(0.20, 0.48, (0.0, 0.0, 0.0), paint.main),
        post(0.225, 0.06, (0.0, 0.0, 0.48), paint.dark),
        egg((0.20, 0.20, 0.14), (0.0, 0.0, 0.40), paint.light),
        box((0.10, 0.20, 0.05), (0.18, 0.0, 0.0), paint.dark),
    )


def _suitcase(paint: Paint) -> tuple[Primitive, ...]:
    ribs = [box((0.31, 0.06, 0.60), (0.0, y, 0.10), paint.light) for y in (-0.15, 0.0, 0.15)]
    return (
        box((0.28, 0.50, 0.62), (0.0, 0.0, 0.09), paint.main),
        *ribs,
        box((0.06, 0.06, 0.30), (0.0, 0.13, 0.71), paint.dark),
        box((0.06, 0.06, 0.30), (0.0, -0.13, 0.71), paint.dark),
        box((0.07, 0.34, 0.07), (0.0, 0.0, 0.98), paint.dark),
        box((0.20, 0.10, 0.09), (0.0, 0.18, 0.0), GLASS),
        box((0.20, 0.10, 0.09), (0.0, -0.18, 0.0), GLASS),
    )


def _cone(paint: Paint) -> tuple[Primitive, ...]:
    steps = ((0.20, 0.05), (0.17, 0.17), (0.135, 0.29), (0.10, 0.41), (0.065, 0.53))
    return (
        box((0.52, 0.52, 0.06), (0.0, 0.0, 0.0), paint.dark),
        *(post(radius, 0.13, (0.0, 0.0, z), paint.main) for radius, z in steps),
        globe(0.045, (0.0, 0.0, 0.63), paint.main),
    )


def _bear(paint: Paint) -> tuple[Primitive, ...]:
    pairs = (-1, 1)
    return (
        egg((0.22, 0.25, 0.28), (0.0, 0.0, 0.0), paint.main),
        globe(0.20, (0.02, 0.0, 0.47), paint.main),
        *(globe(0.085, (0.0, 0.16 * side, 0.76), paint.main) for side in pairs),
        *(egg((0.20, 0.09, 0.09), (0.22, 0.15 * side, 0.0), paint.main) for side in pairs),
        *(egg((0.08, 0.10, 0.16), (0.08, 0.26 * side, 0.20), paint.dark) for side in pairs),
        egg((0.07, 0.09, 0.07), (0.20, 0.0, 0.56), paint.light),
        *(globe(0.03, (0.18, 0.08 * side, 0.70), GLASS) for side in pairs),
    )


KINDS: dict[str, Builder] = {
    "chair": _chair,
    "stool": _stool,
    "table": _table,
    "sofa": _sofa,
    "armchair": _armchair,
    "bed": _bed,
    "cabinet": _cabinet,
    "bookshelf": _bookshelf,
    "lamp": _lamp,
    "plant": _plant,
    "ball": _ball,
    "crate": _crate,
    "vase": _vase,
    "television": _television,
    "bin": _bin,
    "suitcase": _suitcase,
    "cone": _cone,
    "bear": _bear,
}

WALL_KINDS = frozenset({"sofa", "armchair", "bed", "cabinet", "bookshelf", "television"})
LARGE_KINDS = frozenset({"sofa", "bed", "table"})
