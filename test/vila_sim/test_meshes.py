"""Meshes close, face outward, and show a texture upright and legible from +z."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vila_sim.flats.meshes import Mesh, ellipsoid, textured_box
from vila_sim.flats.scene import Primitive

BOARD = Primitive("box", (0.45, 0.3, 0.006), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), texture="sign_stop")
FLOOR = Primitive("box", (3.0, 1.5, 0.02), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), texture="oak_planks")


@pytest.mark.parametrize("mesh", [textured_box(BOARD), textured_box(FLOOR), ellipsoid((0.2, 0.3, 0.1))])
def test_it_is_closed_and_faces_outward(mesh: Mesh) -> None:
    edges = [edge for face in mesh.faces for edge in itertools.pairwise((*face, face[0]))]
    assert len(edges) == len(set(edges)) and {(b, a) for a, b in edges} == set(edges)
    corner = 0
    for face in mesh.faces:
        points = mesh.points[list(face)]
        normal = np.cross(points[1] - points[0], points[2] - points[0])
        assert normal @ points.mean(axis=0) > 0.0
        for k in range(len(face)):
            assert mesh.normals[corner + k] @ normal > 0.0
        corner += len(face)
    assert len(mesh.normals) == len(mesh.uvs) == corner


def uv_at(mesh: Mesh, x: float, y: float) -> tuple[float, float]:
    """Of the corner of the upper face at the sign of x and y."""
    flat = [index for face in mesh.faces for index in face]
    for corner, index in enumerate(flat):
        point = mesh.points[index]
        if mesh.normals[corner][2] > 0.5 and np.sign(point[0]) == x and np.sign(point[1]) == y:
            return tuple(mesh.uvs[corner])
    raise AssertionError("no such corner")


def test_a_picture_is_stretched_once_over_the_face_lower_left_first() -> None:
    mesh = textured_box(BOARD)
    assert uv_at(mesh, -1, -1) == pytest.approx((0.0, 0.0)) and uv_at(mesh, 1, 1) == pytest.approx((1.0, 1.0))
    assert uv_at(mesh, 1, -1) == pytest.approx((1.0, 0.0))


def test_a_floor_is_tiled_by_the_metre() -> None:
    mesh = textured_box(FLOOR)
    (u0, v0), (u1, v1) = uv_at(mesh, -1, -1), uv_at(mesh, 1, 1)
    assert (u1 - u0, v1 - v0) == pytest.approx((6.0 / 2.0, 3.0 / 2.0))  # a plank texture covers 2 m


def test_the_axes_of_an_ellipsoid_end_on_it() -> None:
    half = np.array([0.2, 0.3, 0.1])
    mesh = ellipsoid((0.2, 0.3, 0.1))
    assert mesh.points.max(axis=0) == pytest.approx(half) and mesh.points.min(axis=0) == pytest.approx(-half)
    assert np.linalg.norm(mesh.points / half, axis=1) == pytest.approx(1.0)
