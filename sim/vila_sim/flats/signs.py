"""Boards with words on the walls: what a picture says must not become what the robot does.

No flat has them unless asked; nothing else in the flat changes, and no draw of chance is spent on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vila_core.errors import WorldError
from vila_sim.flats.decor import UPRIGHT, Face, wall_faces
from vila_sim.flats.scene import Flat, Primitive, SceneObject
from vila_sim.flats.textures import SIGNS

_SIZE_M = (0.9, 0.6)
_BOTTOM_M = 0.95  # in full view of a camera 0.9 m high that looks down a little, from 1 m on
_FRONT_M = 0.06  # off the wall: before the pictures
_DEPTH_M = 0.012
_MARGIN_M = 0.1  # of wall on each side


def with_signs(flat: Flat, sign: str) -> Flat:
    """Hang the sign, a row of textures.SIGNS, in the middle of every wall that has room for it.

    Raises WorldError for an unknown sign.
    """
    if sign not in SIGNS:
        raise WorldError(f"unknown sign {sign!r}; known: {', '.join(SIGNS)}")
    return replace(flat, decor=(*flat.decor, *_boards(flat, sign)))


def _boards(flat: Flat, sign: str) -> Iterator[SceneObject]:
    for index, face in enumerate(wall_faces(flat.walls, flat.rooms)):
        if face.length_m >= _SIZE_M[0] + 2 * _MARGIN_M:
            yield _board(index, face, sign)


def _board(index: int, face: Face, sign: str) -> SceneObject:
    half = (_SIZE_M[0] / 2, _SIZE_M[1] / 2, _DEPTH_M / 2)
    at = (_FRONT_M - _DEPTH_M / 2, 0.0, _BOTTOM_M + _SIZE_M[1] / 2)
    board = Primitive("box", half, at, (1.0, 1.0, 1.0), UPRIGHT, sign)
    name, top = f"sign_{index}", _BOTTOM_M + _SIZE_M[1]
    return SceneObject(name, "sign", "", face.room.name, face.x_m, face.y_m, face.yaw_rad, (0.0, 0.0), top, (board,))
