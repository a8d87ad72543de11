"""The free floor of a room while it is being furnished, on a coarse grid."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vila_sim.flats.scene import Door, Room, SceneObject, Wall

Box = tuple[float, float, float, float]  # x_min, y_min, x_max, y_max in metres

CELL_M = 0.05
CLEARANCE_M = 0.22  # radius of the robot that must be able to move, with a margin
OBJECT_GAP_M = 0.10
BLOCK_GAP_M = 0.03  # to what is built into the room
DOOR_DEPTH_M = 0.85  # kept free in front of a door
TOUCH_M = 0.12  # a free cell so near to the inflated object counts as reaching it
MAX_POCKET_CELLS = 12  # cut-off free cells that are only an artefact of the grid


class RoomSpace:
    """Accepts objects one by one, as long as the robot still gets everywhere."""

    def __init__(self, room: Room, doors: tuple[Door, ...], walls: tuple[Wall, ...] = ()) -> None:
        """walls: of the flat; those that stand in the room are in the way too."""
        self.room = room
        self._x, self._y = _cell_centres(room)
        self._blocks = built_in(room, walls)
        self._free = _inside(room, self._x, self._y)
        for block in self._blocks:
            self._free &= _box_distance(block, self._x, self._y) > CLEARANCE_M
        own = [door for door in doors if room.name in door.rooms]
        self._doors = [_door_zone(door, room) for door in own]
        self._seeds = [self._cell(*_entry(door, room)) for door in own]
        self._objects: list[SceneObject] = []
        self._distances: list[NDArray[np.float64]] = []

    def add(self, thing: SceneObject) -> bool:
        """Keep the object if it stands free and blocks nothing; True if kept."""
        if math.isnan(thing.x_m) or not self._stands_free(thing):
            return False
        distance = footprint_distance(thing, self._x, self._y)
        free = self._free & (distance > CLEARANCE_M)
        distances = [*self._distances, distance]
        if not self._reaches_all(free, distances):
            return False
        self._free, self._distances = free, distances
        self._objects.append(thing)
        return True

    def _stands_free(self, thing: SceneObject) -> bool:
        box = bounding_box(thing)
        room = self.room
        inside = (
            box[0] > room.x_min_m + 0.01
            and box[1] > room.y_min_m + 0.01
            and box[2] < room.x_max_m - 0.01
            and box[3] < room.y_max_m - 0.01
        )
        others = [bounding_box(other) for other in self._objects]
        return (
            inside
            and not any(overlap(box, zone, 0.0) for zone in self._doors)
            and not any(overlap(box, block, BLOCK_GAP_M) for block in self._blocks)
            and not any(overlap(box, other, OBJECT_GAP_M) for other in others)
        )

    def _reaches_all(self, free: NDArray[np.bool_], distances: list[NDArray[np.float64]]) -> bool:
        labels, _ = ndimage.label(free)
        main = labels[self._seeds[0]]
        if main == 0 or any(labels[seed] != main for seed in self._seeds):
            return False
        reached = labels == main
        if int(free.sum()) - int(reached.sum()) > MAX_POCKET_CELLS:
            return False
        return all(bool((distance[reached] < CLEARANCE_M + TOUCH_M).any()) for distance in distances)

    def _cell(self, x_m: float, y_m: float) -> tuple[int, int]:
        return int((y_m - self.room.y_min_m) / CELL_M), int((x_m - self.room.x_min_m) / CELL_M)


def block_box(wall: Wall) -> Box:
    """The floor under a piece of wall."""
    return wall.x_min_m, wall.y_min_m, wall.x_max_m, wall.y_max_m


def built_in(room: Room, walls: tuple[Wall, ...]) -> list[Box]:
    """What stands in a room of walls: a cupboard in its corner, a pillar."""
    return [block_box(wall) for wall in walls if overlap(block_box(wall), _bounds(room), -0.01)]


def _bounds(room: Room) -> Box:
    return room.x_min_m, room.y_min_m, room.x_max_m, room.y_max_m


def _box_distance(box: Box, x_m: NDArray[np.float64], y_m: NDArray[np.float64]) -> NDArray[np.float64]:
    dx = np.maximum(np.maximum(box[0] - x_m, x_m - box[2]), 0.0)
    dy = np.maximum(np.maximum(box[1] - y_m, y_m - box[3]), 0.0)
    distance: NDArray[np.float64] = np.hypot(dx, dy)
    return distance


def bounding_box(thing: SceneObject) -> Box:
    """Axis-aligned box of the object's footprint: x_min, y_min, x_max, y_max in metres."""
    cosine, sine = abs(math.cos(thing.yaw_rad)), abs(math.sin(thing.yaw_rad))
    half_x, half_y = thing.footprint_m[0] / 2, thing.footprint_m[1] / 2
    reach_x, reach_y = half_x * cosine + half_y * sine, half_x * sine + half_y * cosine
    return thing.x_m - reach_x, thing.y_m - reach_y, thing.x_m + reach_x, thing.y_m + reach_y


def footprint_distance(thing: SceneObject, x_m: NDArray[np.float64], y_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance in metres of each point to the object's footprint, 0 inside; x_m and y_m broadcast."""
    cosine, sine = math.cos(thing.yaw_rad), math.sin(thing.yaw_rad)
    dx, dy = x_m - thing.x_m, y_m - thing.y_m
    along = np.maximum(np.abs(dx * cosine + dy * sine) - thing.footprint_m[0] / 2, 0.0)
    across = np.maximum(np.abs(dy * cosine - dx * sine) - thing.footprint_m[1] / 2, 0.0)
    distance: NDArray[np.float64] = np.sqrt(along * along + across * across)
    return distance


def _cell_centres(room: Room) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x = np.arange(room.x_min_m + CELL_M / 2, room.x_max_m, CELL_M)[None, :]
    y = np.arange(room.y_min_m + CELL_M / 2, room.y_max_m, CELL_M)[:, None]
    return x, y


def _inside(room: Room, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    across = (x > room.x_min_m + CLEARANCE_M) & (x < room.x_max_m - CLEARANCE_M)
    down = (y > room.y_min_m + CLEARANCE_M) & (y < room.y_max_m - CLEARANCE_M)
    return across & down


def _entry(door: Door, room: Room) -> tuple[float, float]:
    """A point that a robot coming through the door passes, just inside the room."""
    inset = CLEARANCE_M + CELL_M
    x = min(max(door.x_m, room.x_min_m + inset), room.x_max_m - inset)
    y = min(max(door.y_m, room.y_min_m + inset), room.y_max_m - inset)
    return x, y


def _door_zone(door: Door, room: Room) -> Box:
    """The floor before a door, to be kept free."""
    half = door.width_m / 2 + 0.12
    if door.along_x:
        return door.x_m - half, door.y_m - DOOR_DEPTH_M, door.x_m + half, door.y_m + DOOR_DEPTH_M
    return door.x_m - DOOR_DEPTH_M, door.y_m - half, door.x_m + DOOR_DEPTH_M, door.y_m + half


def overlap(first: Box, second: Box, gap: float) -> bool:
    """True if two boxes (x_min, y_min, x_max, y_max) come nearer to each other than the gap, metres."""
    return (
        first[0] < second[2] + gap
        and second[0] < first[2] + gap
        and first[1] < second[3] + gap
        and second[1] < first[3] + gap
    )
