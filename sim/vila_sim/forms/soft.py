"""Forms of armchairs, sofas and beds: each draws its proportions."""

from __future__ import annotations

import math

import numpy as np

from vila_sim.flats.furniture import LINEN, METAL, WOOD, Paint
from vila_sim.flats.parts import box, corners, globe, legs, post, rod
from vila_sim.forms.common import Parts, trim

# --- armchairs and sofas: low, soft, with arms and a back, for one or for several


def _upholstered(paint: Paint, rng: np.random.Generator, width: float, cushions: int, *, high: bool) -> Parts:
    depth, low = rng.uniform(0.76, 0.92), rng.uniform(0.05, 0.14)
    arm, back = rng.uniform(0.12, 0.24), rng.uniform(0.42, 0.5) + 0.12 * high
    rest = rng.uniform(0.18, 0.32)
    inner = width - 2 * arm
    each = inner / cushions
    at = [-inner / 2 + each * (i + 0.5) for i in range(cushions)]
    y = width / 2 - arm / 2
    return (
        box((depth, width, 0.25), (0.0, 0.0, low), paint.main),
        box((0.2, width, back), (-depth / 2 + 0.1, 0.0, low + 0.25), paint.main),
        *(box((depth, arm, rest), (0.0, side * y, low + 0.25), paint.main) for side in (-1, 1)),
        *(box((depth - 0.24, each - 0.025, 0.14), (0.11, at_y, low + 0.25), paint.light) for at_y in at),
        *(box((0.14, each - 0.04, back - 0.16), (-depth / 2 + 0.26, at_y, low + 0.36), paint.light) for at_y in at),
        *legs(depth - 0.1, width - 0.1, low, 0.07, trim(paint, rng)),
    )


def block_armchair(paint: Paint, rng: np.random.Generator) -> Parts:
    """A cube with a hollow."""
    return _upholstered(paint, rng, rng.uniform(0.8, 1.0), 1, high=False)


def wing_armchair(paint: Paint, rng: np.random.Generator) -> Parts:
    """A high back with wings."""
    width = rng.uniform(0.76, 0.9)
    wings = [box((0.24, 0.1, 0.36), (-0.22, side * (width / 2 - 0.05), 0.6), paint.main) for side in (-1, 1)]
    return (*_upholstered(paint, rng, width, 1, high=True), *wings)


def framed_armchair(paint: Paint, rng: np.random.Generator) -> Parts:
    """Cushions in a frame with open arms."""
    width, wood = rng.uniform(0.7, 0.85), WOOD if rng.random() < 0.6 else METAL
    y = width / 2 - 0.04
    sides = [
        part
        for side in (-1, 1)
        for part in (
            box((0.72, 0.08, 0.06), (0.0, side * y, 0.56), wood),
            box((0.07, 0.07, 0.56), (0.32, side * y, 0.0), wood),
            box((0.07, 0.07, 0.56), (-0.32, side * y, 0.0), wood),
        )
    ]
    return (
        box((0.66, width - 0.16, 0.2), (0.03, 0.0, 0.24), paint.main),
        box((0.2, width - 0.16, 0.58), (-0.27, 0.0, 0.38), paint.main, -0.2),
        *sides,
    )


def tub_armchair(paint: Paint, rng: np.random.Generator) -> Parts:
    """A round shell of staves about a round cushion."""
    radius, height = rng.uniform(0.36, 0.42), rng.uniform(0.62, 0.78)
    turns = np.linspace(0.28, 1.72, 9) * math.pi
    shell = [post(0.13, height, (radius * math.cos(a), radius * math.sin(a), 0.02), paint.main) for a in turns]
    return (post(0.36, 0.38, (0.02, 0.0, 0.02), paint.dark), post(0.34, 0.12, (0.04, 0.0, 0.36), paint.light), *shell)


def rolled_armchair(paint: Paint, rng: np.random.Generator) -> Parts:
    """Arms and back are thick rolls."""
    width, high = rng.uniform(0.85, 1.0), rng.uniform(0.75, 0.95)
    y = width / 2 - 0.12
    return (
        box((0.76, width, 0.28), (0.0, 0.0, 0.04), paint.main),
        box((0.2, width - 0.1, high - 0.32), (-0.28, 0.0, 0.32), paint.main),
        rod(0.12, (-0.3, -y, high), (-0.3, y, high), paint.main),
        *(rod(0.12, (-0.34, side * y, 0.44), (0.36, side * y, 0.44), paint.main) for side in (-1, 1)),
        box((0.52, width - 0.46, 0.14), (0.08, 0.0, 0.32), paint.light),
    )


def block_sofa(paint: Paint, rng: np.random.Generator) -> Parts:
    """Two or three seats."""
    return _upholstered(paint, rng, rng.uniform(1.6, 2.1), int(rng.integers(2, 4)), high=False)


def high_sofa(paint: Paint, rng: np.random.Generator) -> Parts:
    """Two seats, a high back."""
    return _upholstered(paint, rng, rng.uniform(1.45, 1.8), 2, high=True)


def framed_sofa(paint: Paint, rng: np.random.Generator) -> Parts:
    """A long cushion and a low back on thin legs, with cushions."""
    width, frame = rng.uniform(1.6, 1.95), trim(paint, rng)
    throws = [box((0.16, 0.36, 0.34), (-0.16, side * (width / 2 - 0.36), 0.46), paint.light, -0.3) for side in (-1, 1)]
    return (
        box((0.82, width, 0.2), (0.0, 0.0, 0.26), paint.main),
        box((0.18, width, 0.44), (-0.32, 0.0, 0.44), paint.main, -0.12),
        *(box((0.7, 0.1, 0.2), (0.02, side * (width / 2 - 0.05), 0.46), paint.main) for side in (-1, 1)),
        *throws,
        *legs(0.74, width - 0.1, 0.26, 0.06, frame),
    )


def rolled_sofa(paint: Paint, rng: np.random.Generator) -> Parts:
    """Arms and back are thick rolls."""
    width, high = rng.uniform(1.65, 2.0), rng.uniform(0.75, 0.92)
    y = width / 2 - 0.13
    return (
        box((0.8, width, 0.28), (0.0, 0.0, 0.05), paint.main),
        box((0.2, width - 0.1, high - 0.33), (-0.3, 0.0, 0.33), paint.main),
        rod(0.12, (-0.31, -y, high), (-0.31, y, high), paint.main),
        *(rod(0.13, (-0.36, side * y, 0.45), (0.38, side * y, 0.45), paint.main) for side in (-1, 1)),
        *(
            box((0.56, width / 2 - 0.28, 0.13), (0.08, side * (width / 4 - 0.13), 0.33), paint.light)
            for side in (-1, 1)
        ),
    )


def couch(paint: Paint, rng: np.random.Generator) -> Parts:
    """A couch with one raised end and half a back."""
    width = rng.uniform(1.6, 1.9)
    return (
        box((0.78, width, 0.3), (0.0, 0.0, 0.12), paint.main),
        box((0.2, 0.66 * width, 0.44), (-0.29, -0.17 * width, 0.42), paint.main),
        box((0.78, 0.22, 0.4), (0.0, -width / 2 + 0.11, 0.42), paint.main),
        rod(0.11, (-0.22, -width / 2 + 0.36, 0.53), (0.3, -width / 2 + 0.36, 0.53), paint.light),
        *legs(0.7, width - 0.1, 0.12, 0.08, trim(paint, rng)),
    )


# --- beds: long and low, with a head end, pillows and a blanket in the bed's colour


def _bedding(paint: Paint, length: float, width: float, height: float, pillows: int) -> Parts:
    at = (-1, 1) if pillows == 2 else (0,)
    return (
        box((0.74 * length, width + 0.02, 0.12), (0.13 * length, 0.0, height + 0.10), paint.main),
        box((0.24 * length, width, 0.12), (-0.37 * length, 0.0, height + 0.09), LINEN),
        *(box((0.36, 0.46, 0.12), (-length / 2 + 0.26, side * width / 4, height + 0.2), LINEN) for side in at),
    )


def _bed_size(rng: np.random.Generator) -> tuple[float, float, float, int]:
    pillows = int(rng.integers(1, 3))
    return rng.uniform(1.85, 2.02), rng.uniform(0.9, 1.05) if pillows == 1 else rng.uniform(1.2, 1.45), 0.26, pillows


def box_bed(paint: Paint, rng: np.random.Generator) -> Parts:
    """A closed base, a soft head end."""
    length, width, low, pillows = _bed_size(rng)
    head = rng.uniform(0.7, 1.05)
    return (
        box((length, width, low + 0.1), (0.0, 0.0, 0.0), paint.dark),
        box((0.12, width + 0.06, head), (-length / 2 - 0.03, 0.0, 0.0), paint.main),
        *_bedding(paint, length, width, low, pillows),
    )


def bed_on_legs(paint: Paint, rng: np.random.Generator) -> Parts:
    """A frame on legs, a head end of bars."""
    length, width, low, pillows = _bed_size(rng)
    wood, head = trim(paint, rng), rng.uniform(0.75, 1.0)
    y = width / 2 - 0.04
    bars = [box((0.05, width, 0.09), (-length / 2, 0.0, z * head), paint.main) for z in (0.55, 0.75, 0.92)]
    return (
        box((length, width, 0.14), (0.0, 0.0, low - 0.04), paint.dark),
        *(box((0.08, 0.08, head), (-length / 2, side * y, 0.0), wood) for side in (-1, 1)),
        *(box((0.08, 0.08, low), (length / 2 - 0.06, side * y, 0.0), wood) for side in (-1, 1)),
        *bars,
        *_bedding(paint, length, width, low, pillows),
    )


def bed_with_foot(paint: Paint, rng: np.random.Generator) -> Parts:
    """Boards at head and foot."""
    length, width, low, pillows = _bed_size(rng)
    return (
        box((length - 0.1, width - 0.02, low + 0.08), (0.0, 0.0, 0.0), paint.dark),
        box((0.07, width + 0.04, rng.uniform(0.8, 1.0)), (-length / 2, 0.0, 0.0), paint.main),
        box((0.07, width + 0.04, rng.uniform(0.46, 0.6)), (length / 2, 0.0, 0.0), paint.main),
        *_bedding(paint, length - 0.1, width, low, pillows),
    )


def four_poster(paint: Paint, rng: np.random.Generator) -> Parts:
    """Posts at the corners, rails above."""
    length, width, low, pillows = _bed_size(rng)
    high = rng.uniform(1.3, 1.5)
    posts = [post(0.04, high, (x, y, 0.0), paint.dark) for x, y in corners(length, width)]
    rails = [box((0.05, width, 0.06), (x, 0.0, high - 0.06), paint.main) for x in (-length / 2, length / 2)]
    return (
        box((length, width, 0.2), (0.0, 0.0, low - 0.12), paint.dark),
        *posts,
        *rails,
        box((0.06, width, 0.5), (-length / 2, 0.0, low), paint.main),
        *_bedding(paint, length, width, low, pillows),
    )


def day_bed(paint: Paint, rng: np.random.Generator) -> Parts:
    """Rounded head and foot of the same height, a blanket that hangs down."""
    length, width, low, pillows = _bed_size(rng)
    high = rng.uniform(0.55, 0.7)
    ends = [
        part
        for x in (-length / 2, length / 2)
        for part in (
            box((0.06, width, high), (x, 0.0, 0.0), paint.dark),
            rod(0.07, (x, -width / 2, high), (x, width / 2, high), paint.main),
        )
    ]
    hanging = box((0.6 * length, width + 0.05, low + 0.16), (0.14 * length, 0.0, 0.06), paint.main)
    return (
        box((length, width - 0.04, low), (0.0, 0.0, 0.06), paint.dark),
        *ends,
        hanging,
        *_bedding(paint, length - 0.08, width, low, pillows),
        globe(0.06, (-length / 2, 0.0, high + 0.05), paint.light),
    )
