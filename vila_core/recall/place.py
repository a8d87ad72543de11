"""Where a thing stands, by the directions in which it was seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vila_core.recall.config import CameraGeometry

Array = NDArray[np.float64]

_CELL_M = 0.15  # of the map on which the sightings vote
_MARGIN_M = 1.0
_MOST_CELLS = 160  # along each side: what is farther apart is on a coarser map
_BEARING_RAD = math.radians(4.0)  # error of a direction: measured in the flats, median 2.3 degrees
_HALF_WIDTH_M = 0.15  # of a thing: near by it fills the picture, and its middle is not so sure
_OUTLIER = 0.03  # how much a sighting of something else may count
_NEAREST_M, _FARTHEST_M = 0.4, 7.0
_FOOT_SHARE = 1.35  # of the distance of a thing's foot, where its middle is: measured in the flats
_RANGE_ERROR = 0.35  # of that distance's logarithm
_TOLD_ERROR = 0.2  # of the logarithm of a distance that the model told
_UNKNOWN_M, _UNKNOWN_ERROR = 2.0, 0.5  # where a camera's height is not known: things are seen from so far
_AGREES_RAD, _AGREES_LOG = math.radians(8.0), 0.9


@dataclass(frozen=True, slots=True, eq=False)
class Rays:
    """Sightings as directions: of each the robot's pose [N, 3], the bearing from its own heading and the distance.

    distances_m: [N], as the model told, or by the foot of the thing; a guess where errors are large. errors: of their
    logarithms.
    """

    poses: Array
    bearings_rad: Array
    distances_m: Array
    errors: Array


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A point in the poses' frame. agrees: [N] which sightings point to it."""

    x_m: float
    y_m: float
    agrees: NDArray[np.bool_]


def rays(poses: Array, places: Array, camera: CameraGeometry) -> Rays:
    """Return where sightings point that a camera had at poses [N, 3].

    places: [N, 3], of each sighting its middle, foot and distance_m. The camera's field of view must be known.
    """
    middles, feet, told = places.T
    half = math.tan(camera.hfov_rad / 2)
    right, below = (2 * middles - 1) * half, (2 * feet - 1) * half * camera.aspect
    pitch = 0.0 if math.isnan(camera.pitch_rad) else camera.pitch_rad
    ahead = math.cos(pitch) - below * math.sin(pitch)
    down = math.sin(pitch) + below * math.cos(pitch)
    bearings = np.arctan2(-right, ahead)
    if camera.knows_floor:
        depression = np.maximum(np.arctan2(down, np.hypot(ahead, right)), math.radians(5.0))
        guessed, error = _FOOT_SHARE * camera.height_m / np.tan(depression), _RANGE_ERROR
    else:
        guessed, error = np.full(len(poses), _UNKNOWN_M), _UNKNOWN_ERROR
    is_told = np.isfinite(told)
    distances = np.clip(np.where(is_told, told, guessed), _NEAREST_M, _FARTHEST_M)
    return Rays(poses, bearings, distances, np.where(is_told, _TOLD_ERROR, error))


def place_of(seen: Rays, weights: Array) -> Place:
    """Return the point that most of the sightings point to, by their weights [N]; at least one is needed."""
    headings = seen.poses[:, 2] + seen.bearings_rad
    guesses = seen.poses[:, :2] + seen.distances_m[:, None] * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    low, high = guesses.min(axis=0) - _MARGIN_M, guesses.max(axis=0) + _MARGIN_M
    x, y = (np.linspace(a, b, min(_MOST_CELLS, round((b - a) / _CELL_M) + 1)) for a, b in zip(low, high, strict=True))
    votes = np.zeros((len(y), len(x)))
    for number, weight in enumerate(weights):
        turn, ratio, far = _misses(seen, number, x[None, :], y[:, None])
        spread = np.hypot(_BEARING_RAD, _HALF_WIDTH_M / np.maximum(far, _NEAREST_M))
        hit = np.exp(-0.5 * (turn / spread) ** 2 - 0.5 * (ratio / seen.errors[number]) ** 2)
        votes += weight * np.log(hit + _OUTLIER)
    row, column = np.unravel_index(int(votes.argmax()), votes.shape)
    point = float(x[column]), float(y[row])
    return Place(*point, np.array([_agrees(seen, number, *point) for number in range(len(weights))]))


def _misses(seen: Rays, number: int, x: Array, y: Array) -> tuple[Array, Array, Array]:
    """By how much a sighting misses points: in angle, in the distance's logarithm; and how far off they are."""
    across, along = x - seen.poses[number, 0], y - seen.poses[number, 1]
    far = np.hypot(across, along)
    turn = np.arctan2(along, across) - seen.poses[number, 2] - seen.bearings_rad[number]
    turn = (turn + math.pi) % (2 * math.pi) - math.pi
    return turn, np.log(np.maximum(far, _NEAREST_M / 2) / seen.distances_m[number]), far


def _agrees(seen: Rays, number: int, x_m: float, y_m: float) -> bool:
    turn, ratio, far = _misses(seen, number, np.array(x_m), np.array(y_m))
    allowed = math.hypot(_AGREES_RAD, 2 * _HALF_WIDTH_M / max(float(far), _NEAREST_M))
    return abs(float(turn)) < allowed and abs(float(ratio)) < _AGREES_LOG
