"""What makes a flat look lived in and is never named: wallpaper, doors, pictures, rugs, windows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vila_sim.flats.plan import CORRIDOR, WALL_HEIGHT_M, WALL_M, Plan
from vila_sim.flats.scene import Door, Primitive, Room, SceneObject, Wall
from vila_sim.flats.textures import PICTURES, RUGS

Rgb = tuple[float, float, float]

DOOR_HEIGHT_M = 2.05
OVERHEAD_M = 1.95  # decor that starts above this hides the flat from above
TRIM: Rgb = (0.84, 0.82, 0.77)
FRAME: Rgb = (0.25, 0.19, 0.13)
LAMP: Rgb = (1.0, 0.98, 0.9)
UPRIGHT = (math.pi / 2, 0.0, math.pi / 2)  # turns a box's local z to the object's front, local y up


@dataclass(frozen=True, slots=True)
class Face:
    """A stretch of wall that faces a room: its centre, its length, and where it looks."""

    x_m: float
    y_m: float
    length_m: float
    yaw_rad: float  # of the normal, into the room
    room: Room


@dataclass(frozen=True, slots=True)
class DecorStyle:
    """What the decor of a flat looks like."""

    trim: Rgb  # skirting, casings of doors, frames of windows
    frame: Rgb  # of pictures
    rugs: tuple[str, ...]
    pictures: tuple[str, ...]


PLAIN_STYLE = DecorStyle(TRIM, FRAME, tuple(RUGS), tuple(PICTURES))


def wall_faces(walls: tuple[Wall, ...], rooms: tuple[Room, ...]) -> tuple[Face, ...]:
    """List each side of a wall that can be seen from a room."""
    return tuple(face for wall in walls for room in rooms for face in _faces(wall, room))


def _faces(wall: Wall, room: Room) -> Iterator[Face]:
    low, high = max(wall.x_min_m, room.x_min_m), min(wall.x_max_m, room.x_max_m)
    if high - low > 0.02:
        if math.isclose(wall.y_max_m, room.y_min_m, abs_tol=1e-3):
            yield Face((low + high) / 2, room.y_min_m, high - low, math.pi / 2, room)
        if math.isclose(wall.y_min_m, room.y_max_m, abs_tol=1e-3):
            yield Face((low + high) / 2, room.y_max_m, high - low, -math.pi / 2, room)
    low, high = max(wall.y_min_m, room.y_min_m), min(wall.y_max_m, room.y_max_m)
    if high - low > 0.02:
        if math.isclose(wall.x_max_m, room.x_min_m, abs_tol=1e-3):
            yield Face(room.x_min_m, (low + high) / 2, high - low, 0.0, room)
        if math.isclose(wall.x_min_m, room.x_max_m, abs_tol=1e-3):
            yield Face(room.x_max_m, (low + high) / 2, high - low, math.pi, room)


def block_faces(walls: tuple[Wall, ...], rooms: tuple[Room, ...]) -> tuple[Face, ...]:
    """List each side that can be seen of what is built into a room: a cupboard in its corner, a pillar."""
    return tuple(face for wall in walls for room in rooms for face in _sides(wall, room))


def _sides(wall: Wall, room: Room) -> Iterator[Face]:
    x, y = (wall.x_min_m + wall.x_max_m) / 2, (wall.y_min_m + wall.y_max_m) / 2
    if not room.contains(x, y):
        return
    wide, deep = wall.x_max_m - wall.x_min_m, wall.y_max_m - wall.y_min_m
    if wall.x_min_m > room.x_min_m:
        yield Face(wall.x_min_m, y, deep, math.pi, room)
    if wall.x_max_m < room.x_max_m:
        yield Face(wall.x_max_m, y, deep, 0.0, room)
    if wall.y_min_m > room.y_min_m:
        yield Face(x, wall.y_min_m, wide, -math.pi / 2, room)
    if wall.y_max_m < room.y_max_m:
        yield Face(x, wall.y_max_m, wide, math.pi / 2, room)


def decorate(plan: Plan, rng: np.random.Generator, style: DecorStyle = PLAIN_STYLE) -> tuple[SceneObject, ...]:
    """Build the decor of a plan: it blocks nobody's way."""
    rooms = {room.name: room for room in plan.rooms}
    decor: list[SceneObject] = []
    for face in wall_faces(plan.walls, plan.rooms):
        decor.append(_paper(face, style))
        decor.extend(_hangings(face, plan, rng, style))
    decor.extend(_paper(face, style) for face in block_faces(plan.walls, plan.rooms))
    decor.extend(_doorway(door, rooms, style) for door in plan.doors)
    for room in plan.rooms:
        decor.append(_ceiling_lamp(room))
        decor.extend(_rugs(room, rng, style))
    return tuple(decor)


def decor_piece(kind: str, room: str, at: tuple[float, float], yaw: float, parts: tuple[Primitive, ...]) -> SceneObject:
    """A piece of decor at (x, y) in the flat."""
    name = f"{kind}_{room}_{at[0]:.3f}_{at[1]:.3f}"
    height = max(part.position_m[2] for part in parts)
    return SceneObject(name, kind, "", room, at[0], at[1], yaw, (0.0, 0.0), height, parts)


def _panel(
    size: tuple[float, float], front: float, bottom: float, rgb: Rgb, *, texture: str = "", depth: float = 0.006
) -> Primitive:
    """An upright board of (width, height) whose visible side is `front` metres off the wall."""
    half = (size[0] / 2, size[1] / 2, depth / 2)
    return Primitive("box", half, (front - depth / 2, 0.0, bottom + size[1] / 2), rgb, UPRIGHT, texture)


def _paper(face: Face, style: DecorStyle) -> SceneObject:
    white = (1.0, 1.0, 1.0)
    parts = (
        _panel((face.length_m, WALL_HEIGHT_M), 0.004, 0.0, white, texture=face.room.wall_texture),
        _panel((face.length_m, 0.10), 0.018, 0.0, style.trim, depth=0.014),
    )
    return decor_piece("wallpaper", face.room.name, (face.x_m, face.y_m), face.yaw_rad, parts)


def _hangings(face: Face, plan: Plan, rng: np.random.Generator, style: DecorStyle) -> Iterator[SceneObject]:
    """A window on an outer wall, a picture, or nothing."""
    outside = _is_outer(face, plan)
    chance = rng.random()
    shift = rng.uniform(-0.25, 0.25) * max(face.length_m - 1.6, 0.0)
    x, y = face.x_m - shift * math.sin(face.yaw_rad), face.y_m + shift * math.cos(face.yaw_rad)
    if outside and face.length_m > 2.2 and chance < 0.5:
        yield decor_piece("window", face.room.name, (x, y), face.yaw_rad, _window(rng.uniform(1.1, 1.7), style.trim))
    elif face.length_m > 1.3 and chance < 0.85:
        size = (rng.uniform(0.55, 0.95), rng.uniform(0.45, 0.7))
        picture = _picture(size, str(rng.choice(list(style.pictures))), style.frame)
        yield decor_piece("picture", face.room.name, (x, y), face.yaw_rad, picture)


def _is_outer(face: Face, plan: Plan) -> bool:
    x, y = face.x_m, face.y_m
    return min(x, y, plan.width_m - x, plan.depth_m - y) < WALL_M + 0.01


def _window(width: float, trim: Rgb) -> tuple[Primitive, ...]:
    return (
        _panel((width + 0.16, 1.26), 0.03, 0.92, trim, depth=0.03),
        _panel((width, 1.10), 0.034, 1.0, (1.0, 1.0, 1.0), texture="sky"),
        _panel((0.06, 1.10), 0.045, 1.0, trim, depth=0.02),
    )


def _picture(size: tuple[float, float], texture: str, frame: Rgb) -> tuple[Primitive, ...]:
    width, height = size
    bottom = 1.55 - height / 2
    return (
        _panel((width + 0.1, height + 0.1), 0.03, bottom - 0.05, frame, depth=0.03),
        _panel(size, 0.036, bottom, (1.0, 1.0, 1.0), texture=texture),
    )


def _doorway(door: Door, rooms: dict[str, Room], style: DecorStyle) -> SceneObject:
    """Casing around a doorway, and the wall above it; +x walks through the door."""
    yaw = math.pi / 2 if door.along_x else 0.0
    half, casing, depth = door.width_m / 2, 0.08, WALL_M + 0.05
    top = WALL_HEIGHT_M - DOOR_HEIGHT_M
    side = [
        Primitive("box", (depth / 2, casing / 2, DOOR_HEIGHT_M / 2), (0.0, y, DOOR_HEIGHT_M / 2), style.trim)
        for y in (half + casing / 2, -half - casing / 2)
    ]
    parts = (
        *side,
        Primitive("box", (WALL_M / 2, half, top / 2), (0.0, 0.0, DOOR_HEIGHT_M + top / 2), style.trim),
        Primitive("box", (depth / 2, half + casing, 0.05), (0.0, 0.0, DOOR_HEIGHT_M + 0.05), style.trim),
        Primitive("box", (WALL_M / 2, half, 0.003), (0.0, 0.0, 0.001), FRAME),
        *_above_door(door, rooms, yaw),
    )
    return decor_piece("doorway", door.rooms[1], (door.x_m, door.y_m), yaw, parts)


def _above_door(door: Door, rooms: dict[str, Room], yaw: float) -> Iterator[Primitive]:
    height = WALL_HEIGHT_M - DOOR_HEIGHT_M
    at = DOOR_HEIGHT_M + height / 2
    for name in door.rooms:
        room = rooms[name]
        dx, dy = (room.x_min_m + room.x_max_m) / 2 - door.x_m, (room.y_min_m + room.y_max_m) / 2 - door.y_m
        ahead = dx * math.cos(yaw) + dy * math.sin(yaw) > 0
        front, turn = (1.0, math.pi / 2) if ahead else (-1.0, -math.pi / 2)
        size = (door.width_m / 2, height / 2, 0.003)
        where = (front * (WALL_M / 2 + 0.002), 0.0, at)
        yield Primitive("box", size, where, (1.0, 1.0, 1.0), (math.pi / 2, 0.0, turn), room.wall_texture)


def _ceiling_lamp(room: Room) -> SceneObject:
    centre = ((room.x_min_m + room.x_max_m) / 2, (room.y_min_m + room.y_max_m) / 2)
    disc = Primitive("cylinder", (0.22, 0.03, 0.0), (0.0, 0.0, WALL_HEIGHT_M - 0.03), LAMP)
    return decor_piece("ceiling_lamp", room.name, centre, 0.0, (disc,))


def _rugs(room: Room, rng: np.random.Generator, style: DecorStyle) -> Iterator[SceneObject]:
    """A rug near the middle of most rooms."""
    wide, deep = room.x_max_m - room.x_min_m, room.y_max_m - room.y_min_m
    sizes = (wide * rng.uniform(0.35, 0.5), deep * rng.uniform(0.35, 0.5))
    texture, wanted = str(rng.choice(list(style.rugs))), rng.random() < 0.6
    x = (room.x_min_m + room.x_max_m) / 2 + rng.uniform(-0.1, 0.1) * wide
    y = (room.y_min_m + room.y_max_m) / 2 + rng.uniform(-0.1, 0.1) * deep
    if wanted and room.name != CORRIDOR:
        slab = Primitive(
            "box", (sizes[0] / 2, sizes[1] / 2, 0.005), (0.0, 0.0, 0.006), (1.0, 1.0, 1.0), texture=texture
        )
        yield decor_piece("rug", room.name, (x, y), 0.0, (slab,))
