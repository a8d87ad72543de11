"""What several forms share: frames, feet, legs that lean."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from vila_sim.flats.furniture import METAL, WOOD, Paint
from vila_sim.flats.parts import Rgb, corners, rod
from vila_sim.flats.scene import Primitive

Parts = tuple[Primitive, ...]
Form = Callable[[Paint, np.random.Generator], Parts]


def trim(paint: Paint, rng: np.random.Generator) -> Rgb:
    """What legs and frames are made of: the thing's own colour, darker, or wood, or metal."""
    return (paint.dark, paint.dark, WOOD, METAL, (0.12, 0.12, 0.13))[rng.integers(5)]


def star(radius: float, rgb: Rgb, arms: int = 5) -> Parts:
    """The foot of a thing that stands on one column."""
    turns = np.arange(arms) * 2 * math.pi / arms
    return tuple(rod(0.032, (0.0, 0.0, 0.06), (radius * math.cos(a), radius * math.sin(a), 0.045), rgb) for a in turns)


def splayed(length: float, width: float, height: float, rgb: Rgb, thick: float = 0.032) -> Parts:
    """Four round legs that lean outward to the corners of a rectangle on the floor."""
    return tuple(rod(thick, (x, y, 0.03), (0.62 * x, 0.62 * y, height), rgb) for x, y in corners(length, width))
