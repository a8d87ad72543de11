"""Textures of the richer families of flats, each drawn from noise by its name: floors, walls, rugs, pictures, finishes.

No texture of one family is in the other: what is held out is drawn by other functions.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vila_sim.flats.drawing import Pixels, Rgb, Texture, clouds, coordinates, noise, plain
from vila_sim.flats.furniture import COLOURS

Pattern = Callable[[np.random.Generator], Pixels]
Grain = Callable[[np.random.Generator], NDArray[np.float64]]  # shade of each pixel, about 1: [64, 64]

FINISH_PX = 64
_FLOORS, _WALLS, _RUGS, _PICTURES = 36, 48, 12, 16  # of a family
_TONES = 2  # of a finish in each colour


@dataclass(frozen=True, slots=True)
class Surfaces:
    """What the rooms and the furniture of a family wear, as rows of textures.TEXTURES."""

    floors: tuple[str, ...]
    walls: tuple[str, ...]
    rugs: tuple[str, ...]
    pictures: tuple[str, ...]
    finishes: tuple[str, ...]  # of painted boxes; finish_name adds the colour
    textures: dict[str, Texture]


def finish_name(finish: str, colour: str, rng: np.random.Generator) -> str:
    """The texture of a finish in a colour, in one of its tones."""
    return f"{finish}_{colour}_{rng.integers(_TONES)}"


def _muted(rng: np.random.Generator, dark: float, bright: float, most: float = 0.42) -> Rgb:
    """Draw a colour that no named thing has: any hue, little saturation."""
    return colorsys.hsv_to_rgb(rng.uniform(), most * rng.uniform() ** 1.3, rng.uniform(dark, bright))


def _woody(rng: np.random.Generator) -> Rgb:
    return colorsys.hsv_to_rgb(rng.uniform(0.05, 0.12), rng.uniform(0.15, 0.6), rng.uniform(0.25, 0.75))


def _near(rng: np.random.Generator, colour: Rgb, apart: float = 0.12) -> Rgb:
    shift = rng.uniform(-apart, apart)
    red, green, blue = (min(max(channel + shift, 0.05), 0.92) for channel in colour)
    return red, green, blue


# --- floors


def _boards(rng: np.random.Generator) -> Pixels:
    column, row = coordinates()
    count = int(rng.integers(4, 13))
    board = (row * count).astype(int)
    joint = rng.uniform(0.0, 1.0, count)[board]
    half = (((column - joint) % 1.0) > 0.5).astype(int)
    tone = rng.uniform(0.78, 1.12, (count, 2))[board, half]
    grain = 0.06 * noise(rng, 64)[:, np.arange(256) // 8]
    image: Pixels = np.array(_woody(rng)) * (tone + grain + 0.05 * noise(rng, 8))[..., None]
    image[row * count % 1.0 < 0.008 * count] *= rng.uniform(0.5, 0.85)
    return image


def _square_tiles(rng: np.random.Generator) -> Pixels:
    column, row = coordinates()
    count = 2 * int(rng.integers(1, 5))
    across, down = (column * count).astype(int), (row * count).astype(int)
    first = _muted(rng, 0.2, 0.85)
    second = _muted(rng, 0.2, 0.85) if rng.random() < 0.4 else first
    odd = ((across + down) % 2 == 1)[..., None]
    tone = rng.uniform(0.9, 1.06, (count, count))[down, across] + 0.06 * clouds(rng)
    image: Pixels = np.where(odd, np.array(second), np.array(first)) * tone[..., None]
    image[(column * count % 1.0 < 0.05) | (row * count % 1.0 < 0.05)] = _near(rng, first, 0.25)
    return image


def _pile(rng: np.random.Generator) -> Pixels:
    fibre = rng.normal(0.0, rng.uniform(0.05, 0.12), (256, 256)) + rng.uniform(0.0, 0.12) * clouds(rng)
    return plain(_muted(rng, 0.2, 0.75)) * (1.0 + fibre)[..., None]


def _slab(rng: np.random.Generator) -> Pixels:
    veins = np.abs(noise(rng, 5) + 0.4 * noise(rng, 16))
    return plain(_muted(rng, 0.25, 0.8, 0.2)) * (0.85 + 0.2 * veins + 0.1 * clouds(rng))[..., None]


def _herringbone(rng: np.random.Generator) -> Pixels:
    column, row = coordinates()
    zigzag = np.abs((column * 4) % 2 - 1)
    board = ((row * 12 + zigzag * 2) % 12).astype(int)
    lane = (column * 4).astype(int)
    tone = rng.uniform(0.75, 1.12, (12, 4))[board, lane] + 0.06 * noise(rng, 32)
    image: Pixels = np.array(_woody(rng)) * tone[..., None]
    image[(column * 4 % 1.0 < 0.04) | ((row * 12 + zigzag * 2) % 1.0 < 0.12)] *= 0.7
    return image


def _terrazzo(rng: np.random.Generator) -> Pixels:
    image = plain(_muted(rng, 0.5, 0.85, 0.15)) * (1.0 + 0.04 * clouds(rng))[..., None]
    for cells in (24, 32, 40):
        image[noise(rng, cells) > 0.55] = _muted(rng, 0.2, 0.9, 0.35)
    return image


def _diagonal_tiles(rng: np.random.Generator) -> Pixels:
    column, row = coordinates()
    count = int(rng.integers(2, 5))
    along, across = (column + row) * count, (column - row) * count
    first, second = _muted(rng, 0.3, 0.85), _muted(rng, 0.2, 0.7)
    odd = ((np.floor(along) + np.floor(across)) % 2 == 1)[..., None]
    image: Pixels = np.where(odd, np.array(first), np.array(second)) * (1.0 + 0.07 * clouds(rng))[..., None]
    image[(along % 1.0 < 0.05) | (across % 1.0 < 0.05)] = (0.5, 0.48, 0.45)
    return image


# --- walls


def _painted(rng: np.random.Generator) -> Pixels:
    uneven = rng.uniform(0.01, 0.08) * clouds(rng) + rng.normal(0.0, 0.012, (256, 256))
    return plain(_muted(rng, 0.4, 0.88)) * (1.0 + uneven)[..., None]


def _upright_stripes(rng: np.random.Generator) -> Pixels:
    column, _ = coordinates()
    first = _muted(rng, 0.4, 0.85)
    band = (column * int(rng.integers(2, 9)) % 1.0 < rng.uniform(0.2, 0.6))[..., None]
    return np.where(band, np.array(first), np.array(_near(rng, first))) * (1.0 + 0.03 * clouds(rng))[..., None]


def _dotted(rng: np.random.Generator) -> Pixels:
    column, row = coordinates()
    count, ground = int(rng.integers(3, 9)), _muted(rng, 0.4, 0.85)
    shift = 0.5 * ((row * count).astype(int) % 2)
    across, down = (column * count + shift) % 1.0 - 0.5, row * count % 1.0 - 0.5
    inside = (np.hypot(across, down) < rng.uniform(0.12, 0.32))[..., None]
    return np.where(inside, np.array(_near(rng, ground, 0.2)), np.array(ground)) * (1.0 + 0.03 * clouds(rng))[..., None]


def _masonry(rng: np.random.Generator) -> Pixels:
    column, row = coordinates()
    courses = 2 * int(rng.integers(2, 7))
    course = (row * courses).astype(int)
    along = column * courses / 2 + 0.5 * (course % 2)
    tone = rng.uniform(0.82, 1.12, (courses, courses))[course, along.astype(int) % courses] + 0.08 * noise(rng, 32)
    ground = _muted(rng, 0.35, 0.8)
    image: Pixels = np.array(ground) * tone[..., None]
    image[(along % 1.0 < 0.05) | (row * courses % 1.0 < 0.1)] = _near(rng, ground, 0.2)
    return image


def _panelling(rng: np.random.Generator) -> Pixels:
    _, row = coordinates()
    count = int(rng.integers(5, 12))
    board = (row * count).astype(int)
    tone = rng.uniform(0.9, 1.06, count)[board] + 0.05 * noise(rng, 48)[:, np.arange(256) // 6]
    image: Pixels = np.array(_woody(rng) if rng.random() < 0.5 else _muted(rng, 0.5, 0.85)) * tone[..., None]
    image[row * count % 1.0 < 0.07] *= 0.72
    return image


def _damask(rng: np.random.Generator) -> Pixels:
    column, row = coordinates()
    count, ground = int(rng.integers(2, 5)), _muted(rng, 0.45, 0.85)
    figure = np.sin(2 * np.pi * count * column) * np.sin(2 * np.pi * count * row)
    figure = figure + 0.5 * np.cos(4 * np.pi * count * (column + row))
    inside = (np.abs(figure) < rng.uniform(0.25, 0.45))[..., None]
    return (
        np.where(inside, np.array(_near(rng, ground, 0.16)), np.array(ground)) * (1.0 + 0.03 * clouds(rng))[..., None]
    )


def _concrete(rng: np.random.Generator) -> Pixels:
    stains = 0.12 * noise(rng, 3) + 0.1 * clouds(rng) + rng.normal(0.0, 0.03, (256, 256))
    return plain(_muted(rng, 0.45, 0.75, 0.12)) * (1.0 + stains)[..., None]


# --- rugs and pictures


def _bordered_rug(rng: np.random.Generator) -> Pixels:
    column, row = coordinates()
    edge = np.minimum(np.minimum(column, 1 - column), np.minimum(row, 1 - row))
    image = plain(_muted(rng, 0.25, 0.75))
    for level in np.sort(rng.uniform(0.02, 0.3, int(rng.integers(1, 4)))):
        image[(edge > level) & (edge < level + 0.06)] = _muted(rng, 0.2, 0.8)
    return image * (1.0 + rng.normal(0.0, 0.06, (256, 256)))[..., None]


def _striped_rug(rng: np.random.Generator) -> Pixels:
    _, row = coordinates()
    band = (row * 14).astype(int)
    image: Pixels = np.array([_muted(rng, 0.25, 0.75) for _ in range(14)])[band]
    return image * (1.0 + rng.normal(0.0, 0.06, (256, 256)))[..., None]


def _shapes(rng: np.random.Generator) -> Pixels:
    image = plain(_muted(rng, 0.4, 0.9))
    column, row = coordinates()
    for _ in range(int(rng.integers(3, 9))):
        x, y, radius = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.3)
        apart = np.maximum(abs(column - x), abs(row - y)) if rng.random() < 0.5 else np.hypot(column - x, row - y)
        image[apart < radius] = rng.uniform(0.1, 0.85, 3)
    return image


def _hills(rng: np.random.Generator) -> Pixels:
    column, row = coordinates()
    image = plain(_muted(rng, 0.6, 0.95)) * (0.85 + 0.2 * (1 - row))[..., None]
    for level in np.sort(rng.uniform(0.35, 0.9, 3)):
        ridge = level + 0.08 * np.sin(column * rng.uniform(4, 14) + rng.uniform(0, 6)) + 0.05 * noise(rng, 8)
        image[row > ridge] = _muted(rng, 0.15, 0.7, 0.5)
    return image


def _fields(rng: np.random.Generator) -> Pixels:
    """A grid of plain fields between black lines."""
    column, row = coordinates()
    cuts_x, cuts_y = np.sort(rng.uniform(0.1, 0.9, 3)), np.sort(rng.uniform(0.1, 0.9, 3))
    image: Pixels = rng.uniform(0.15, 0.9, (4, 4, 3))[np.searchsorted(cuts_y, row), np.searchsorted(cuts_x, column)]
    near = [np.abs(column - cut) < 0.015 for cut in cuts_x] + [np.abs(row - cut) < 0.015 for cut in cuts_y]
    image[np.any(near, axis=0)] = 0.06
    return image


# --- finishes of furniture, in a named colour


def _weave(rng: np.random.Generator) -> NDArray[np.float64]:
    at = np.arange(FINISH_PX)
    threads = 0.10 * (((at[:, None] // 2 + at[None, :] // 2) % 2) - 0.5)
    return 1.0 + threads + 0.06 * noise(rng, 6, FINISH_PX)


def _wood(rng: np.random.Generator) -> NDArray[np.float64]:
    at = np.arange(FINISH_PX)
    rings = np.sin(at[:, None] * 0.8 + 3.0 * noise(rng, 4, FINISH_PX))
    return 1.0 + 0.11 * rings + 0.05 * noise(rng, 16, FINISH_PX)


def _leather(rng: np.random.Generator) -> NDArray[np.float64]:
    return 1.0 - 0.16 * np.abs(noise(rng, 12, FINISH_PX)) + 0.08 * noise(rng, 4, FINISH_PX)


def _worn(rng: np.random.Generator) -> NDArray[np.float64]:
    return 1.0 + 0.14 * noise(rng, 3, FINISH_PX) + rng.normal(0.0, 0.03, (FINISH_PX, FINISH_PX))


def _ribbed(rng: np.random.Generator) -> NDArray[np.float64]:
    at = np.arange(FINISH_PX)
    return 1.0 + 0.13 * np.sin(at[None, :] * 2 * np.pi / 8) + 0.05 * noise(rng, 8, FINISH_PX)


def _brushed(rng: np.random.Generator) -> NDArray[np.float64]:
    lines = rng.normal(0.0, 0.07, (FINISH_PX, 1))
    return 1.0 + lines + 0.07 * noise(rng, 5, FINISH_PX)


def _coloured(grain: Grain, colour: Rgb) -> Pattern:
    def draw(rng: np.random.Generator) -> Pixels:
        tone = np.array(colour) * rng.uniform(0.88, 1.05) + rng.uniform(-0.02, 0.04, 3)
        return tone * grain(rng)[..., None]

    return draw


def _surfaces(
    family: str,
    floors: Sequence[Pattern],
    walls: Sequence[Pattern],
    rugs: Sequence[Pattern],
    pictures: Sequence[Pattern],
    finishes: dict[str, Grain],
) -> Surfaces:
    textures: dict[str, Texture] = {}

    def pool(what: str, patterns: Sequence[Pattern], count: int, tiles_m: Sequence[float]) -> tuple[str, ...]:
        names = tuple(f"{family}_{what}_{index}" for index in range(count))
        for index, name in enumerate(names):
            textures[name] = Texture(patterns[index % len(patterns)], tiles_m[index % len(tiles_m)])
        return names

    names = tuple(f"{family}_{finish}" for finish in finishes)
    for name, grain in zip(names, finishes.values(), strict=True):
        for colour, rgb in COLOURS.items():
            for tone in range(_TONES):
                textures[f"{name}_{colour}_{tone}"] = Texture(_coloured(grain, rgb), 0.0, is_wrapped=True)
    return Surfaces(
        pool("floor", floors, _FLOORS, (1.2, 1.6, 2.0, 2.4, 2.8)),
        pool("wall", walls, _WALLS, (1.4, 2.0, 2.6, 3.2, 1.0)),
        pool("rug", rugs, _RUGS, (0.0,)),
        pool("picture", pictures, _PICTURES, (0.0,)),
        names,
        textures,
    )


RICH_SURFACES = _surfaces(
    "rich",
    (_boards, _square_tiles, _pile, _boards, _slab),
    (_painted, _upright_stripes, _painted, _dotted, _painted, _masonry, _painted, _square_tiles),
    (_bordered_rug,),
    (_shapes, _hills),
    {"weave": _weave, "wood": _wood, "leather": _leather},
)
HELD_OUT_SURFACES = _surfaces(
    "held_out",
    (_herringbone, _terrazzo, _diagonal_tiles),
    (_panelling, _damask, _concrete),
    (_striped_rug,),
    (_fields,),
    {"worn": _worn, "ribbed": _ribbed, "brushed": _brushed},
)
