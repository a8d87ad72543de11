"""The world as data: rooms, walls, doors and coloured objects made of primitives.

Metres and radians, x east, y north, z up, floor at z = 0. Writers turn it into MJCF, SDF or
an Isaac stage; nothing in here depends on a simulator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from vila_sim.flats.lighting import PLAIN_LIGHTING, Lighting

Shape = Literal["box", "cylinder", "sphere", "capsule", "ellipsoid"]


@dataclass(frozen=True, slots=True)
class Primitive:
    """A solid of an object, in the object's frame (origin on the floor, +x its front).

    half_size_m: box half extents; cylinder and capsule (radius, half length, 0), along local
    z; sphere (radius, 0, 0); ellipsoid semi-axes. euler_rad: roll, pitch, yaw.
    """

    shape: Shape
    half_size_m: tuple[float, float, float]
    position_m: tuple[float, float, float]
    rgb: tuple[float, float, float]  # 0..1
    euler_rad: tuple[float, float, float] = (0.0, 0.0, 0.0)
    texture: str = ""  # a row of textures.TEXTURES, or plain colour


@dataclass(frozen=True, slots=True)
class SceneObject:
    """A thing that an instruction can name: "the red chair"."""

    name: str  # unique, e.g. "red_chair_3"
    kind: str  # a row of furniture.KINDS
    colour: str  # a row of furniture.COLOURS
    room: str
    x_m: float
    y_m: float
    yaw_rad: float
    footprint_m: tuple[float, float]  # full extents along the object's x and y
    height_m: float
    primitives: tuple[Primitive, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the origin of a thing that can move is, and how it is turned."""

    x_m: float
    y_m: float
    z_m: float
    yaw_rad: float


@dataclass(frozen=True, slots=True)
class Room:
    """An axis-aligned room; the bounds are the inner faces of its walls."""

    name: str
    x_min_m: float
    y_min_m: float
    x_max_m: float
    y_max_m: float
    floor_texture: str
    wall_texture: str

    def contains(self, x_m: float, y_m: float) -> bool:
        """True if the point lies in the room."""
        return self.x_min_m <= x_m <= self.x_max_m and self.y_min_m <= y_m <= self.y_max_m


@dataclass(frozen=True, slots=True)
class Wall:
    """An axis-aligned wall segment (doorways are gaps between segments)."""

    x_min_m: float
    y_min_m: float
    x_max_m: float
    y_max_m: float
    height_m: float
    texture: str


@dataclass(frozen=True, slots=True)
class Door:
    """A doorway: the centre of its threshold, its width, and the two rooms it joins."""

    x_m: float
    y_m: float
    width_m: float
    along_x: bool  # True if the opening spans x (one walks through it along y)
    rooms: tuple[str, str]

    @property
    def heading_rad(self) -> float:
        """The yaw of who walks through it."""
        return math.pi / 2 if self.along_x else 0.0


@dataclass(frozen=True, slots=True)
class DoorLeaf:
    """The leaf of a door: it turns about its hinge, which is where the thing stands.

    closed_rad, open_rad: the thing's yaw (its x axis runs along the leaf) in both positions; its own is where it rests.
    """

    thing: SceneObject
    closed_rad: float
    open_rad: float

    @property
    def length_m(self) -> float:
        """From the hinge to the far edge."""
        return self.thing.footprint_m[0]

    def openness(self, yaw_rad: float) -> float:
        """How far it stands open with that yaw: 0 is closed, 1 is wide open."""
        return (yaw_rad - self.closed_rad) / (self.open_rad - self.closed_rad)


@dataclass(frozen=True, slots=True)
class Flat:
    """A furnished flat, complete: the same family and seed give the same flat."""

    seed: int
    width_m: float
    depth_m: float
    rooms: tuple[Room, ...]
    walls: tuple[Wall, ...]
    doors: tuple[Door, ...]
    objects: tuple[SceneObject, ...]  # targets
    decor: tuple[SceneObject, ...] = ()  # pictures, lamps' cables, skirting: seen, never named
    leaves: tuple[DoorLeaf, ...] = ()  # only where doors are to open and close, see doors.with_leaves
    clutter: tuple[SceneObject, ...] = ()  # stands in the way like furniture, and is never named
    family: str = "plain"  # a row of families.table.FAMILIES
    lighting: Lighting = PLAIN_LIGHTING

    @property
    def obstacles(self) -> tuple[SceneObject, ...]:
        """All that stands on the floor: targets, then clutter."""
        return (*self.objects, *self.clutter)

    def room(self, name: str) -> Room:
        """The room of that name; KeyError if there is none."""
        return {room.name: room for room in self.rooms}[name]

    def room_at(self, x_m: float, y_m: float) -> Room | None:
        """The room that holds the point, or None in a doorway or outside."""
        return next((room for room in self.rooms if room.contains(x_m, y_m)), None)
