"""Forms of chairs and stools: each draws its proportions."""

from __future__ import annotations

import math

import numpy as np

from vila_sim.flats.furniture import METAL, Paint
from vila_sim.flats.parts import box, egg, legs, post, rod
from vila_sim.flats.scene import Primitive
from vila_sim.forms.common import Parts, splayed, star, trim

# --- chairs: a seat at knee height for one, with a back


def _seat(paint: Paint, rng: np.random.Generator, depth: float, width: float) -> tuple[float, Primitive]:
    height, thick = rng.uniform(0.40, 0.50), rng.uniform(0.06, 0.12)
    return height, box((depth, width, thick), (0.0, 0.0, height - thick), paint.main)


def _chair_size(rng: np.random.Generator) -> tuple[float, float, float]:
    """Depth, width, height of the back."""
    return rng.uniform(0.42, 0.52), rng.uniform(0.42, 0.54), rng.uniform(0.40, 0.66)


def chair_with_slats(paint: Paint, rng: np.random.Generator) -> Parts:
    """Two posts and upright slats."""
    depth, width, back = _chair_size(rng)
    height, seat = _seat(paint, rng, depth, width)
    x = -depth / 2 + 0.035
    slats = [box((0.04, 0.07, back - 0.08), (x, y, height), paint.main) for y in np.linspace(-0.3, 0.3, 4) * width]
    rail = box((0.06, width, 0.12), (x, 0.0, height + back - 0.12), paint.main)
    sides = [box((0.06, 0.06, back), (x, y, height), paint.main) for y in (-width / 2 + 0.03, width / 2 - 0.03)]
    return (seat, *slats, rail, *sides, *legs(depth, width, seat.position_m[2], 0.06, trim(paint, rng)))


def office_chair(paint: Paint, rng: np.random.Generator) -> Parts:
    """One column on a star of five arms."""
    depth, width, back = _chair_size(rng)
    height, seat = _seat(paint, rng, depth, width)
    dark = (0.12, 0.12, 0.13) if rng.random() < 0.6 else METAL
    lean = rng.uniform(-0.2, 0.0)
    rest = box((0.09, 0.92 * width, back), (-depth / 2 - 0.01, 0.0, height + 0.05), paint.main, lean)
    arms = [
        part
        for y in (-width / 2 - 0.03, width / 2 + 0.03)
        for part in (
            box((0.30, 0.06, 0.05), (0.0, y, height + 0.20), paint.dark),
            box((0.05, 0.05, 0.22), (0.0, y, height), dark),
        )
    ]
    armed = tuple(arms) if rng.random() < 0.4 else ()
    return (seat, rest, post(0.04, height - 0.1, (0.0, 0.0, 0.06), dark), *star(0.27, dark), *armed)


def chair_with_splayed_legs(paint: Paint, rng: np.random.Generator) -> Parts:
    """A shell on round legs."""
    depth, width, back = _chair_size(rng)
    height, seat = _seat(paint, rng, depth, width)
    rest = box((0.06, width, 0.75 * back), (-depth / 2 + 0.02, 0.0, height), paint.main, rng.uniform(-0.25, -0.05))
    return (seat, rest, *splayed(depth + 0.04, width + 0.04, height - 0.05, trim(paint, rng)))


def chair_with_frame(paint: Paint, rng: np.random.Generator) -> Parts:
    """A back of one upper board between posts that are legs too."""
    depth, width, back = _chair_size(rng)
    height, seat = _seat(paint, rng, depth, width)
    x, own = -depth / 2 + 0.03, paint.main if rng.random() < 0.6 else trim(paint, rng)
    posts = [box((0.06, 0.06, height + back), (x, y, 0.0), own) for y in (-width / 2 + 0.03, width / 2 - 0.03)]
    board = box((0.05, width, 0.5 * back), (x, 0.0, height + 0.5 * back), paint.main)
    front = [
        box((0.06, 0.06, height - 0.06), (depth / 2 - 0.03, y, 0.0), own) for y in (-width / 2 + 0.03, width / 2 - 0.03)
    ]
    return (seat, *posts, board, *front)


def chair_with_round_back(paint: Paint, rng: np.random.Generator) -> Parts:
    """A round seat, and a hoop of staves around half of it."""
    radius, height, back = rng.uniform(0.22, 0.26), rng.uniform(0.42, 0.48), rng.uniform(0.34, 0.5)
    turns = np.linspace(0.55, 1.45, 5) * math.pi
    at = [(radius * math.cos(a) * 0.92, radius * math.sin(a) * 0.92) for a in turns]
    staves = [post(0.035, back, (x, y, height), paint.main) for x, y in at]
    hoop = [rod(0.05, (*a, height + back), (*b, height + back), paint.main) for a, b in zip(at, at[1:], strict=False)]
    return (
        post(radius, 0.09, (0.0, 0.0, height - 0.09), paint.main),
        *staves,
        *hoop,
        *splayed(0.44, 0.44, height - 0.06, trim(paint, rng)),
    )


def cantilever_chair(paint: Paint, rng: np.random.Generator) -> Parts:
    """Two runners, two front posts, a seat that hangs free behind."""
    depth, width, back = _chair_size(rng)
    height, seat = _seat(paint, rng, depth, width)
    tube = METAL if rng.random() < 0.7 else paint.dark
    sides = (-width / 2 + 0.02, width / 2 - 0.02)
    frame = [
        part
        for y in sides
        for part in (
            box((depth, 0.045, 0.045), (0.0, y, 0.0), tube),
            box((0.045, 0.045, height), (depth / 2 - 0.022, y, 0.0), tube),
            box((0.045, 0.045, back + 0.04), (-depth / 2 + 0.02, y, height), tube),
        )
    ]
    rungs = [box((0.05, width, 0.10), (-depth / 2 + 0.02, 0.0, height + z * back), paint.main) for z in (0.2, 0.5, 0.8)]
    return (seat, *frame, *rungs)


# --- stools: a small seat without a back


def stool_on_legs(paint: Paint, rng: np.random.Generator) -> Parts:
    """Square or round, on four straight legs."""
    size, height = rng.uniform(0.32, 0.42), rng.uniform(0.45, 0.68)
    top = (
        box((size, size, 0.09), (0.0, 0.0, height - 0.09), paint.main)
        if rng.random() < 0.5
        else post(size / 2, 0.09, (0.0, 0.0, height - 0.09), paint.main)
    )
    return (top, *legs(0.85 * size, 0.85 * size, height - 0.09, 0.055, trim(paint, rng)))


def bar_stool(paint: Paint, rng: np.random.Generator) -> Parts:
    """A cushion on a column, with a ring for the feet."""
    height, radius, steel = rng.uniform(0.6, 0.78), rng.uniform(0.17, 0.22), trim(paint, rng)
    return (
        post(radius, rng.uniform(0.08, 0.14), (0.0, 0.0, height - 0.08), paint.main),
        post(0.035, height - 0.1, (0.0, 0.0, 0.02), steel),
        post(0.13, 0.03, (0.0, 0.0, 0.22), steel),
        post(0.19, 0.04, (0.0, 0.0, 0.0), paint.main),
    )


def splayed_stool(paint: Paint, rng: np.random.Generator) -> Parts:
    """Round, on legs that lean."""
    height, radius = rng.uniform(0.42, 0.62), rng.uniform(0.18, 0.23)
    spread = 2.2 * radius
    return (
        post(radius, 0.08, (0.0, 0.0, height - 0.08), paint.main),
        *splayed(spread, spread, height - 0.05, trim(paint, rng), 0.035),
    )


def drum_stool(paint: Paint, rng: np.random.Generator) -> Parts:
    """A pouf: a drum with a cushion."""
    height, radius = rng.uniform(0.34, 0.44), rng.uniform(0.2, 0.25)
    return (
        post(radius, height - 0.08, (0.0, 0.0, 0.0), paint.dark),
        post(radius + 0.02, 0.09, (0.0, 0.0, height - 0.09), paint.main),
        egg((radius, radius, 0.05), (0.0, 0.0, height - 0.05), paint.light),
    )


def tripod_stool(paint: Paint, rng: np.random.Generator) -> Parts:
    """A thick disc on three legs."""
    height, radius, wood = rng.uniform(0.44, 0.6), rng.uniform(0.17, 0.22), trim(paint, rng)
    feet = [(1.25 * radius * math.cos(a), 1.25 * radius * math.sin(a)) for a in (0.0, 2.09, 4.19)]
    return (
        post(radius, 0.12, (0.0, 0.0, height - 0.12), paint.main),
        *(rod(0.038, (x, y, 0.035), (0.5 * x, 0.5 * y, height - 0.1), wood) for x, y in feet),
    )
