"""Forms of tables: each draws its proportions."""

from __future__ import annotations

import numpy as np

from vila_sim.flats.furniture import Paint
from vila_sim.flats.parts import box, legs, post, rod
from vila_sim.flats.scene import Primitive
from vila_sim.forms.common import Parts, splayed, trim

# --- tables: a wide flat top at the height of a hand, empty below


def _top(paint: Paint, rng: np.random.Generator) -> tuple[float, float, float, Primitive]:
    depth, width, height = rng.uniform(0.65, 0.95), rng.uniform(1.0, 1.5), rng.uniform(0.62, 0.78)
    thick = rng.uniform(0.06, 0.1)
    return depth, width, height, box((depth, width, thick), (0.0, 0.0, height - thick), paint.main)


def table_on_legs(paint: Paint, rng: np.random.Generator) -> Parts:
    """Four legs."""
    depth, width, height, top = _top(paint, rng)
    return (top, *legs(depth - 0.04, width - 0.04, height - 0.08, rng.uniform(0.06, 0.11), trim(paint, rng)))


def trestle_table(paint: Paint, rng: np.random.Generator) -> Parts:
    """Two boards and a beam carry the top."""
    depth, width, height, top = _top(paint, rng)
    sides = [
        box((depth - 0.16, 0.07, height - 0.08), (0.0, side * (width / 2 - 0.14), 0.0), paint.main) for side in (-1, 1)
    ]
    return (top, *sides, box((0.07, width - 0.3, 0.12), (0.0, 0.0, 0.3), trim(paint, rng)))


def splayed_table(paint: Paint, rng: np.random.Generator) -> Parts:
    """Round legs that lean."""
    depth, width, height, top = _top(paint, rng)
    return (top, *splayed(depth - 0.02, width - 0.02, height - 0.06, trim(paint, rng), 0.045))


def round_table(paint: Paint, rng: np.random.Generator) -> Parts:
    """A disc on one column."""
    radius, height = rng.uniform(0.45, 0.58), rng.uniform(0.64, 0.78)
    return (
        post(radius, 0.08, (0.0, 0.0, height - 0.08), paint.main),
        post(0.08, height - 0.1, (0.0, 0.0, 0.04), trim(paint, rng)),
        post(0.3, 0.05, (0.0, 0.0, 0.0), paint.dark),
    )


def crossed_table(paint: Paint, rng: np.random.Generator) -> Parts:
    """Crossed legs at both ends."""
    depth, width, height, top = _top(paint, rng)
    wood, x = trim(paint, rng), depth / 2 - 0.06
    legs_ = [
        rod(0.045, (side * x, y, 0.04), (-side * x, y, height - 0.06), wood)
        for y in (-width / 2 + 0.15, width / 2 - 0.15)
        for side in (-1, 1)
    ]
    return (top, *legs_)
