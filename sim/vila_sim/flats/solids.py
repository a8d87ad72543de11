"""A flat as named solids: what every simulator's file is written from, so that they cannot differ.

MJCF, SDF and USD hold the same bodies, solids, colours and textures, by the same names; MJCF and SDF also the lights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from vila_sim.flats.decor import OVERHEAD_M
from vila_sim.flats.plan import PLAIN_WALL
from vila_sim.flats.scene import Flat, Primitive, Room, SceneObject, Wall
from vila_sim.flats.textures import texture_png

Layer = Literal["shell", "object", "decor", "overhead"]
Finish = Literal["paint", "glow", "bare"]

SHELL, CEILING = "shell", "ceiling"
WALL_RGB = (0.80, 0.78, 0.74)
CEILING_RGB = (0.86, 0.86, 0.84)
GROUND_RGB = (0.3, 0.25, 0.2)
WHITE = (1.0, 1.0, 1.0)
SLAB_M = 0.05  # half the thickness of ground and ceiling
FLOOR_M = 0.02  # half of a floor's


@dataclass(frozen=True, slots=True)
class Solid:
    """One primitive of a body, in the body's frame.

    layer: "overhead" is what hides the flat from above. collides: a robot is stopped by it. finish: what
    glows has light of its own; the bare ground shines as MuJoCo lets things that have no material.
    """

    name: str  # unique in the flat, e.g. "object:3:0"
    part: Primitive
    layer: Layer
    collides: bool = False
    finish: Finish = "paint"


@dataclass(frozen=True, slots=True)
class Body:
    """Solids that stand together: an object, clutter, a door's leaf, a piece of decor, the shell or the ceiling."""

    name: str  # unique in the flat: an object's own name, else "decor_3_rug", "clutter_0_shoes", "door_0", ...
    x_m: float
    y_m: float
    yaw_rad: float
    solids: tuple[Solid, ...]
    is_movable: bool = False


def bodies_of(flat: Flat, *, movable: bool = False) -> tuple[Body, ...]:
    """List the bodies of a flat: the shell, the ceiling, objects, clutter, door leaves, decor.

    Solids of flat.objects[i] are named "object:i:k", those of flat.clutter[i] "clutter:i:k", of flat.leaves[i]
    "leaf:i:k", of flat.decor[i] "decor:i:k".
    movable: objects can be put anywhere, as door leaves always can; what is movable does not collide.
    """
    return (
        _shell(flat),
        _ceiling(flat),
        *(_body(thing, thing.name, f"object:{i}", movable=movable) for i, thing in enumerate(flat.objects)),
        *(
            _body(thing, f"clutter_{i}_{thing.kind}", f"clutter:{i}", movable=False)
            for i, thing in enumerate(flat.clutter)
        ),
        *(_body(leaf.thing, leaf.thing.name, f"leaf:{i}", movable=True) for i, leaf in enumerate(flat.leaves)),
        *(_decor(thing, i) for i, thing in enumerate(flat.decor)),
    )


def texture_names(flat: Flat) -> list[str]:
    """List the textures that the flat's solids wear, in alphabetical order."""
    return sorted({solid.part.texture for body in bodies_of(flat) for solid in body.solids} - {""})


def texture_assets(flat: Flat) -> dict[str, bytes]:
    """PNG bytes of each texture of the flat, by file name."""
    return {f"{name}.png": texture_png(name) for name in texture_names(flat)}


def _shell(flat: Flat) -> Body:
    """Ground, floors and walls. Only walls collide."""
    half_x, half_y = flat.width_m / 2, flat.depth_m / 2
    ground = Primitive("box", (half_x, half_y, SLAB_M), (half_x, half_y, -SLAB_M - 0.004), GROUND_RGB)
    floors = [ground, *map(_floor, flat.rooms)]
    parts = [*((part, False) for part in floors), *((_wall(wall), True) for wall in flat.walls)]
    solids = [Solid(f"shell:0:{k}", part, "shell", collides) for k, (part, collides) in enumerate(parts)]
    solids[0] = replace(solids[0], finish="bare")
    return Body(SHELL, 0.0, 0.0, 0.0, tuple(solids))


def _ceiling(flat: Flat) -> Body:
    """A body of its own, so that one can take it away to look inside."""
    half_x, half_y = flat.width_m / 2, flat.depth_m / 2
    height = max(wall.height_m for wall in flat.walls)
    slab = Primitive("box", (half_x, half_y, SLAB_M), (half_x, half_y, height + SLAB_M), CEILING_RGB)
    return Body(CEILING, 0.0, 0.0, 0.0, (Solid("ceiling:0:0", slab, "overhead", finish="glow"),))


def _floor(room: Room) -> Primitive:
    half, middle = _rectangle(room)
    return Primitive("box", (*half, FLOOR_M), (*middle, -FLOOR_M), WHITE, texture=room.floor_texture)


def _wall(wall: Wall) -> Primitive:
    half, middle = _rectangle(wall)
    texture = "" if wall.texture == PLAIN_WALL else wall.texture
    rgb = WHITE if texture else WALL_RGB
    return Primitive("box", (*half, wall.height_m / 2), (*middle, wall.height_m / 2), rgb, texture=texture)


def _rectangle(what: Room | Wall) -> tuple[tuple[float, float], tuple[float, float]]:
    """Half extents and middle."""
    half = (what.x_max_m - what.x_min_m) / 2, (what.y_max_m - what.y_min_m) / 2
    return half, ((what.x_min_m + what.x_max_m) / 2, (what.y_min_m + what.y_max_m) / 2)


def _body(thing: SceneObject, name: str, key: str, *, movable: bool) -> Body:
    solids = (
        Solid(f"{key}:{k}", part, "object", not movable, finish=_finish(part))
        for k, part in enumerate(thing.primitives)
    )
    return Body(name, thing.x_m, thing.y_m, thing.yaw_rad, tuple(solids), movable)


def _decor(thing: SceneObject, index: int) -> Body:
    solids = (
        Solid(f"decor:{index}:{k}", part, "overhead" if _is_overhead(part) else "decor", finish=_finish(part))
        for k, part in enumerate(thing.primitives)
    )
    return Body(f"decor_{index}_{thing.kind}", thing.x_m, thing.y_m, thing.yaw_rad, tuple(solids))


def _is_overhead(part: Primitive) -> bool:
    return part.position_m[2] > OVERHEAD_M and part.euler_rad == (0.0, 0.0, 0.0)


def _finish(part: Primitive) -> Finish:
    """Lamps glow."""
    return "glow" if part.position_m[2] > OVERHEAD_M and part.shape == "cylinder" else "paint"
