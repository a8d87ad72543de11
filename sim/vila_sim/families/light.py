"""Light as it is drawn for the richer families: its warmth, its strength, where it comes from, and a dark room."""

from __future__ import annotations

import math

import numpy as np

from vila_sim.flats.lighting import DirectionalLight, Lighting, PointLight, Rgb
from vila_sim.flats.scene import Room

_LAMP_HEIGHT_M = 2.2
_MOST_LAMPS = 4
_DIM, _LAMPS_TOO = 0.16, 0.45  # probabilities: of a dim flat that lamps light in part, of lamps in a bright one


def rich_lighting(rooms: tuple[Room, ...], rng: np.random.Generator) -> Lighting:
    """Draw light from three sides, warm or cold; a dim flat has lamps in some rooms, and the others are dark."""
    warmth, strength = rng.uniform(-0.7, 1.0), rng.uniform(0.75, 1.2)
    chance = rng.random()
    dim = chance < _DIM
    share = rng.uniform(0.35, 0.55) if dim else 1.0
    ambient, direct = strength * share * rng.uniform(0.32, 0.52), strength * share * rng.uniform(0.5, 0.8)
    parts = rng.dirichlet((3.0, 2.0, 2.0)) * direct
    turn = rng.uniform(-math.pi, math.pi)
    directional = tuple(
        DirectionalLight(
            _downward(turn + k * 2 * math.pi / 3 + rng.uniform(-0.5, 0.5), rng.uniform(0.6, 1.2)), _tint(value, warmth)
        )
        for k, value in enumerate(parts)
    )
    count = min(_MOST_LAMPS, max(len(rooms) - 2, 1)) if dim else int(rng.integers(1, 4))
    lamps = _lamps(rooms, rng, count, rng.uniform(0.35, 0.55) if dim else rng.uniform(0.1, 0.28))
    shines = dim or chance < _DIM + _LAMPS_TOO
    return Lighting(
        _tint(ambient, warmth), _tint(rng.uniform(0.04, 0.22) * share, 0.0), directional, lamps if shines else ()
    )


def held_out_lighting(rooms: tuple[Room, ...], rng: np.random.Generator) -> Lighting:
    """Draw one low and strong light, as through windows on one side, and a weak one from above."""
    warmth, strength = rng.uniform(-1.2, 1.4), rng.uniform(0.7, 1.25)
    low = DirectionalLight(
        _downward(rng.uniform(-math.pi, math.pi), rng.uniform(0.25, 0.5)), _tint(0.6 * strength, warmth)
    )
    above = DirectionalLight((0.0, 0.0, -1.0), _tint(0.25 * strength, -0.3))
    lamps = _lamps(rooms, rng, int(rng.integers(0, 3)), rng.uniform(0.2, 0.4))
    return Lighting(_tint(strength * rng.uniform(0.28, 0.4), -0.5 * warmth), _tint(0.05, 0.0), (low, above), lamps)


def _lamps(rooms: tuple[Room, ...], rng: np.random.Generator, count: int, value: float) -> tuple[PointLight, ...]:
    """Hang lamps somewhere below the ceilings of so many rooms."""
    lamps = []
    for index in rng.permutation(len(rooms))[:count]:
        room = rooms[index]
        x = room.x_min_m + (room.x_max_m - room.x_min_m) * rng.uniform(0.25, 0.75)
        y = room.y_min_m + (room.y_max_m - room.y_min_m) * rng.uniform(0.25, 0.75)
        at = round(float(x), 3), round(float(y), 3), _LAMP_HEIGHT_M
        lamps.append(PointLight(at, _tint(value, rng.uniform(0.2, 1.4)), round(float(rng.uniform(1.6, 2.6)), 2)))
    return tuple(lamps)


def _tint(value: float, warmth: float) -> Rgb:
    """A grey that is warm (1) or cold (-1)."""
    red, green, blue = value * (1 + 0.12 * warmth), value * (1 + 0.01 * warmth), value * (1 - 0.2 * warmth)
    return round(red, 3), round(green, 3), round(blue, 3)


def _downward(turn: float, slope: float) -> tuple[float, float, float]:
    """A direction that points down by the slope, radians, and whither the turn says."""
    x, y, z = math.cos(turn) * math.cos(slope), math.sin(turn) * math.cos(slope), -math.sin(slope)
    return round(x, 3), round(y, 3), round(z, 3)
