"""Forms of televisions, bins and suitcases: each draws its proportions."""

from __future__ import annotations

import numpy as np

from vila_sim.flats.furniture import GLASS, LINEN, METAL, WOOD, Paint
from vila_sim.flats.parts import box, corners, egg, globe, legs, post, rod
from vila_sim.forms.common import Parts, trim

_BLACK = (0.1, 0.1, 0.11)

# --- televisions: a dark screen in a coloured frame, on a stand


def television_on_cabinet(paint: Paint, rng: np.random.Generator) -> Parts:
    """A flat screen on a low cabinet."""
    wide, high, low = rng.uniform(0.9, 1.25), rng.uniform(0.5, 0.7), rng.uniform(0.34, 0.5)
    return (
        box((0.4, wide + rng.uniform(0.0, 0.3), low), (0.0, 0.0, 0.0), paint.main),
        box((0.14, 0.34, 0.08), (0.0, 0.0, low), paint.dark),
        box((0.07, wide, high), (0.0, 0.0, low + 0.06), paint.main),
        box((0.02, wide - 0.12, high - 0.12), (0.03, 0.0, low + 0.12), GLASS),
    )


def television_with_tube(paint: Paint, rng: np.random.Generator) -> Parts:
    """A deep old one on legs, with knobs and an aerial."""
    wide, high, leg = rng.uniform(0.62, 0.8), rng.uniform(0.5, 0.6), rng.uniform(0.3, 0.5)
    return (
        *legs(0.4, wide, leg, 0.06, trim(paint, rng)),
        box((0.46, wide, high), (0.0, 0.0, leg), paint.main),
        box((0.02, 0.68 * wide, high - 0.12), (0.23, 0.1 * wide, leg + 0.06), GLASS),
        globe(0.035, (0.21, -0.38 * wide, leg + 0.6 * high), METAL),
        globe(0.035, (0.21, -0.38 * wide, leg + 0.35 * high), METAL),
        *(rod(0.012, (0.0, 0.0, leg + high), (0.0, side * 0.22, leg + high + 0.3), METAL) for side in (-1, 1)),
    )


def television_on_rack(paint: Paint, rng: np.random.Generator) -> Parts:
    """A flat screen above two shelves."""
    wide, high, low = rng.uniform(0.9, 1.2), rng.uniform(0.5, 0.68), rng.uniform(0.4, 0.55)
    return (
        *(box((0.38, wide, 0.06), (0.0, 0.0, z), paint.main) for z in (0.06, low - 0.06)),
        *(post(0.03, low, (x, y, 0.0), METAL) for x, y in corners(0.34, wide - 0.06)),
        box((0.08, wide, high), (0.0, 0.0, low), paint.main),
        box((0.02, wide - 0.14, high - 0.14), (0.035, 0.0, low + 0.07), GLASS),
    )


def television_on_easel(paint: Paint, rng: np.random.Generator) -> Parts:
    """A flat screen on three legs."""
    wide, high, low = rng.uniform(0.9, 1.15), rng.uniform(0.55, 0.7), rng.uniform(0.5, 0.6)
    wood = trim(paint, rng)
    return (
        *(rod(0.03, (0.2, side * 0.4, 0.03), (0.0, side * 0.12, low + 0.3), wood) for side in (-1, 1)),
        rod(0.03, (-0.36, 0.0, 0.03), (-0.03, 0.0, low + 0.3), wood),
        box((0.08, wide, high), (0.03, 0.0, low), paint.main),
        box((0.02, wide - 0.13, high - 0.13), (0.07, 0.0, low + 0.065), GLASS),
    )


def television_on_column(paint: Paint, rng: np.random.Generator) -> Parts:
    """A flat screen on a broad column, with a bar of loudspeakers below."""
    wide, high, low = rng.uniform(1.0, 1.25), rng.uniform(0.58, 0.7), rng.uniform(0.45, 0.6)
    return (
        box((0.4, 0.7, 0.05), (0.0, 0.0, 0.0), paint.dark),
        box((0.1, 0.3, low), (-0.03, 0.0, 0.04), paint.main),
        box((0.1, 0.8 * wide, 0.1), (0.04, 0.0, low - 0.16), paint.dark),
        box((0.07, wide, high), (0.0, 0.0, low), paint.main),
        box((0.02, wide - 0.1, high - 0.1), (0.03, 0.0, low + 0.05), GLASS),
    )


# --- bins: a bucket with a lid or an opening


def pedal_bin(paint: Paint, rng: np.random.Generator) -> Parts:
    """A tall drum with a domed lid and a pedal."""
    radius, height = rng.uniform(0.16, 0.21), rng.uniform(0.42, 0.62)
    return (
        post(radius, height, (0.0, 0.0, 0.0), paint.main),
        post(radius + 0.02, 0.05, (0.0, 0.0, height), METAL if rng.random() < 0.5 else paint.dark),
        egg((radius, radius, rng.uniform(0.06, 0.16)), (0.0, 0.0, height - 0.05), paint.light),
        box((0.12, 0.12, 0.04), (radius + 0.02, 0.0, 0.0), _BLACK),
    )


def swing_bin(paint: Paint, rng: np.random.Generator) -> Parts:
    """Square, with a sloping lid."""
    depth, width, height = rng.uniform(0.28, 0.36), rng.uniform(0.32, 0.42), rng.uniform(0.48, 0.62)
    return (
        box((depth, width, height), (0.0, 0.0, 0.0), paint.main),
        box((depth + 0.03, width + 0.03, 0.05), (0.0, 0.0, height - 0.02), paint.dark),
        box((0.62 * depth, width - 0.03, 0.04), (0.16 * depth, 0.0, height + 0.07), paint.light, 0.6),
        box((0.62 * depth, width - 0.03, 0.04), (-0.16 * depth, 0.0, height + 0.07), paint.light, -0.6),
    )


def open_bin(paint: Paint, rng: np.random.Generator) -> Parts:
    """A basket that widens upward, with waste in it."""
    radius, height = rng.uniform(0.15, 0.19), rng.uniform(0.4, 0.52)
    rings = [
        post(radius * (0.85 + 0.09 * i), height / 3 + 0.01, (0.0, 0.0, i * height / 3), paint.main) for i in range(3)
    ]
    return (
        *rings,
        post(1.1 * radius, 0.05, (0.0, 0.0, height), paint.dark),
        post(0.92 * radius, 0.02, (0.0, 0.0, height + 0.045), _BLACK),
        globe(0.5 * radius, (0.03, 0.02, height), LINEN),
    )


def wheeled_bin(paint: Paint, rng: np.random.Generator) -> Parts:
    """A tall one with wheels and a hinged lid."""
    depth, width, height = rng.uniform(0.36, 0.44), rng.uniform(0.36, 0.44), rng.uniform(0.62, 0.74)
    return (
        box((depth - 0.06, width - 0.06, 0.5 * height), (0.0, 0.0, 0.05), paint.main),
        box((depth, width, 0.5 * height), (0.0, 0.0, 0.5 * height), paint.main),
        box((depth + 0.08, width + 0.05, 0.06), (0.02, 0.0, height), paint.dark, 0.12),
        rod(
            0.025, (-depth / 2 - 0.04, -width / 2, height - 0.02), (-depth / 2 - 0.04, width / 2, height - 0.02), _BLACK
        ),
        *(
            rod(
                0.08,
                (-depth / 2 + 0.04, side * width / 2 - 0.03, 0.08),
                (-depth / 2 + 0.04, side * width / 2 + 0.03, 0.08),
                _BLACK,
            )
            for side in (-1, 1)
        ),
    )


def hooded_bin(paint: Paint, rng: np.random.Generator) -> Parts:
    """A drum with a roof over a slot."""
    radius, height = rng.uniform(0.18, 0.22), rng.uniform(0.46, 0.56)
    return (
        post(radius, height, (0.0, 0.0, 0.0), paint.main),
        post(radius + 0.015, 0.06, (0.0, 0.0, 0.0), paint.dark),
        *(post(0.03, 0.12, (x, y, height), paint.dark) for x, y in corners(1.2 * radius, 1.2 * radius)),
        post(0.9 * radius, 0.02, (0.0, 0.0, height), _BLACK),
        post(radius + 0.03, 0.05, (0.0, 0.0, height + 0.12), paint.main),
        egg((radius, radius, 0.07), (0.0, 0.0, height + 0.1), paint.light),
    )


# --- suitcases: a standing case with a handle


def rolling_suitcase(paint: Paint, rng: np.random.Generator) -> Parts:
    """A ribbed shell on four wheels, the handle out."""
    depth, width, height = rng.uniform(0.22, 0.3), rng.uniform(0.4, 0.5), rng.uniform(0.52, 0.68)
    pull = rng.uniform(0.14, 0.34)
    count = int(rng.integers(2, 6))
    ribs = [
        box((depth + 0.03, 0.04, height - 0.06), (0.0, float(y), 0.11), paint.light)
        for y in np.linspace(-0.36, 0.36, count) * width
    ]
    return (
        box((depth, width, height), (0.0, 0.0, 0.08), paint.main),
        *ribs,
        *(box((0.03, 0.03, pull), (-0.04, side * 0.1, height + 0.08), METAL) for side in (-1, 1)),
        box((0.05, 0.26, 0.05), (-0.04, 0.0, height + pull + 0.07), _BLACK),
        *(box((0.07, 0.05, 0.08), (x, y, 0.0), _BLACK) for x, y in corners(depth - 0.08, width - 0.08)),
    )


def strapped_suitcase(paint: Paint, rng: np.random.Generator) -> Parts:
    """An old one that stands on its long edge, with straps, corners and a handle above."""
    depth, width, height = rng.uniform(0.2, 0.26), rng.uniform(0.58, 0.72), rng.uniform(0.42, 0.5)
    return (
        box((depth, width, height), (0.0, 0.0, 0.0), paint.main),
        *(box((depth + 0.02, 0.06, height + 0.02), (0.0, side * width / 4, 0.0), WOOD) for side in (-1, 1)),
        *(box((0.04, 0.03, 0.09), (0.0, side * 0.1, height), WOOD) for side in (-1, 1)),
        box((0.05, 0.24, 0.04), (0.0, 0.0, height + 0.08), WOOD),
    )


def soft_suitcase(paint: Paint, rng: np.random.Generator) -> Parts:
    """Of cloth, with two pockets, two wheels and a bow of a handle."""
    depth, width, height = rng.uniform(0.22, 0.28), rng.uniform(0.4, 0.48), rng.uniform(0.56, 0.68)
    return (
        box((depth, width, height), (0.0, 0.0, 0.06), paint.main),
        box((0.06, width - 0.08, 0.36 * height), (depth / 2 + 0.02, 0.0, 0.12), paint.dark),
        box((0.05, width - 0.12, 0.28 * height), (depth / 2 + 0.02, 0.0, 0.18 + 0.42 * height), paint.light),
        *(rod(0.05, (-0.08, side * 0.17 - 0.03, 0.05), (-0.08, side * 0.17 + 0.03, 0.05), _BLACK) for side in (-1, 1)),
        *(box((0.03, 0.03, 0.24), (-0.08, side * 0.09, height + 0.06), _BLACK) for side in (-1, 1)),
        box((0.05, 0.22, 0.05), (-0.08, 0.0, height + 0.28), _BLACK),
    )


def travel_trunk(paint: Paint, rng: np.random.Generator) -> Parts:
    """A shell in two halves with a band between, upright, its handle at the side."""
    depth, width, height = rng.uniform(0.28, 0.34), rng.uniform(0.42, 0.5), rng.uniform(0.6, 0.7)
    shells = [
        box((depth / 2 - 0.02, width, height), (side * (depth / 4 + 0.01), 0.0, 0.07), paint.main) for side in (-1, 1)
    ]
    return (
        *shells,
        box((0.05, width + 0.02, height + 0.02), (0.0, 0.0, 0.07), METAL),
        *(
            box((depth - 0.02, 0.02, 0.05), (0.0, side * (width / 2 - 0.03), height + 0.07), paint.dark)
            for side in (-1, 1)
        ),
        box((0.05, 0.05, 0.26), (0.0, -width / 2 - 0.05, 0.3), paint.dark),
        *(post(0.03, 0.32, (-0.02, side * 0.08, height + 0.07), METAL) for side in (-1, 1)),
        box((0.06, 0.24, 0.06), (-0.02, 0.0, height + 0.37), paint.dark),
        *(globe(0.04, (x, y, 0.0), _BLACK) for x, y in corners(depth - 0.08, width - 0.08)),
    )
