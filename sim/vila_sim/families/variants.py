"""Furniture of the richer families: one of several forms of its kind, in a shade and a finish of its colour."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vila_sim.flats.furniture import COLOURS, ENLARGED, Paint, assembled, mix_paint, scaled
from vila_sim.flats.parts import Rgb
from vila_sim.flats.scene import Primitive, SceneObject
from vila_sim.flats.surfaces import Surfaces, finish_name
from vila_sim.forms.common import Form

_WHITE = (1.0, 1.0, 1.0)
_SCALE = 0.13  # most by which a thing is larger or smaller than its form says
_LARGER = 0.85  # of what makes plain furniture larger than life
_SMALLEST_M = 0.12  # of a face that shows a finish


@dataclass(frozen=True, slots=True)
class FurnitureStyle:
    """The forms of each kind, and what they are painted with."""

    forms: dict[str, tuple[Form, ...]]
    surfaces: Surfaces
    finished: float  # probability of a finish; else plain paint
    shade: tuple[float, float]  # brightness of the colour
    mixed: float  # most of grey that is mixed into the colour


def build_variant(kind: str, colour: str, rng: np.random.Generator, style: FurnitureStyle) -> SceneObject:
    """Build a thing at the origin: its form, proportions, size, shade and finish are drawn."""
    forms = style.forms[kind]
    form = forms[rng.integers(len(forms))]
    larger = 1.0 + _LARGER * (ENLARGED.get(kind, 1.0) - 1.0)
    size = larger * (1.0 + rng.uniform(-_SCALE, _SCALE))
    paint = mix_paint(_shaded(COLOURS[colour], rng, style), 1.0)
    parts = scaled(form(paint, rng), size)
    if rng.random() < style.finished:
        finish = style.surfaces.finishes[rng.integers(len(style.surfaces.finishes))]
        parts = _finished(parts, paint, finish_name(finish, colour, rng))
    return assembled(kind, colour, parts)


def _shaded(rgb: Rgb, rng: np.random.Generator, style: FurnitureStyle) -> Rgb:
    bright, grey = rng.uniform(*style.shade), rng.uniform(0.0, style.mixed)
    mean = sum(rgb) / 3
    red, green, blue = (bright * ((1 - grey) * channel + grey * mean) for channel in rgb)
    return red, green, blue


def _finished(parts: tuple[Primitive, ...], paint: Paint, texture: str) -> tuple[Primitive, ...]:
    """Give the boxes that wear the main colour a texture of it; other shapes have no texture in all simulators."""
    return tuple(
        replace(part, rgb=_WHITE, texture=texture)
        if part.shape == "box" and part.rgb == paint.main and sorted(part.half_size_m)[1] > _SMALLEST_M / 2
        else part
        for part in parts
    )
