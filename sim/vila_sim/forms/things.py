"""Forms of lamps, plants, balls, vases, cones and bears: each draws its proportions."""

from __future__ import annotations

import math

import numpy as np

from vila_sim.flats.furniture import GLASS, LEAF, METAL, WOOD, Paint
from vila_sim.flats.parts import Rgb, box, egg, globe, post, rod
from vila_sim.flats.scene import Primitive
from vila_sim.forms.common import Parts, trim

_EARTH = (0.22, 0.15, 0.10)
_LEAVES: tuple[Rgb, ...] = (LEAF, (0.20, 0.42, 0.14), (0.10, 0.28, 0.12), (0.28, 0.40, 0.16))


def _ring(radius: float, count: int, shift: float = 0.0) -> list[tuple[float, float]]:
    turns = shift + np.arange(count) * 2 * math.pi / count
    return [(radius * math.cos(a), radius * math.sin(a)) for a in turns]


# --- lamps: a shade on a thin pole


def _cone_shade(paint: Paint, radius: float, high: float, z: float, *, at: tuple[float, float] = (0.0, 0.0)) -> Parts:
    """A shade that narrows upward, of three discs."""
    return tuple(
        post(radius * (1.0 - 0.18 * i), high / 3 + 0.005, (*at, z + i * high / 3), paint.main) for i in range(3)
    )


def lamp_with_cone(paint: Paint, rng: np.random.Generator) -> Parts:
    """A pole on a disc, a shade that narrows upward."""
    height = rng.uniform(1.1, 1.4)
    return (
        post(rng.uniform(0.14, 0.2), 0.05, (0.0, 0.0, 0.0), paint.main),
        post(rng.uniform(0.025, 0.045), height, (0.0, 0.0, 0.05), trim(paint, rng)),
        *_cone_shade(paint, rng.uniform(0.22, 0.3), rng.uniform(0.26, 0.42), height),
    )


def lamp_with_drum(paint: Paint, rng: np.random.Generator) -> Parts:
    """A pole, a wide cylinder."""
    height, radius = rng.uniform(1.1, 1.4), rng.uniform(0.2, 0.28)
    return (
        post(0.17, 0.05, (0.0, 0.0, 0.0), trim(paint, rng)),
        post(0.03, height, (0.0, 0.0, 0.05), METAL),
        post(radius, rng.uniform(0.24, 0.36), (0.0, 0.0, height), paint.main),
        post(radius - 0.03, 0.02, (0.0, 0.0, height - 0.015), (0.98, 0.94, 0.8)),
    )


def lamp_on_tripod(paint: Paint, rng: np.random.Generator) -> Parts:
    """Three legs of wood, a drum or a cone."""
    height, wood = rng.uniform(1.0, 1.25), trim(paint, rng)
    legs_ = [rod(0.025, (x, y, 0.025), (0.0, 0.0, height), wood) for x, y in _ring(0.27, 3)]
    shade = _cone_shade(paint, 0.27, 0.36, height - 0.03)
    return (*legs_, *(shade if rng.random() < 0.5 else (post(0.25, 0.32, (0.0, 0.0, height - 0.03), paint.main),)))


def globe_lamp(paint: Paint, rng: np.random.Generator) -> Parts:
    """A ball on a pole."""
    height, radius = rng.uniform(1.1, 1.35), rng.uniform(0.17, 0.22)
    return (
        post(0.18, 0.07, (0.0, 0.0, 0.0), paint.main),
        post(0.035, height, (0.0, 0.0, 0.06), trim(paint, rng)),
        post(0.09, 0.06, (0.0, 0.0, height), paint.dark),
        globe(radius, (0.0, 0.0, height + 0.03), paint.main),
    )


def arc_lamp(paint: Paint, rng: np.random.Generator) -> Parts:
    """A pole that bends over, a bowl that hangs from it."""
    height, reach = rng.uniform(1.35, 1.55), rng.uniform(0.26, 0.34)
    steel = METAL if rng.random() < 0.5 else paint.dark
    return (
        post(0.2, 0.07, (-0.16, 0.0, 0.0), paint.main),
        rod(0.03, (-0.16, 0.0, 0.05), (-0.12, 0.0, height - 0.15), steel),
        rod(0.03, (-0.12, 0.0, height - 0.15), (0.04, 0.0, height), steel),
        rod(0.03, (0.04, 0.0, height), (reach - 0.1, 0.0, height - 0.03), steel),
        *_cone_shade(paint, 0.25, 0.3, height - 0.34, at=(reach - 0.12, 0.0)),
    )


# --- plants: green leaves in a coloured pot, with flowers of its colour


def _pot(paint: Paint, rng: np.random.Generator) -> tuple[float, Parts]:
    """Its height and its parts."""
    high, rim = rng.uniform(0.28, 0.42), rng.uniform(0.17, 0.24)
    return (
        high,
        (
            post(0.78 * rim, high / 2, (0.0, 0.0, 0.0), paint.main),
            post(rim, high / 2, (0.0, 0.0, high / 2), paint.main),
            post(0.86 * rim, 0.02, (0.0, 0.0, high - 0.005), _EARTH),
        ),
    )


def _flowers(paint: Paint, rng: np.random.Generator, points: list[tuple[float, float, float]]) -> Parts:
    radius = rng.uniform(0.06, 0.1)
    return tuple(globe(radius, point, paint.main) for point in points)


def bushy_plant(paint: Paint, rng: np.random.Generator) -> Parts:
    """A round crown with flowers."""
    high, pot = _pot(paint, rng)
    crown, leaf = rng.uniform(0.22, 0.32), _LEAVES[rng.integers(4)]
    tall = crown * rng.uniform(0.9, 1.3)
    flowers = [(x, y, high + 1.2 * tall) for x, y in _ring(0.72 * crown, int(rng.integers(3, 6)), rng.uniform(0, 1))]
    return (
        *pot,
        egg((crown, crown, tall), (0.0, 0.0, high - 0.04), leaf),
        *_flowers(paint, rng, [*flowers, (0.0, 0.0, high + 1.85 * tall)]),
    )


def small_tree(paint: Paint, rng: np.random.Generator) -> Parts:
    """A trunk with two or three crowns, flowers between."""
    high, pot = _pot(paint, rng)
    leaf, trunk = _LEAVES[rng.integers(4)], rng.uniform(0.35, 0.55)
    crowns = [globe(rng.uniform(0.16, 0.22), (x, y, high + trunk - 0.1), leaf) for x, y in _ring(0.14, 3, 0.5)]
    flowers = [(x, y, high + trunk + 0.12) for x, y in _ring(0.26, 4)]
    return (
        *pot,
        post(0.035, trunk, (0.0, 0.0, high), WOOD),
        *crowns,
        globe(0.19, (0.0, 0.0, high + trunk + 0.08), leaf),
        *_flowers(paint, rng, flowers),
    )


def leafy_plant(paint: Paint, rng: np.random.Generator) -> Parts:
    """Long leaves that bend outward."""
    high, pot = _pot(paint, rng)
    leaf, count, reach = _LEAVES[rng.integers(4)], int(rng.integers(5, 8)), rng.uniform(0.24, 0.36)
    tip = high + rng.uniform(0.4, 0.65)
    blades = [
        rod(0.04, (0.3 * x, 0.3 * y, high), (x, y, tip + float(rng.uniform(-0.12, 0.12))), leaf)
        for x, y in _ring(reach, count)
    ]
    return (
        *pot,
        *blades,
        rod(0.02, (0.0, 0.0, high), (0.0, 0.0, tip), leaf),
        *_flowers(paint, rng, [(0.0, 0.0, tip), (0.1, 0.06, tip - 0.14), (-0.08, -0.1, tip - 0.1)]),
    )


def cactus(paint: Paint, rng: np.random.Generator) -> Parts:
    """A column with two arms, flowers on top."""
    high, pot = _pot(paint, rng)
    tall, leaf = rng.uniform(0.5, 0.7), _LEAVES[rng.integers(4)]
    arms = [
        part
        for side, z in ((-1, 0.4), (1, 0.55))
        for part in (
            rod(0.07, (0.0, 0.0, high + z * tall), (0.0, side * 0.22, high + z * tall), leaf),
            post(0.07, 0.2, (0.0, side * 0.22, high + z * tall - 0.05), leaf),
        )
    ]
    tops = [(0.0, -0.22, high + 0.4 * tall + 0.1), (0.0, 0.22, high + 0.55 * tall + 0.1), (0.0, 0.0, high + tall)]
    return (
        *pot,
        post(0.12, tall, (0.0, 0.0, high), leaf),
        globe(0.12, (0.0, 0.0, high + tall - 0.12), leaf),
        *arms,
        *_flowers(paint, rng, tops),
    )


def trough_plant(paint: Paint, rng: np.random.Generator) -> Parts:
    """A long box with a hedge and a row of flowers."""
    depth, width, high = rng.uniform(0.28, 0.36), rng.uniform(0.6, 0.8), rng.uniform(0.3, 0.4)
    leaf = _LEAVES[rng.integers(4)]
    at = [float(y) for y in np.linspace(-0.32, 0.32, 3) * width]
    return (
        box((depth, width, high), (0.0, 0.0, 0.0), paint.main),
        box((depth + 0.04, width + 0.04, 0.05), (0.0, 0.0, high - 0.05), paint.dark),
        *(egg((0.17, 0.17, 0.24), (0.0, y, high - 0.08), leaf) for y in at),
        *_flowers(paint, rng, [(0.1, y, high + 0.2) for y in at] + [(0.0, y, high + 0.36) for y in at]),
    )


# --- balls


def _band(radius: float, rgb: Rgb, tilt: float, turn: float) -> Primitive:
    """A thin disc through the middle of a ball: shows as a stripe."""
    return Primitive("cylinder", (radius * 1.004, 0.07 * radius, 0.0), (0.0, 0.0, radius), rgb, (0.0, tilt, turn))


def plain_ball(paint: Paint, rng: np.random.Generator) -> Parts:
    """One colour."""
    return (globe(rng.uniform(0.2, 0.32), (0.0, 0.0, 0.0), paint.main),)


def striped_ball(paint: Paint, rng: np.random.Generator) -> Parts:
    """One or two stripes."""
    radius, pale = rng.uniform(0.2, 0.32), paint.light if rng.random() < 0.5 else paint.dark
    count = int(rng.integers(1, 3))
    bands = [_band(radius, pale, float(rng.uniform(0, 3.1)), float(rng.uniform(0, 3.1))) for _ in range(count)]
    return (globe(radius, (0.0, 0.0, 0.0), paint.main), *bands)


def hopping_ball(paint: Paint, rng: np.random.Generator) -> Parts:
    """With two horns to hold on to."""
    radius = rng.uniform(0.25, 0.32)
    horns = [egg((0.035, 0.035, 0.09), (0.05, side * 0.09, 1.85 * radius), paint.dark) for side in (-1, 1)]
    return (globe(radius, (0.0, 0.0, 0.0), paint.main), *horns)


def patched_ball(paint: Paint, rng: np.random.Generator) -> Parts:
    """Spots all over it."""
    radius = rng.uniform(0.22, 0.3)
    spots: list[Primitive] = []
    for _ in range(8):
        way = rng.normal(0.0, 1.0, 3)
        x, y, z = (0.83 * radius * way / np.linalg.norm(way)).tolist()
        spots.append(Primitive("sphere", (0.24 * radius, 0.0, 0.0), (x, y, radius + z), paint.dark))
    return (globe(radius, (0.0, 0.0, 0.0), paint.main), *spots)


# --- vases: a belly, a narrow neck, an open mouth


def bottle_vase(paint: Paint, rng: np.random.Generator) -> Parts:
    """A belly low down, a long neck."""
    belly, tall = rng.uniform(0.17, 0.23), rng.uniform(0.6, 0.8)
    return (
        post(0.6 * belly, 0.05, (0.0, 0.0, 0.0), paint.dark),
        egg((belly, belly, 0.24 * tall + 0.08), (0.0, 0.0, 0.02), paint.main),
        post(0.07, 0.6 * tall, (0.0, 0.0, 0.4 * tall), paint.main),
        post(0.1, 0.04, (0.0, 0.0, tall), paint.light),
    )


def urn(paint: Paint, rng: np.random.Generator) -> Parts:
    """A belly high up, two handles."""
    belly, tall = rng.uniform(0.18, 0.24), rng.uniform(0.6, 0.78)
    handles = [
        part
        for side in (-1, 1)
        for part in (
            rod(0.025, (0.0, side * 0.08, tall), (0.0, side * (belly + 0.05), tall - 0.06), paint.dark),
            rod(0.025, (0.0, side * (belly + 0.05), tall - 0.06), (0.0, side * 0.9 * belly, 0.6 * tall), paint.dark),
        )
    ]
    return (
        post(0.13, 0.05, (0.0, 0.0, 0.0), paint.dark),
        post(0.07, 0.2 * tall, (0.0, 0.0, 0.04), paint.main),
        egg((belly, belly, 0.36 * tall), (0.0, 0.0, 0.15 * tall), paint.main),
        post(0.08, 0.16 * tall, (0.0, 0.0, 0.84 * tall), paint.main),
        post(0.13, 0.05, (0.0, 0.0, tall), paint.light),
        *handles,
    )


def flared_vase(paint: Paint, rng: np.random.Generator) -> Parts:
    """A trumpet: narrow below, wide above."""
    tall, mouth = rng.uniform(0.62, 0.82), rng.uniform(0.16, 0.22)
    steps = ((0.1, 0.0), (0.075, 0.12), (0.08, 0.4), (0.1, 0.6), (0.7 * mouth, 0.78), (mouth, 0.9))
    return tuple(
        post(radius, 0.25 * tall, (0.0, 0.0, share * tall), paint.main if i else paint.dark)
        for i, (radius, share) in enumerate(steps)
    )


def ringed_vase(paint: Paint, rng: np.random.Generator) -> Parts:
    """Three bulges, one on the other."""
    each, belly = rng.uniform(0.12, 0.15), rng.uniform(0.16, 0.2)
    bulges = [
        egg((belly * s, belly * s, each), (0.0, 0.0, 0.03 + 1.55 * each * i), paint.main)
        for i, s in enumerate((1.0, 0.85, 0.7))
    ]
    return (
        post(0.6 * belly, 0.05, (0.0, 0.0, 0.0), paint.dark),
        *bulges,
        post(0.06, 0.16, (0.0, 0.0, 4.6 * each), paint.main),
        post(0.1, 0.04, (0.0, 0.0, 4.6 * each + 0.16), paint.dark),
    )


def jar(paint: Paint, rng: np.random.Generator) -> Parts:
    """A straight body, shoulders, a short neck."""
    radius, tall = rng.uniform(0.15, 0.19), rng.uniform(0.4, 0.52)
    return (
        post(radius, tall, (0.0, 0.0, 0.0), paint.main),
        egg((radius, radius, 0.12), (0.0, 0.0, tall - 0.12), paint.main),
        post(0.075, 0.22, (0.0, 0.0, tall + 0.05), paint.main),
        post(0.12, 0.05, (0.0, 0.0, tall + 0.26), paint.light),
        post(radius + 0.006, 0.06, (0.0, 0.0, 0.5 * tall), paint.dark),
    )


# --- cones: of the road


def _tapered(rings: list[Rgb], foot: float, top: float, height: float, z: float) -> Parts:
    """Discs that narrow upward, in these colours."""
    count = len(rings)
    return tuple(
        post(foot + (top - foot) * (i + 0.5) / count, height / count + 0.004, (0.0, 0.0, z + i * height / count), rgb)
        for i, rgb in enumerate(rings)
    )


def road_cone(paint: Paint, rng: np.random.Generator) -> Parts:
    """Square foot, pale ring or none."""
    height, foot = rng.uniform(0.5, 0.72), rng.uniform(0.17, 0.22)
    pale = paint.light if rng.random() < 0.5 else paint.main
    base = rng.uniform(0.42, 0.54)
    return (
        box((base, base, 0.05), (0.0, 0.0, 0.0), paint.dark if rng.random() < 0.6 else (0.1, 0.1, 0.11)),
        *_tapered([paint.main] * 3 + [pale] * 2 + [paint.main] * 3, foot, 0.045, height, 0.05),
    )


def slim_cone(paint: Paint, rng: np.random.Generator) -> Parts:
    """Tall, on a round foot."""
    height = rng.uniform(0.6, 0.78)
    return (
        post(0.22, 0.05, (0.0, 0.0, 0.0), paint.dark),
        *_tapered([paint.main] * 8, 0.15, 0.035, height, 0.04),
        globe(0.045, (0.0, 0.0, height), paint.main),
    )


def wide_cone(paint: Paint, rng: np.random.Generator) -> Parts:
    """Low, with two dark rings, on a square foot with cut corners."""
    height, foot = rng.uniform(0.42, 0.52), rng.uniform(0.22, 0.26)
    rings = [paint.main] * 2 + [paint.dark] + [paint.main] * 2 + [paint.dark] + [paint.main] * 2
    return (
        box((0.56, 0.40, 0.045), (0.0, 0.0, 0.0), paint.main),
        box((0.40, 0.56, 0.045), (0.0, 0.0, 0.0), paint.main),
        *_tapered(rings, foot, 0.06, height, 0.04),
    )


def knobbed_cone(paint: Paint, rng: np.random.Generator) -> Parts:
    """A foot with eight sides, a knob with a ring on top."""
    height = rng.uniform(0.55, 0.7)
    feet = [
        Primitive("box", (0.25, 0.105, 0.025), (0.0, 0.0, 0.025), paint.dark, (0.0, 0.0, k * math.pi / 4))
        for k in range(4)
    ]
    return (
        *feet,
        *_tapered([paint.main] * 7, 0.18, 0.05, height, 0.05),
        post(0.08, 0.03, (0.0, 0.0, height + 0.05), paint.dark),
        globe(0.06, (0.0, 0.0, height + 0.06), paint.main),
    )


# --- bears: of plush


def _head(paint: Paint, size: float, at: tuple[float, float, float]) -> Parts:
    """Head, ears, muzzle, eyes and nose, looking along +x; `at` is the bottom of the head."""
    x, y, z = at
    return (
        globe(size, at, paint.main),
        *(globe(0.42 * size, (x, y + side * 0.8 * size, z + 1.45 * size), paint.main) for side in (-1, 1)),
        egg((0.36 * size, 0.46 * size, 0.36 * size), (x + 0.86 * size, y, z + 0.45 * size), paint.light),
        *(globe(0.15 * size, (x + 0.8 * size, y + side * 0.42 * size, z + 1.15 * size), GLASS) for side in (-1, 1)),
        globe(0.14 * size, (x + 1.18 * size, y, z + 0.75 * size), GLASS),
    )


def sitting_bear(paint: Paint, rng: np.random.Generator) -> Parts:
    """Legs ahead, arms at its sides, a belly."""
    belly, head = rng.uniform(0.2, 0.26), rng.uniform(0.17, 0.22)
    tall = belly * rng.uniform(1.0, 1.3)
    return (
        egg((0.95 * belly, belly, tall), (0.0, 0.0, 0.0), paint.main),
        egg((0.3 * belly, 0.62 * belly, 0.62 * tall), (0.72 * belly, 0.0, 0.35 * tall), paint.light),
        *_head(paint, head, (0.02, 0.0, 1.75 * tall)),
        *(egg((0.19, 0.09, 0.09), (0.22, side * 0.15, 0.0), paint.main) for side in (-1, 1)),
        *(egg((0.08, 0.1, 0.16), (0.06, side * (belly + 0.02), 0.75 * tall), paint.dark) for side in (-1, 1)),
    )


def standing_bear(paint: Paint, rng: np.random.Generator) -> Parts:
    """On two legs, arms out."""
    leg, belly, head = rng.uniform(0.2, 0.28), rng.uniform(0.17, 0.22), rng.uniform(0.16, 0.2)
    z = leg - 0.06
    return (
        *(post(0.085, leg, (0.0, side * 0.11, 0.0), paint.main) for side in (-1, 1)),
        *(egg((0.13, 0.09, 0.05), (0.05, side * 0.11, 0.0), paint.dark) for side in (-1, 1)),
        egg((0.9 * belly, belly, 0.24), (0.0, 0.0, z), paint.main),
        egg((0.3 * belly, 0.6 * belly, 0.14), (0.7 * belly, 0.0, z + 0.08), paint.light),
        *(
            rod(0.07, (0.02, side * 0.8 * belly, z + 0.36), (0.14, side * (belly + 0.16), z + 0.2), paint.main)
            for side in (-1, 1)
        ),
        *_head(paint, head, (0.02, 0.0, z + 0.4)),
    )


def crawling_bear(paint: Paint, rng: np.random.Generator) -> Parts:
    """On all fours."""
    leg, long = rng.uniform(0.16, 0.22), rng.uniform(0.26, 0.32)
    z = leg - 0.05
    feet = [post(0.08, leg, (x, y, 0.0), paint.main) for x in (-0.17, 0.17) for y in (-0.13, 0.13)]
    return (
        *feet,
        egg((long, 0.2, 0.19), (0.0, 0.0, z), paint.main),
        globe(0.06, (-long - 0.02, 0.0, z + 0.2), paint.dark),
        *_head(paint, rng.uniform(0.16, 0.19), (long, 0.0, z + 0.14)),
    )


def lying_bear(paint: Paint, rng: np.random.Generator) -> Parts:
    """Leaning back, limbs spread, in a vest."""
    belly = rng.uniform(0.2, 0.25)
    limbs = [
        part
        for side in (-1, 1)
        for part in (
            rod(0.075, (0.05, side * 0.12, 0.1), (0.36, side * 0.24, 0.08), paint.main),
            rod(0.065, (-0.08, side * 0.2, 0.3), (0.08, side * 0.38, 0.2), paint.main),
        )
    ]
    return (
        egg((0.8 * belly, belly, 0.24), (-0.06, 0.0, 0.0), paint.main),
        egg((0.82 * belly, 1.03 * belly, 0.13), (-0.06, 0.0, 0.14), paint.dark),
        *limbs,
        *_head(paint, rng.uniform(0.17, 0.2), (-0.1, 0.0, 0.4)),
    )
