"""Outlines of the robot and of zones around it, as Nav2 writes them: a polygon, or a circle."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import ConfigError

_MAX_CORNERS = 64
_MAX_CHARS = 4096

Corner = tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """Where an outline is to be put: [S] float32 each, in base_link of now."""

    x_m: NDArray[np.float32]
    y_m: NDArray[np.float32]
    yaw_rad: NDArray[np.float32]


HERE = Poses(*(np.zeros(1, np.float32) for _ in range(3)))


@dataclass(frozen=True, slots=True)
class Circle:
    """A circle around the robot's middle."""

    radius_m: float

    @property
    def turning_m(self) -> float:
        """How far from the middle something of it moves when the robot turns on the spot: nothing does."""
        return 0.0

    def distances(self, points: NDArray[np.float32], poses: Poses) -> NDArray[np.float32]:
        """Return the distance of points [N, 2] to the outline at each pose, below 0 inside: [S, N] float32."""
        x, y, one = points[:, 0], points[:, 1], np.ones(len(points), np.float32)
        cx, cy, once = poses.x_m, poses.y_m, np.ones(len(poses.x_m), np.float32)
        # |p - c|^2 = |p|^2 - 2 p.c + |c|^2 as one product of matrices
        squared = np.stack([-2.0 * cx, -2.0 * cy, once, cx * cx + cy * cy], axis=1) @ np.stack(
            [x, y, x * x + y * y, one]
        )
        np.maximum(squared, 0.0, out=squared)
        np.sqrt(squared, out=squared)
        squared -= np.float32(self.radius_m)
        return squared


@dataclass(frozen=True, slots=True)
class Polygon:
    """A convex polygon in base_link, its corners counter-clockwise."""

    corners: tuple[Corner, ...]

    @property
    def turning_m(self) -> float:
        """The farthest corner: what moves most when the robot turns on the spot."""
        return max(math.hypot(x, y) for x, y in self.corners)

    def distances(self, points: NDArray[np.float32], poses: Poses) -> NDArray[np.float32]:
        """Return the distance of points [N, 2] to the outline at each pose, below 0 inside: [S, N] float32.

        It is that to the farthest side's line, so beyond a corner less than the true one.
        """
        normals, offsets = self._sides()  # [E, 2], [E]
        cos, sin = np.cos(poses.yaw_rad), np.sin(poses.yaw_rad)
        turned_x = np.outer(normals[:, 0], cos) - np.outer(normals[:, 1], sin)  # [E, S]
        turned_y = np.outer(normals[:, 0], sin) + np.outer(normals[:, 1], cos)
        from_line = np.stack([turned_x, turned_y], axis=2) @ points.T  # [E, S, N]
        from_line -= (turned_x * poses.x_m + turned_y * poses.y_m + offsets[:, None])[:, :, None]
        distances: NDArray[np.float32] = from_line.max(axis=0)
        return distances

    def _sides(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Outward normals [E, 2] of length 1, and the distance [E] of each side from the middle."""
        corners = np.array(self.corners, np.float32)
        along = np.roll(corners, -1, axis=0) - corners
        normals = np.stack([along[:, 1], -along[:, 0]], axis=1) / np.hypot(along[:, 0], along[:, 1])[:, None]
        return normals, np.einsum("ij,ij->i", normals, corners)


Shape = Circle | Polygon


def parse_shape(text: str, name: str) -> Shape | None:
    """Return the shape that a parameter describes: "[[x, y], ...]", a radius such as "0.5", or None if empty.

    Of a polygon that is not convex the convex hull counts. Raises ConfigError, naming the parameter, for anything
    else, and for an area of 0.
    """
    if not text.strip():
        return None
    remedy = 'write "[[0.3, 0.2], [0.3, -0.2], [-0.3, -0.2], [-0.3, 0.2]]" in metres, or a radius such as "0.5"'
    try:
        value: Any = json.loads(text) if len(text) <= _MAX_CHARS else None
    except (ValueError, RecursionError) as err:
        raise ConfigError(f"{name} = {text[:80]!r}: {err}; {remedy}") from err
    if _is_number(value) and value > 0:
        return Circle(float(value))
    if not isinstance(value, list) or not 3 <= len(value) <= _MAX_CORNERS or not all(map(_is_corner, value)):
        raise ConfigError(f"{name} = {text[:80]!r}: not 3 to {_MAX_CORNERS} pairs of numbers, nor a radius; {remedy}")
    corners = _hull([(float(x), float(y)) for x, y in value])
    if len(corners) < 3:
        raise ConfigError(f"{name} = {text[:80]!r}: holds no area; {remedy}")
    return Polygon(corners)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= 100.0  # also false for NaN


def _is_corner(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _hull(points: list[Corner]) -> tuple[Corner, ...]:
    """The convex hull, counter-clockwise, without corners on a straight side (Andrew's monotone chain)."""
    ordered = sorted(set(points))
    return (*_chain(ordered), *_chain(ordered[::-1]))


def _chain(ordered: list[Corner]) -> list[Corner]:
    """One half of the hull, without its last corner."""
    chain: list[Corner] = []
    for point in ordered:
        while len(chain) >= 2 and _turn(chain[-2], chain[-1], point) <= 1e-9:
            chain.pop()
        chain.append(point)
    return chain[:-1]


def _turn(a: Corner, b: Corner, c: Corner) -> float:
    """Above 0 if a, b, c turn left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
