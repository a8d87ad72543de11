"""Forms of cabinets, bookshelves and crates: each draws its proportions."""

from __future__ import annotations

import numpy as np

from vila_sim.flats.furniture import LINEN, METAL, WOOD, Paint
from vila_sim.flats.parts import Rgb, box, corners, globe, legs, post, rod
from vila_sim.flats.scene import Primitive
from vila_sim.forms.common import Parts, trim

_BLACK = (0.1, 0.1, 0.11)

# --- cabinets: a closed box with doors or drawers, and knobs


def _front(paint: Paint, depth: float, width: float, rows: tuple[float, float, int], columns: int) -> Parts:
    """Drawers or doors in `rows` (bottom, top, number) and columns, with knobs."""
    bottom, top, count = rows
    step, wide = (top - bottom) / count, width / columns
    parts: list[Primitive] = []
    for i in range(count):
        for y in -width / 2 + wide * (np.arange(columns) + 0.5):
            at = bottom + i * step
            parts.append(box((0.03, wide - 0.05, step - 0.05), (depth / 2, float(y), at + 0.025), paint.main))
            parts.append(globe(0.03, (depth / 2 + 0.03, float(y), at + step / 2 - 0.03), METAL))
    return tuple(parts)


def wide_cabinet(paint: Paint, rng: np.random.Generator) -> Parts:
    """A sideboard with two or three doors."""
    depth, width, height = rng.uniform(0.38, 0.48), rng.uniform(1.1, 1.5), rng.uniform(0.7, 0.9)
    return (
        box((depth, width, height), (0.0, 0.0, 0.0), paint.dark),
        box((depth + 0.04, width + 0.04, 0.05), (0.0, 0.0, height), paint.main),
        *_front(paint, depth, width, (0.06, height, 1), int(rng.integers(2, 4))),
    )


def tall_cabinet(paint: Paint, rng: np.random.Generator) -> Parts:
    """A wardrobe with two doors and a drawer."""
    depth, width, height = rng.uniform(0.42, 0.52), rng.uniform(0.8, 1.0), rng.uniform(1.4, 1.75)
    return (
        box((depth, width, height), (0.0, 0.0, 0.0), paint.dark),
        box((depth + 0.05, width + 0.05, 0.06), (0.0, 0.0, height), paint.main),
        *_front(paint, depth, width, (0.38, height, 1), 2),
        *_front(paint, depth, width, (0.06, 0.38, 1), 1),
    )


def chest_of_drawers(paint: Paint, rng: np.random.Generator) -> Parts:
    """Drawers on short legs."""
    depth, width, height = rng.uniform(0.4, 0.5), rng.uniform(0.75, 1.05), rng.uniform(0.8, 1.05)
    foot = rng.uniform(0.1, 0.2)
    return (
        *legs(depth, width, foot, 0.07, trim(paint, rng)),
        box((depth, width, height - foot), (0.0, 0.0, foot), paint.dark),
        box((depth + 0.05, width + 0.05, 0.05), (0.0, 0.0, height), paint.main),
        *_front(paint, depth, width, (foot + 0.02, height, int(rng.integers(2, 5))), int(rng.integers(1, 3))),
    )


def locker(paint: Paint, rng: np.random.Generator) -> Parts:
    """Three narrow doors with slits, of metal."""
    depth, width, height = rng.uniform(0.4, 0.48), rng.uniform(0.9, 1.1), rng.uniform(1.1, 1.35)
    wide = width / 3
    doors = [
        part
        for i in range(3)
        for part in (
            box((0.03, wide - 0.03, height - 0.1), (depth / 2, -width / 2 + wide * (i + 0.5), 0.07), paint.main),
            *(
                box((0.02, 0.5 * wide, 0.025), (depth / 2 + 0.02, -width / 2 + wide * (i + 0.5), height - z), _BLACK)
                for z in (0.14, 0.2, 0.26)
            ),
            box((0.03, 0.03, 0.1), (depth / 2 + 0.02, -width / 2 + wide * (i + 0.85), height / 2), METAL),
        )
    ]
    return (box((depth, width, height), (0.0, 0.0, 0.0), paint.dark), *doors)


def open_cabinet(paint: Paint, rng: np.random.Generator) -> Parts:
    """A hollow below two drawers, on a plinth."""
    depth, width, height = rng.uniform(0.4, 0.48), rng.uniform(0.95, 1.25), rng.uniform(0.85, 1.0)
    low = 0.5 * height
    sides = [box((depth, 0.06, height), (0.0, side * (width / 2 - 0.03), 0.0), paint.main) for side in (-1, 1)]
    return (
        box((depth - 0.04, width, 0.1), (0.0, 0.0, 0.0), paint.dark),
        box((0.04, width - 0.08, low), (-depth / 2 + 0.02, 0.0, 0.08), paint.dark),
        box((depth - 0.02, width - 0.1, height - low), (0.0, 0.0, low), paint.dark),
        *sides,
        box((depth + 0.03, width + 0.03, 0.06), (0.0, 0.0, height), paint.main),
        *_front(paint, depth, width, (low, height, 1), 2),
    )


# --- bookshelves: tall, open, with books


def _books(rng: np.random.Generator, width: float, depth: float, levels: list[float], gap: float) -> Parts:
    """Blocks of books on each shelf, in no colour that anyone would name."""
    tones: tuple[Rgb, ...] = (WOOD, LINEN, METAL, (0.30, 0.32, 0.30), (0.55, 0.47, 0.36))
    books: list[Primitive] = []
    for z in levels:
        wide, high = rng.uniform(0.25, 0.5) * width, rng.uniform(0.55, 0.8) * gap
        y = rng.uniform(-0.5, 0.5) * (width - wide - 0.06)
        books.append(box((0.7 * depth, wide, high), (0.02, y, z), tones[rng.integers(len(tones))]))
    return tuple(books)


def _shelves(rng: np.random.Generator, count: int) -> tuple[float, float, list[float], float]:
    """Depth, width, the bottoms of the shelves, the height of the whole."""
    height = rng.uniform(1.45, 1.9)
    return rng.uniform(0.28, 0.38), rng.uniform(0.7, 1.1), [float(z) for z in np.linspace(0.0, height, count)], height


def bookshelf_with_sides(paint: Paint, rng: np.random.Generator) -> Parts:
    """Side boards, a back or none, shelves."""
    depth, width, levels, height = _shelves(rng, int(rng.integers(4, 6)))
    back = (box((0.04, width, height), (-depth / 2 + 0.02, 0.0, 0.0), paint.dark),) if rng.random() < 0.7 else ()
    return (
        *(box((depth, 0.07, height + 0.06), (0.0, side * width / 2, 0.0), paint.main) for side in (-1, 1)),
        *(box((depth, width, 0.06), (0.0, 0.0, z), paint.main) for z in levels),
        *back,
        *_books(rng, width, depth, [z + 0.06 for z in levels[:-1]], levels[1] - levels[0]),
    )


def bookshelf_of_cells(paint: Paint, rng: np.random.Generator) -> Parts:
    """A grid of square cells."""
    depth, width, levels, height = _shelves(rng, 5)
    return (
        *(box((depth, 0.06, height + 0.06), (0.0, y, 0.0), paint.main) for y in (-width / 2, 0.0, width / 2)),
        *(box((depth, width, 0.06), (0.0, 0.0, z), paint.main) for z in levels),
        box((0.03, width, height), (-depth / 2 + 0.02, 0.0, 0.0), paint.dark),
        *_books(rng, width, depth, [z + 0.06 for z in levels[:-1]], levels[1] - levels[0]),
    )


def bookshelf_on_posts(paint: Paint, rng: np.random.Generator) -> Parts:
    """Four posts, thick shelves, no back."""
    depth, width, levels, height = _shelves(rng, 5)
    steel = trim(paint, rng)
    return (
        *(post(0.03, height + 0.1, (x, y, 0.0), steel) for x, y in corners(depth, width)),
        *(box((depth, width, 0.08), (0.0, 0.0, z + 0.02), paint.main) for z in levels),
        *_books(rng, width, depth, [z + 0.1 for z in levels[:-1]], levels[1] - levels[0]),
    )


def stepped_bookshelf(paint: Paint, rng: np.random.Generator) -> Parts:
    """Shelves that become narrower upward, along a ladder."""
    width, height = rng.uniform(0.8, 1.0), rng.uniform(1.5, 1.8)
    levels = [float(z) for z in np.linspace(0.05, height - 0.1, 5)]
    depths = np.linspace(0.42, 0.2, 5)
    shelves = [
        box((float(d), width, 0.07), (-0.21 + float(d) / 2, 0.0, z), paint.main)
        for d, z in zip(depths, levels, strict=True)
    ]
    rails = [
        rod(0.035, (0.2, side * width / 2, 0.035), (-0.16, side * width / 2, height), paint.main) for side in (-1, 1)
    ]
    backs = [post(0.03, height, (-0.2, side * width / 2, 0.0), paint.dark) for side in (-1, 1)]
    return (*shelves, *rails, *backs, *_books(rng, width, 0.2, [z + 0.07 for z in levels[:-1]], 0.36))


def split_bookshelf(paint: Paint, rng: np.random.Generator) -> Parts:
    """Closed below, open above."""
    depth, width, height = rng.uniform(0.3, 0.38), rng.uniform(0.8, 1.0), rng.uniform(1.6, 1.85)
    low = 0.33 * height
    levels = [low + (height - low) * share for share in (0.0, 0.34, 0.67, 1.0)]
    return (
        box((depth, width, low), (0.0, 0.0, 0.0), paint.dark),
        *(
            box((0.03, width / 2 - 0.06, low - 0.1), (depth / 2, side * width / 4, 0.05), paint.main)
            for side in (-1, 1)
        ),
        *(box((depth, 0.08, height - low + 0.07), (0.0, side * width / 2, low), paint.main) for side in (-1, 1)),
        *(box((depth, width, 0.07), (0.0, 0.0, z), paint.main) for z in levels),
        *_books(rng, width, depth, [z + 0.07 for z in levels[:-1]], levels[1] - levels[0]),
    )


# --- crates: a box of boards, as high as wide


def slatted_crate(paint: Paint, rng: np.random.Generator) -> Parts:
    """Open above; boards with gaps between corner posts."""
    size, height = rng.uniform(0.48, 0.62), rng.uniform(0.42, 0.6)
    levels = [float(z) for z in np.linspace(0.03, height - 0.13, 3)]
    boards = [
        part
        for z in levels
        for side in (-1, 1)
        for part in (
            box((size, 0.03, 0.12), (0.0, side * (size / 2 - 0.015), z), paint.main),
            box((0.03, size, 0.12), (side * (size / 2 - 0.015), 0.0, z), paint.main),
        )
    ]
    return (
        box((size - 0.04, size - 0.04, 0.05), (0.0, 0.0, 0.0), paint.dark),
        *legs(size, size, height, 0.06, paint.dark),
        *boards,
    )


def braced_crate(paint: Paint, rng: np.random.Generator) -> Parts:
    """Closed, with edges and a diagonal on each side."""
    size, height = rng.uniform(0.5, 0.64), rng.uniform(0.46, 0.64)
    half, slope = size / 2, np.arctan2(size - 0.16, height - 0.16)
    reach = float(np.hypot(size - 0.16, height - 0.16)) / 2
    braces = []
    for side in (-1, 1):
        lean = reach * np.sin(slope), reach * np.cos(slope)
        y0, z0, z1 = float(lean[0]), height / 2 - float(lean[1]), height / 2 + float(lean[1])
        braces.append(rod(0.035, (side * half, -y0, z0), (side * half, y0, z1), paint.light))
        braces.append(rod(0.035, (-y0, side * half, z0), (y0, side * half, z1), paint.light))
    return (
        box((size - 0.03, size - 0.03, height), (0.0, 0.0, 0.0), paint.dark),
        *legs(size + 0.02, size + 0.02, height, 0.09, paint.main),
        *(box((size + 0.02, size + 0.02, 0.08), (0.0, 0.0, z), paint.main) for z in (0.0, height - 0.07)),
        *braces,
    )


def flat_crate(paint: Paint, rng: np.random.Generator) -> Parts:
    """Wide and lower, with a lid and handles of rope."""
    depth, width, height = rng.uniform(0.42, 0.52), rng.uniform(0.66, 0.82), rng.uniform(0.36, 0.46)
    bands = [box((depth + 0.02, width + 0.02, 0.1), (0.0, 0.0, z), paint.main) for z in (0.0, 0.5 * height - 0.05)]
    return (
        box((depth, width, height - 0.02), (0.0, 0.0, 0.0), paint.dark),
        *bands,
        box((depth + 0.04, width + 0.04, 0.07), (0.0, 0.0, height - 0.05), paint.main),
        *(box((0.16, 0.03, 0.05), (0.0, side * (width / 2 + 0.02), 0.6 * height), LINEN) for side in (-1, 1)),
    )


def stacked_crates(paint: Paint, rng: np.random.Generator) -> Parts:
    """Two boxes for bottles, one on the other, with grips."""
    size, each = rng.uniform(0.46, 0.56), rng.uniform(0.27, 0.32)
    parts: list[Primitive] = []
    for z in (0.0, each + 0.02):
        parts.append(box((size, size, each), (0.0, 0.0, z), paint.main))
        parts.append(box((size + 0.03, size + 0.03, 0.05), (0.0, 0.0, z + each - 0.05), paint.dark))
        for side in (-1, 1):
            parts.append(box((0.02, 0.2, 0.06), (side * size / 2, 0.0, z + 0.55 * each), _BLACK))
            parts.append(box((0.2, 0.02, 0.06), (0.0, side * size / 2, z + 0.55 * each), _BLACK))
    return tuple(parts)


def pallet_crate(paint: Paint, rng: np.random.Generator) -> Parts:
    """Upright boards on runners."""
    size, height = rng.uniform(0.5, 0.62), rng.uniform(0.48, 0.6)
    at = [float(y) for y in np.linspace(-size / 2 + 0.05, size / 2 - 0.05, 4)]
    boards = [
        part
        for y in at
        for side in (-1, 1)
        for part in (
            box((0.03, 0.1, height), (side * size / 2, y, 0.1), paint.main),
            box((0.1, 0.03, height), (y, side * size / 2, 0.1), paint.main),
        )
    ]
    runners = [box((size, 0.1, 0.1), (0.0, side * (size / 2 - 0.06), 0.0), WOOD) for side in (-1, 1)]
    return (*runners, box((size - 0.03, size - 0.03, height - 0.02), (0.0, 0.0, 0.1), paint.dark), *boards)
