"""The families of flats: `plain`, `rich` for training, and `held_out`, for testing alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vila_core.errors import WorldError
from vila_sim.families.clutter import (
    HELD_OUT_CLUTTER,
    HELD_OUT_TABLEWARE,
    RICH_CLUTTER,
    RICH_TABLEWARE,
    Maker,
    lay_table,
)
from vila_sim.families.light import held_out_lighting, rich_lighting
from vila_sim.families.plans import held_out_plan, rich_plan
from vila_sim.families.variants import FurnitureStyle, build_variant
from vila_sim.flats.decor import DecorStyle, decorate
from vila_sim.flats.furniture import build_object
from vila_sim.flats.lighting import PLAIN_LIGHTING, Lighting
from vila_sim.flats.plan import Plan, generate_plan
from vila_sim.flats.scene import Room, SceneObject
from vila_sim.flats.surfaces import HELD_OUT_SURFACES, RICH_SURFACES, Surfaces
from vila_sim.flats.textures import PICTURES, RUGS
from vila_sim.forms.table import HELD_OUT_FORMS, RICH_FORMS, with_plain_form

PLAIN, RICH, HELD_OUT = "plain", "rich", "held_out"


@dataclass(frozen=True, slots=True)
class Family:
    """How the flats of a family are drawn.

    plan, decorate and light come from one stream of chance, furniture from another. same_colour, same_kind: how often
    a thing is drawn to share one of them with a thing that the room already holds. clutter: from the least to the most
    pieces a room, of these kinds.
    """

    plan: Callable[[np.random.Generator], Plan]
    decorate: Callable[[Plan, np.random.Generator], tuple[SceneObject, ...]]
    light: Callable[[tuple[Room, ...], np.random.Generator], Lighting]
    build: Callable[[str, str, np.random.Generator, str], SceneObject]  # kind, colour, rng, room
    same_colour: float
    same_kind: float
    clutter: tuple[int, int] = (0, 0)
    clutter_kinds: tuple[str, ...] = ()
    tableware: dict[str, Maker] | None = None

    def lay(self, things: tuple[SceneObject, ...], rng: np.random.Generator) -> tuple[SceneObject, ...]:
        """Put things on the tables: decor."""
        if self.tableware is None:
            return ()
        return tuple(
            piece for thing in things if thing.kind == "table" for piece in lay_table(thing, self.tableware, rng)
        )


def family_of(name: str) -> Family:
    """The family of that name. Raises WorldError for an unknown one."""
    if name not in FAMILIES:
        raise WorldError(f"unknown family of flats {name!r}; known: {', '.join(FAMILIES)}")
    return FAMILIES[name]


def _plain_light(_: tuple[Room, ...], __: np.random.Generator) -> Lighting:
    return PLAIN_LIGHTING


def _plain_build(kind: str, colour: str, rng: np.random.Generator, room: str) -> SceneObject:
    return build_object(kind, colour, rng, room=room)


def _variants(style: FurnitureStyle) -> Callable[[str, str, np.random.Generator, str], SceneObject]:
    def build(kind: str, colour: str, rng: np.random.Generator, room: str) -> SceneObject:
        return replace(build_variant(kind, colour, rng, style), room=room)

    return build


_RICH_TRIMS = ((0.84, 0.82, 0.77), (0.45, 0.32, 0.2), (0.3, 0.3, 0.31), (0.66, 0.6, 0.5), (0.62, 0.66, 0.7))
_HELD_OUT_TRIMS = ((0.2, 0.14, 0.1), (0.5, 0.55, 0.48), (0.93, 0.93, 0.94))
_FRAMES = ((0.25, 0.19, 0.13), (0.08, 0.08, 0.08), (0.7, 0.6, 0.35), (0.85, 0.85, 0.85))


def _decorated(
    trims: tuple[tuple[float, float, float], ...], surfaces: Surfaces, *, plain_too: bool
) -> Callable[[Plan, np.random.Generator], tuple[SceneObject, ...]]:
    rugs = (*surfaces.rugs, *RUGS) if plain_too else surfaces.rugs
    pictures = (*surfaces.pictures, *PICTURES) if plain_too else surfaces.pictures

    def draw(plan: Plan, rng: np.random.Generator) -> tuple[SceneObject, ...]:
        style = DecorStyle(trims[rng.integers(len(trims))], _FRAMES[rng.integers(len(_FRAMES))], rugs, pictures)
        return decorate(plan, rng, style)

    return draw


_RICH_FURNITURE = FurnitureStyle(
    {kind: with_plain_form(kind, forms) for kind, forms in RICH_FORMS.items()}, RICH_SURFACES, 0.5, (0.84, 1.1), 0.16
)
_HELD_OUT_FURNITURE = FurnitureStyle(HELD_OUT_FORMS, HELD_OUT_SURFACES, 0.6, (0.8, 1.12), 0.22)

FAMILIES: dict[str, Family] = {
    PLAIN: Family(generate_plan, decorate, _plain_light, _plain_build, same_colour=0.25, same_kind=0.2),
    RICH: Family(
        rich_plan,
        _decorated(_RICH_TRIMS, RICH_SURFACES, plain_too=True),
        rich_lighting,
        _variants(_RICH_FURNITURE),
        same_colour=0.42,
        same_kind=0.36,
        clutter=(0, 3),
        clutter_kinds=tuple(RICH_CLUTTER),
        tableware=RICH_TABLEWARE,
    ),
    HELD_OUT: Family(
        held_out_plan,
        _decorated(_HELD_OUT_TRIMS, HELD_OUT_SURFACES, plain_too=False),
        held_out_lighting,
        _variants(_HELD_OUT_FURNITURE),
        same_colour=0.42,
        same_kind=0.36,
        clutter=(0, 3),
        clutter_kinds=tuple(HELD_OUT_CLUTTER),
        tableware=HELD_OUT_TABLEWARE,
    ),
}
TRAINING_FAMILIES = (PLAIN, RICH)
