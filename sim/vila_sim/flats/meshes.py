"""Meshes for what other simulators have no primitive for: boxes with a tiled texture, ellipsoids."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vila_sim.flats.scene import Primitive
from vila_sim.flats.textures import TEXTURES

_SLICES, _STACKS = 16, 8  # of an ellipsoid; multiples of 4 and 2: its axes end in points of the mesh


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """A closed surface in a primitive's own frame; normals and uvs stand for the corners of the faces, in turn."""

    points: NDArray[np.float64]  # [N, 3], metres
    faces: tuple[tuple[int, ...], ...]  # indices of points, counter-clockwise from outside
    normals: NDArray[np.float64]  # [C, 3]
    uvs: NDArray[np.float64]  # [C, 2], (0, 0) is the lower left of the texture


def textured_box(part: Primitive) -> Mesh:
    """Return the box, its texture projected along its z as MuJoCo does it: upright and legible from +z.

    A texture that is wrapped covers each face once.
    """
    half = np.array(part.half_size_m)
    signs = list(itertools.product((-1, 1), repeat=3))
    faces, normals, ends = [], [], []
    for axis, side in itertools.product(range(3), (-1, 1)):
        for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
            corner = [side, side, side]
            corner[(axis + 1) % 3], corner[(axis + 2) % 3] = side * a, b
            faces.append(signs.index((corner[0], corner[1], corner[2])))
            normals.append(side * np.eye(3)[axis])
            ends.append((a, b))
    points = np.array(signs) * half
    texture = TEXTURES[part.texture]
    edges = np.array([texture.tile_m, texture.tile_m]) if texture.tile_m else 2 * half[:2]
    uvs = np.array(ends) / 2 if texture.is_wrapped else points[faces, :2] / edges
    quads = tuple(tuple(faces[at : at + 4]) for at in range(0, 24, 4))
    return Mesh(points, quads, np.array(normals), uvs + 0.5)


def ellipsoid(half_size_m: tuple[float, float, float]) -> Mesh:
    """Return a mesh whose points lie on the ellipsoid."""
    polar = np.arange(1, _STACKS) * math.pi / _STACKS
    around = np.arange(_SLICES) * 2 * math.pi / _SLICES
    rings = [[(math.sin(p) * math.cos(a), math.sin(p) * math.sin(a), math.cos(p)) for a in around] for p in polar]
    unit = np.array([(0.0, 0.0, 1.0), *(point for ring in rings for point in ring), (0.0, 0.0, -1.0)])
    faces: list[tuple[int, ...]] = []
    for k in range(_SLICES):
        after = (k + 1) % _SLICES
        faces.append((0, 1 + k, 1 + after))
        for ring in range(_STACKS - 2):
            above, below = 1 + ring * _SLICES, 1 + (ring + 1) * _SLICES
            faces.append((above + k, below + k, below + after, above + after))
        last = 1 + (_STACKS - 2) * _SLICES
        faces.append((len(unit) - 1, last + after, last + k))
    half = np.array(half_size_m)
    corners = [index for face in faces for index in face]
    outward = unit[corners] / half
    return Mesh(
        unit * half, tuple(faces), outward / np.linalg.norm(outward, axis=1, keepdims=True), np.zeros((len(corners), 2))
    )
