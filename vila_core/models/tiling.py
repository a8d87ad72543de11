"""Cut a picture into the tiles of dynamic resolution."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vila_core.media.images import resize_picture


@dataclass(frozen=True, slots=True)
class TileGrid:
    """How many tiles lie side by side, and one below another."""

    cols: int
    rows: int


def dynamic_tiles(
    image: NDArray[np.uint8], tile: int, *, min_tiles: int, max_tiles: int
) -> NDArray[np.uint8]:  # [n, tile, tile, 3]
    """Cut an image [H, W, 3] into the grid nearest to its shape; more than one tile are followed by a thumbnail."""
    height, width = image.shape[:2]
    grid = choose_grid(width, height, tile, min_tiles=min_tiles, max_tiles=max_tiles)
    tiles = cut_tiles(image, grid, tile)
    if len(tiles) == 1:
        return tiles
    return np.concatenate((tiles, cut_tiles(image, TileGrid(1, 1), tile)))


def dynamic_s2_tiles(
    image: NDArray[np.uint8], scales: tuple[int, ...], max_tiles: int
) -> tuple[NDArray[np.uint8], TileGrid]:
    """Cut an image [H, W, 3] at every scale (ascending), the last one in the grid nearest to its shape.

    Returns the tiles uint8 [n, scales[0], scales[0], 3], scale after scale, and the last scale's grid.
    """
    tile = scales[0]
    squares = [scale // tile for scale in scales]
    height, width = image.shape[:2]
    last = choose_grid(width, height, tile, min_tiles=squares[-1] ** 2, max_tiles=max_tiles)
    grids = [TileGrid(side, side) for side in squares[:-1]] + [last]
    return np.concatenate([cut_tiles(image, grid, tile) for grid in grids]), last


def choose_grid(width: int, height: int, tile: int, *, min_tiles: int, max_tiles: int) -> TileGrid:
    """Return the grid whose shape is nearest to width / height.

    Of grids equally near the last counts whose pixels are fewer than twice the image's.
    Without any candidate (min_tiles > max_tiles) it is one tile.
    """
    aspect = width / height
    best, best_distance = TileGrid(1, 1), float("inf")
    for grid in candidate_grids(min_tiles, max_tiles):
        distance = abs(aspect - grid.cols / grid.rows)
        tied = distance == best_distance and width * height > 0.5 * tile * tile * grid.cols * grid.rows
        if distance < best_distance or tied:
            best, best_distance = grid, distance
    return best


@lru_cache(maxsize=32)
def candidate_grids(min_tiles: int, max_tiles: int) -> tuple[TileGrid, ...]:
    """All grids of min_tiles to max_tiles tiles, by their number.

    Grids of one number stand in the order in which CPython's set gives them, as in the official
    code: it decides ties, so the set is filled in the same order too.
    """
    pairs = {
        (cols, rows)
        for side in range(min_tiles, max_tiles + 1)
        for cols in range(1, side + 1)
        for rows in range(1, side + 1)
        if min_tiles <= cols * rows <= max_tiles
    }
    return tuple(TileGrid(cols, rows) for cols, rows in sorted(pairs, key=lambda pair: pair[0] * pair[1]))


def cut_tiles(image: NDArray[np.uint8], grid: TileGrid, tile: int) -> NDArray[np.uint8]:
    """Squash an image [H, W, 3] to the grid and cut it, row by row: [rows * cols, tile, tile, 3]."""
    resized = resize_picture(image, tile * grid.cols, tile * grid.rows)
    blocks = resized.reshape(grid.rows, tile, grid.cols, tile, 3).swapaxes(1, 2)
    return blocks.reshape(-1, tile, tile, 3)
