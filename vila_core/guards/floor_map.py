"""A map of the floor around the robot: where it is free, as the model tells and as the robot found by driving.

What the model tells is often a little wrong, so nothing that it tells closes a way: it makes the way dear. Where the
robot was stopped it is as good as closed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vila_core.guards.camera_view import HALF_PICTURE_RAD, columns_at
from vila_core.types import Pose

CELL_M = 0.1
_CELLS = 240  # along each side; the robot begins in the middle
_MOST_M = 3.0  # what is said to be free beyond that is not believed
_FREE, _BLOCKED = -1.0, 1.5  # evidence of one look, from near
_HALF_AT_M = 2.0  # from so far a look counts half
_MOST_FREE, _MOST_BLOCKED = -4.0, 4.0
_IS_FREE, _IS_BLOCKED, _IS_UNKNOWN = -0.3, 0.4, 0.05  # evidence; nothing is known of what has so little of either
_BEEN, _BEEN_CELLS = -2.0, 2  # at most, where the robot was, and so far around
_RADIUS_M, _BERTH_M = 0.22, 0.42  # of the robot's middle from what is in the way: too near, and as near as it need be
_UNKNOWN, _NARROW, _TOO_NEAR, _INSIDE, _STOPPED = 1.6, 1.5, 8.0, 16.0, 60.0  # cost of a metre; of a free one it is 1
_DEAR = 4.0  # what costs more a metre is not to be driven on straight
_STOPPED_M = 0.2  # around where something stopped the robot
_AHEAD_M, _ACROSS_M = 0.33, (-0.2, -0.1, 0.0, 0.1, 0.2)  # of its middle is what stopped it, and how wide that is
_LEAVING_CELLS = 2.5  # around the robot, where it may be dear: it must get out

Spot = tuple[float, float]  # x, y in metres
Cell = tuple[int, int]
Floats = NDArray[np.float64]


class FloorMap:
    """Square cells around where the robot was first, with evidence for and against something that stands there."""

    def __init__(self, start: Pose) -> None:
        self._corner = np.array([start.x_m, start.y_m]) - _CELLS / 2 * CELL_M
        self._evidence = np.zeros((_CELLS, _CELLS))
        self._stopped = np.zeros((_CELLS, _CELLS), bool)
        grid = np.arange(_CELLS) + 0.5
        self._x_m, self._y_m = (self._corner[axis] + grid * CELL_M for axis in (0, 1))

    def see(self, pose: Pose, ranges_m: NDArray[np.float32]) -> None:
        """Take how far the floor is free in the direction of each column of a picture, from its left: [columns]."""
        columns, rows = self.around((pose.x_m, pose.y_m), round(_MOST_M / CELL_M))
        across_m, up_m = self._x_m[columns, None] - pose.x_m, self._y_m[None, rows] - pose.y_m
        far_m = np.hypot(across_m, up_m)
        left_rad = (np.arctan2(up_m, across_m) - pose.yaw_rad + math.pi) % (2 * math.pi) - math.pi
        is_seen = np.abs(left_rad) < HALF_PICTURE_RAD
        ranges = np.minimum(ranges_m, _MOST_M)[columns_at(np.where(is_seen, left_rad, 0.0), len(ranges_m))]
        weight = 1.0 / (1.0 + (far_m / _HALF_AT_M) ** 2)
        is_free = is_seen & (far_m < ranges - CELL_M)
        is_end = is_seen & (np.abs(far_m - ranges) <= CELL_M) & (ranges < _MOST_M - CELL_M / 2)
        part = self._evidence[columns, rows]
        part += weight * (_FREE * is_free + _BLOCKED * is_end)
        np.clip(part, _MOST_FREE, _MOST_BLOCKED, out=part)

    def stand(self, pose: Pose) -> None:
        """Note that the robot is there: it is free."""
        part = self._evidence[self.around((pose.x_m, pose.y_m), _BEEN_CELLS)]
        np.minimum(part, _BEEN, out=part)

    def bump(self, pose: Pose) -> None:
        """Note that something stopped the robot ahead of a pose."""
        cos, sin = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
        for left in _ACROSS_M:
            spot = pose.x_m + cos * _AHEAD_M - sin * left, pose.y_m + sin * _AHEAD_M + cos * left
            if self.holds(cell := self.cell_of(spot)):
                self._stopped[cell] = True

    def cell_of(self, spot: Spot) -> Cell:
        """Return the cell of a spot; it may lie outside of the map."""
        column, row = np.floor((np.array(spot) - self._corner) / CELL_M).astype(int)
        return int(column), int(row)

    def middle(self, cell: Cell) -> Spot:
        """Return the middle of a cell."""
        return float(self._x_m[cell[0]]), float(self._y_m[cell[1]])

    def holds(self, cell: Cell) -> bool:
        """Return True for a cell of the map."""
        return 0 <= cell[0] < _CELLS and 0 <= cell[1] < _CELLS

    def around(self, spot: Spot, cells: int) -> tuple[slice, slice]:
        """Return columns and rows no more than so many cells from a spot; none where it is off the map."""
        column, row = (slice(max(0, at - cells), max(0, at + cells + 1)) for at in self.cell_of(spot))
        return column, row

    def is_in_sight(self, start: Spot, end: Spot, last_m: float) -> bool:
        """Return True if nothing stands between two spots, but for the last metres of the way."""
        far_m = math.dist(start, end)
        line = np.linspace(start, end, max(2, round(far_m / CELL_M)))[1:]
        line = line[np.linalg.norm(line - end, axis=1) >= last_m]
        is_in_way = self._is_in_way()
        return not any(is_in_way[cell] for cell in map(self.cell_of, map(tuple, line)) if self.holds(cell))

    def costs(self) -> FloorCosts:
        """Return what a metre costs in each cell, as far as it is known now."""
        is_in_way = self._is_in_way()
        gap_m, stopped_m = (_gaps_m(each) for each in (is_in_way, self._stopped))
        costs = np.where(self._evidence < _IS_FREE, 1.0, _UNKNOWN)
        costs += _NARROW * ((_BERTH_M - gap_m) / (_BERTH_M - _RADIUS_M)).clip(0.0)
        costs[gap_m < _RADIUS_M] = _TOO_NEAR
        costs[is_in_way] = _INSIDE
        costs[stopped_m < _STOPPED_M] = _STOPPED
        return FloorCosts(self, costs)

    def edges(self) -> NDArray[np.bool_]:
        """In which free cells the known floor ends, with something beside them of which nothing is known."""
        unknown = (np.abs(self._evidence) < _IS_UNKNOWN) & ~self._stopped
        beside = cv2.dilate(unknown.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        return (self._evidence < _IS_FREE) & beside

    def _is_in_way(self) -> NDArray[np.bool_]:
        """In which cells something stands."""
        return (self._evidence > _IS_BLOCKED) | self._stopped


@dataclass(frozen=True, slots=True, eq=False)
class FloorCosts:
    """What a metre costs in each cell of a map [columns, rows]: 1 where it is surely free, more where it may not be."""

    map: FloorMap
    values: Floats

    def edges(self) -> NDArray[np.bool_]:
        """In which cells the known floor ends, and the robot may stand."""
        return self.map.edges() & (self.values <= _DEAR)

    def is_open(self, start: Spot, end: Spot) -> bool:
        """Return True if the robot, which is at the start, may be driven straight to the end."""
        if not self.map.holds(self.map.cell_of(end)):
            return False
        line = np.linspace(start, end, max(2, round(math.dist(start, end) / (CELL_M / 2))))
        own = self.map.cell_of(start)
        cells = {self.map.cell_of((float(x), float(y))) for x, y in line}
        far = (cell for cell in cells if math.dist(cell, own) > _LEAVING_CELLS)
        return all(self.map.holds(cell) and self.values[cell] <= _DEAR for cell in far)


def _gaps_m(is_there: NDArray[np.bool_]) -> Floats:
    """How far each cell is from the nearest that is there."""
    if not is_there.any():
        return np.full(is_there.shape, math.inf)
    return cv2.distanceTransform(1 - is_there.astype(np.uint8), cv2.DIST_L2, 5).astype(np.float64) * CELL_M
