"""Door leaves: brown, hinged in a doorway, closed or open. Only flats in which something is to happen have them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from vila_sim.flats.furniture import METAL
from vila_sim.flats.room_space import bounding_box, overlap
from vila_sim.flats.scene import Door, DoorLeaf, Flat, Primitive, SceneObject

DOOR = "door"  # the kind of a leaf; it has no colour that anyone would name
LEAF_HEIGHT_M, LEAF_THICKNESS_M = 2.0, 0.04
BROWN = (0.36, 0.20, 0.10)
PANEL = (0.30, 0.16, 0.08)
_GAP_M = 0.03  # between the leaf and the doorway's sides
_OPEN_PROBABILITY = 0.35


def with_leaves(flat: Flat, rng: np.random.Generator) -> Flat:
    """Hang a leaf in every doorway of the flat; about a third of them stand open.

    A leaf swings by 90 degrees to where the least furniture stands.
    """
    return replace(flat, leaves=tuple(_leaf(flat, door, i, rng) for i, door in enumerate(flat.doors)))


def _leaf(flat: Flat, door: Door, index: int, rng: np.random.Generator) -> DoorLeaf:
    options = list(_hinges(door))
    order = [options[i] for i in rng.permutation(len(options))]
    x, y, closed, wide_open = min(order, key=lambda hinge: _furniture_in_way(flat, door, hinge))
    yaw = wide_open if rng.random() < _OPEN_PROBABILITY else closed
    thing = _board(door.width_m - 2 * _GAP_M)
    return DoorLeaf(
        replace(thing, name=f"{DOOR}_{index}", room=door.rooms[1], x_m=x, y_m=y, yaw_rad=yaw), closed, wide_open
    )


def _hinges(door: Door) -> Iterator[tuple[float, float, float, float]]:
    """Yield x, y, closed and open yaw of the four ways to hang a leaf."""
    along = 0.0 if door.along_x else math.pi / 2
    reach = door.width_m / 2 - _GAP_M
    for side in (-1, 1):
        x, y = door.x_m + side * reach * math.cos(along), door.y_m + side * reach * math.sin(along)
        closed = along if side < 0 else along + math.pi
        for swing in (-math.pi / 2, math.pi / 2):
            yield round(x, 3), round(y, 3), closed, closed + swing


def _furniture_in_way(flat: Flat, door: Door, hinge: tuple[float, float, float, float]) -> int:
    """Count the objects in the square in which the leaf swings."""
    x, y, closed, wide_open = hinge
    length = door.width_m
    dx = length * (math.cos(closed) + math.cos(wide_open))
    dy = length * (math.sin(closed) + math.sin(wide_open))
    square = min(x, x + dx), min(y, y + dy), max(x, x + dx), max(y, y + dy)
    return sum(overlap(square, bounding_box(thing), 0.0) for thing in flat.obstacles)


def _board(length: float) -> SceneObject:
    """A leaf whose hinge is the origin and which runs along +x."""
    half = length / 2
    panels = (
        Primitive("box", (half * 0.66, LEAF_THICKNESS_M / 2 + 0.004, height / 2), (half, 0.0, at), PANEL)
        for at, height in ((0.55, 0.7), (1.45, 0.8))
    )
    knobs = (Primitive("sphere", (0.035, 0.0, 0.0), (length - 0.08, side * 0.05, 1.0), METAL) for side in (-1, 1))
    board = Primitive("box", (half, LEAF_THICKNESS_M / 2, LEAF_HEIGHT_M / 2), (half, 0.0, LEAF_HEIGHT_M / 2), BROWN)
    return SceneObject(
        DOOR, DOOR, "", "", 0.0, 0.0, 0.0, (length, LEAF_THICKNESS_M), LEAF_HEIGHT_M, (board, *panels, *knobs)
    )
