"""What lies about in the richer flats and no instruction names: on the floor, against walls, on tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vila_sim.flats.decor import decor_piece
from vila_sim.flats.furniture import COLOURS, METAL, WOOD, assembled, scaled
from vila_sim.flats.parts import Rgb, box, egg, globe, post, rod
from vila_sim.flats.scene import Primitive, SceneObject

Parts = tuple[Primitive, ...]
Maker = Callable[[np.random.Generator], Parts]

_CARDBOARD, _PAPER, _WHITE = (0.62, 0.48, 0.33), (0.86, 0.85, 0.80), (0.85, 0.85, 0.83)


def _tone(rng: np.random.Generator) -> Rgb:
    """Half of the time one of the colours that are named: colour alone must not tell what is meant."""
    if rng.random() < 0.5:
        return list(COLOURS.values())[rng.integers(len(COLOURS))]
    red, green, blue = (round(float(value), 3) for value in rng.uniform(0.15, 0.75, 3))
    return red, green, blue


def _books(rng: np.random.Generator) -> Parts:
    """A pile."""
    parts, z = [], 0.0
    for _ in range(int(rng.integers(3, 7))):
        high = float(rng.uniform(0.03, 0.07))
        size = (float(rng.uniform(0.18, 0.26)), float(rng.uniform(0.24, 0.34)), high)
        parts.append(box(size, (float(rng.uniform(-0.02, 0.02)), float(rng.uniform(-0.02, 0.02)), z), _tone(rng)))
        z += high
    return tuple(parts)


def _shoes(rng: np.random.Generator) -> Parts:
    tone = _tone(rng)
    return tuple(
        part
        for side in (-1, 1)
        for part in (
            egg((0.15, 0.055, 0.05), (0.0, side * 0.09, 0.0), tone),
            box((0.12, 0.09, 0.1), (-0.08, side * 0.09, 0.02), tone),
        )
    )


def _carton(rng: np.random.Generator) -> Parts:
    """Of cardboard, with open flaps."""
    wide, deep, high = rng.uniform(0.3, 0.5), rng.uniform(0.3, 0.4), rng.uniform(0.22, 0.36)
    flaps = [
        box((0.02, wide, 0.12), (side * (deep / 2 + 0.05), 0.0, high - 0.06), _CARDBOARD, side * 1.0)
        for side in (-1, 1)
    ]
    return (box((deep, wide, high), (0.0, 0.0, 0.0), _CARDBOARD), *flaps)


def _radiator(rng: np.random.Generator) -> Parts:
    wide = rng.uniform(0.6, 1.1)
    ribs = [box((0.09, 0.05, 0.5), (0.0, float(y), 0.1), _WHITE) for y in np.arange(-wide / 2, wide / 2, 0.09)]
    return (*ribs, box((0.05, wide, 0.05), (0.0, 0.0, 0.14), _WHITE), box((0.05, wide, 0.05), (0.0, 0.0, 0.52), _WHITE))


def _cushion(rng: np.random.Generator) -> Parts:
    return (egg((0.26, 0.26, 0.1), (0.0, 0.0, 0.0), _tone(rng)),)


def _blocks(rng: np.random.Generator) -> Parts:
    """Bricks to play with."""
    return tuple(
        box((0.07, 0.07, 0.07), (float(x), float(y), float(z)), _tone(rng))
        for (x, y), z in zip(rng.uniform(-0.18, 0.18, (7, 2)), (0, 0, 0, 0, 0, 0, 0.07), strict=True)
    )


def _umbrella_stand(rng: np.random.Generator) -> Parts:
    sticks = [
        rod(0.025, (0.0, 0.0, 0.1), (float(x), float(y), 0.8), _tone(rng)) for x, y in rng.uniform(-0.1, 0.1, (2, 2))
    ]
    return (post(0.12, 0.5, (0.0, 0.0, 0.0), METAL), *sticks)


def _broom(rng: np.random.Generator) -> Parts:
    return (
        box((0.08, 0.3, 0.12), (0.0, 0.0, 0.0), _tone(rng)),
        rod(0.016, (0.0, 0.0, 0.1), (-0.1, 0.0, 1.35), WOOD),
    )


def _fan(rng: np.random.Generator) -> Parts:
    tone = _tone(rng)
    disc = Primitive("cylinder", (0.2, 0.04, 0.0), (0.0, 0.0, 0.95), tone, (0.0, math.pi / 2, 0.0))
    return (post(0.18, 0.04, (0.0, 0.0, 0.0), METAL), post(0.025, 0.8, (0.0, 0.0, 0.04), METAL), disc)


def _ladder(rng: np.random.Generator) -> Parts:
    """Standing on its own."""
    high, wide = rng.uniform(1.1, 1.5), 0.42
    sides = [
        rod(0.03, (sx * 0.32, side * wide / 2, 0.03), (0.0, side * wide / 2, high), METAL)
        for sx in (-1, 1)
        for side in (-1, 1)
    ]
    steps = [box((0.1, wide, 0.04), (0.32 * (1 - z), 0.0, z * high), METAL) for z in (0.2, 0.42, 0.64, 0.86)]
    return (*sides, *steps)


def _guitar(rng: np.random.Generator) -> Parts:
    """On a stand, upright."""
    return (
        egg((0.07, 0.19, 0.2), (0.0, 0.0, 0.06), _tone(rng)),
        egg((0.06, 0.15, 0.15), (0.0, 0.0, 0.32), WOOD),
        box((0.04, 0.06, 0.55), (0.0, 0.0, 0.5), WOOD),
        box((0.3, 0.04, 0.04), (0.0, 0.12, 0.0), METAL),
        box((0.3, 0.04, 0.04), (0.0, -0.12, 0.0), METAL),
    )


def _drying_rack(rng: np.random.Generator) -> Parts:
    """With cloths that hang from it."""
    wide = 0.9
    frame = [
        rod(0.016, (sx * 0.25, y, 0.02), (-sx * 0.25, y, 0.85), METAL) for sx in (-1, 1) for y in (-wide / 2, wide / 2)
    ]
    cloths = [box((0.02, 0.22, 0.4), (x, y, 0.42), _tone(rng)) for x, y in ((-0.2, -0.25), (0.0, 0.15), (0.2, -0.05))]
    bars = [rod(0.01, (x, -wide / 2, 0.83), (x, wide / 2, 0.83), METAL) for x in (-0.2, 0.0, 0.2)]
    return (*frame, *bars, *cloths)


def _sacks(rng: np.random.Generator) -> Parts:
    return tuple(
        egg((0.17, 0.2, float(high)), (x, y, 0.0), _tone(rng))
        for (x, y), high in zip(((0.0, -0.16), (0.04, 0.16)), rng.uniform(0.18, 0.28, 2), strict=True)
    )


def _scooter(rng: np.random.Generator) -> Parts:
    tone = _tone(rng)
    wheels = [rod(0.07, (x, -0.02, 0.07), (x, 0.02, 0.07), (0.1, 0.1, 0.11)) for x in (-0.3, 0.3)]
    return (
        *wheels,
        box((0.6, 0.12, 0.04), (0.0, 0.0, 0.1), tone),
        rod(0.02, (0.28, 0.0, 0.1), (0.22, 0.0, 0.85), METAL),
        box((0.04, 0.36, 0.04), (0.22, 0.0, 0.84), tone),
    )


RICH_CLUTTER: dict[str, Maker] = {
    "books": _books,
    "shoes": _shoes,
    "carton": _carton,
    "radiator": _radiator,
    "cushion": _cushion,
    "blocks": _blocks,
    "umbrella_stand": _umbrella_stand,
    "broom": _broom,
    "fan": _fan,
}
HELD_OUT_CLUTTER: dict[str, Maker] = {
    "ladder": _ladder,
    "guitar": _guitar,
    "drying_rack": _drying_rack,
    "sacks": _sacks,
    "scooter": _scooter,
}
WALL_CLUTTER = frozenset({"radiator", "broom", "guitar", "sacks"})


def build_clutter(kind: str, rng: np.random.Generator, *, room: str) -> SceneObject:
    """Build one piece, at the origin."""
    maker = (RICH_CLUTTER | HELD_OUT_CLUTTER)[kind]
    return replace(assembled(kind, "", scaled(maker(rng), float(rng.uniform(0.9, 1.15)))), room=room)


# --- on tables, within their edges


def _mug(rng: np.random.Generator) -> Parts:
    return (post(0.045, 0.1, (0.0, 0.0, 0.0), _tone(rng)),)


def _bowl(rng: np.random.Generator) -> Parts:
    fruit = [globe(0.045, (x, y, 0.05), _tone(rng)) for x, y in ((0.05, 0.0), (-0.04, 0.05), (-0.03, -0.05))]
    return (egg((0.14, 0.14, 0.05), (0.0, 0.0, 0.0), _tone(rng)), *fruit)


def _laptop(rng: np.random.Generator) -> Parts:
    return (
        box((0.24, 0.34, 0.02), (0.0, 0.0, 0.0), METAL),
        box((0.02, 0.34, 0.22), (-0.14, 0.0, 0.01), (0.12, 0.13, 0.15), -0.3),
    )


def _sheets(rng: np.random.Generator) -> Parts:
    return tuple(
        box((0.2, 0.28, 0.006), (float(x), float(y), 0.0), _PAPER) for x, y in rng.uniform(-0.06, 0.06, (2, 2))
    )


def _bottle(rng: np.random.Generator) -> Parts:
    tone = _tone(rng)
    return (post(0.04, 0.18, (0.0, 0.0, 0.0), tone), post(0.016, 0.1, (0.0, 0.0, 0.18), tone))


def _tray(rng: np.random.Generator) -> Parts:
    glasses = [post(0.035, 0.12, (x, y, 0.02), _WHITE) for x, y in ((0.06, 0.08), (-0.05, -0.06))]
    return (box((0.26, 0.36, 0.02), (0.0, 0.0, 0.0), _tone(rng)), *glasses)


RICH_TABLEWARE: dict[str, Maker] = {"mug": _mug, "bowl": _bowl, "laptop": _laptop, "sheets": _sheets}
HELD_OUT_TABLEWARE: dict[str, Maker] = {"bottle": _bottle, "tray": _tray}


TABLEWARE = frozenset(RICH_TABLEWARE) | frozenset(HELD_OUT_TABLEWARE)


def lay_table(table: SceneObject, makers: dict[str, Maker], rng: np.random.Generator) -> tuple[SceneObject, ...]:
    """Put up to three things on a table. They are decor: the table below them is what one runs into."""
    names, laid = list(makers), list[SceneObject]()
    for _ in range(int(rng.integers(0, 4))):
        along, across = (
            float(share) * extent for share, extent in zip(rng.uniform(-0.22, 0.22, 2), table.footprint_m, strict=True)
        )
        cosine, sine = math.cos(table.yaw_rad), math.sin(table.yaw_rad)
        at = table.x_m + along * cosine - across * sine, table.y_m + along * sine + across * cosine
        kind = names[rng.integers(len(names))]
        parts = scaled(makers[kind](rng), 1.0)
        raised = tuple(
            replace(part, position_m=(*part.position_m[:2], part.position_m[2] + table.height_m)) for part in parts
        )
        turn = float(rng.uniform(-math.pi, math.pi))
        laid.append(decor_piece(kind, table.room, (round(at[0], 3), round(at[1], 3)), round(turn, 4), raised))
    return tuple(laid)
